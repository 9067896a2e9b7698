// How a call is said to what does not speak OpenAI, and how its answer is understood. Pure: bytes in, bytes out; sending is
// the fleet's.
import type { Call, Deployment, Exchange } from '../types.ts';

/** What a dialect may look at besides the call. */
export interface Meeting {
  readonly call: Call;
  /** The model's name there. */
  readonly name: string;
  readonly deployment: Deployment | undefined;
  readonly exchange: Exchange | undefined;
  /** Blanked out of what the caller is told of a failure. */
  readonly secrets: readonly string[];
  /** Unique to this answer. */
  readonly id: string;
  /** Seconds since 1970. */
  readonly now: number;
}

/** The call as it is said. */
export interface Said {
  /** From the server's root. */
  readonly path: string;
  /** `scheme://host:port`, where it is another than the backend's own. */
  readonly origin?: string;
  readonly body: readonly Buffer[];
}

export interface Dialect {
  /** @throws GatewayError for what cannot be said in it */
  ask(meeting: Meeting): Said;
  /** A whole answer as OpenAI gives it. @throws GatewayError for one that is none */
  whole(answer: Buffer, meeting: Meeting): Buffer;
  /** Makes OpenAI's events of a stream that has its own; absent: its streams are OpenAI's. */
  stream?(meeting: Meeting): Translator;
}

/** A stream on its way from one form to another. Neither throws: a failure is an event too. */
export interface Translator {
  push(bytes: Buffer): Buffer;
  end(): Buffer;
}

/** OpenAI's names of an answer. */
export function namesOf({ call, id, now, name }: Meeting): {
  id: string;
  object: string;
  created: number;
  model: string;
} {
  const chat = call.endpoint === 'chat/completions';
  const object = chat ? (call.streamed ? 'chat.completion.chunk' : 'chat.completion') : 'text_completion';
  return { id: `${chat ? 'chatcmpl' : 'cmpl'}-${id}`, object, created: now, model: name };
}
