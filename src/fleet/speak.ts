// Asking a backend one call, in OpenAI's words or in its own, with its token where it needs one; its answer comes back in
// OpenAI's words either way.
import { randomUUID } from 'node:crypto';
import { asksStream, askOf, headersOf, unstreamed } from './ask.ts';
import type { Backend, Candidate } from './backend.ts';
import { Refused } from './fault.ts';
import { heldAnswer, readAll, type Body, type HttpAnswer } from './http.ts';
import { waitFor } from './patience.ts';
import { fit } from './standing.ts';
import { envelope } from '../dialects/envelope.ts';
import type { Dialect, Meeting, Said, Translator } from '../dialects/dialect.ts';
import { ollamaNative } from '../dialects/ollama.ts';
import { scanObject, splice } from '../wire/body.ts';
import { GatewayError } from '../wire/errors.ts';
import { AnswerHeaders } from '../wire/http1.ts';
import type { Call, Limits } from '../types.ts';

/**
 * Rejects with `HttpFault` when no answer begins, with `Refused` for one that is none, with `GatewayError` for a call that
 * cannot be said to it. `fresh`: over a socket of its own.
 */
export function speak(
  call: Call,
  candidate: Candidate,
  limits: Limits,
  signal: AbortSignal,
  request_id: string,
  fresh = false,
): Promise<HttpAnswer> {
  const { backend } = candidate;
  const dialect = dialectFor(call, candidate);
  if (dialect !== undefined) return speakIn(dialect, call, candidate, limits, signal, request_id, fresh);
  return backend.send(askOf(call, candidate, request_id), limits, signal, fresh);
}

function dialectFor(call: Call, candidate: Candidate): Dialect | undefined {
  const { backend, deployment } = candidate;
  const { dialect } = backend.engine;
  if (dialect === undefined) return undefined;
  if (dialect === 'envelope') return envelope;
  const own = deployment?.num_ctx !== undefined || deployment?.keep_alive_s !== undefined;
  // Where nobody can say whether it fits, Ollama is asked in the way in which it refuses what does not.
  return own || fit(candidate, call) !== 'fits' ? ollamaNative : undefined;
}

async function speakIn(
  dialect: Dialect,
  asked: Call,
  { backend, name, deployment }: Candidate,
  limits: Limits,
  signal: AbortSignal,
  request_id: string,
  fresh: boolean,
): Promise<HttpAnswer> {
  const call = asked.streamed && !asksStream(asked, backend) ? withoutStream(asked) : asked;
  const { exchange } = backend.config;
  const now = Math.floor(Date.now() / 1000);
  const { secrets } = backend;
  const meeting: Meeting = { call, name, deployment, exchange, secrets, id: randomUUID().replaceAll('-', ''), now };
  const said = dialect.ask(meeting);
  const { answer, whole } = await withToken(said, call, backend, limits, signal, request_id, fresh);
  if (answer.status !== 200) return answer;
  if (whole === undefined) {
    const translator = dialect.stream?.(meeting);
    if (translator === undefined) return answer;
    return { ...answer, headers: STREAM_HEADERS(), body: translated(answer.body, translator) };
  }
  try {
    return { ...heldAnswer(answer, dialect.whole(whole, meeting)), headers: JSON_HEADERS() };
  } catch (error) {
    if (error instanceof GatewayError) throw new Refused(200, error);
    throw error;
  }
}

/** An answer whose token was taken, and its bytes where it is no stream. */
async function withToken(
  said: Said,
  call: Call,
  backend: Backend,
  limits: Limits,
  signal: AbortSignal,
  request_id: string,
  fresh: boolean,
): Promise<{ readonly answer: HttpAnswer; readonly whole: Buffer | undefined }> {
  for (let again = false; ; again = true) {
    // The token goes on being fetched for the others; who leaves gives the slot back at once.
    const had = backend.token === undefined ? undefined : await waitFor(backend.token.get(), signal);
    const { origin, body } = said;
    const path = origin === undefined ? backend.at(said.path) : said.path;
    const answer = await backend.send(
      {
        method: 'POST',
        path,
        headers: headersOf(call, backend),
        id: request_id,
        body,
        ...(call.borrow !== undefined && { borrow: call.borrow }),
        ...(origin !== undefined && { origin }),
        ...(had !== undefined && { authorization: had.authorization }),
      },
      limits,
      signal,
      fresh,
    );
    const whole = isStream(answer) ? undefined : await readAll(answer, limits.answer_bytes_max);
    if (had !== undefined && backend.token?.refusedBy(answer.status, whole) === true) {
      backend.token.drop(had);
      if (!again) continue;
      const message = "The backend refused the gateway's token twice; your key is not at fault.";
      throw new Refused(answer.status, new GatewayError('upstream_auth', message, { cause: 'token refused' }), true);
    }
    return { answer: whole === undefined ? answer : heldAnswer(answer, whole), whole };
  }
}

function isStream({ status, headers }: HttpAnswer): boolean {
  return status === 200 && /^(?:text\/event-stream|application\/x-ndjson)/i.test(headers.get('content-type') ?? '');
}

function withoutStream(call: Call): Call {
  const body = splice(call.body, unstreamed(call));
  return { ...call, streamed: false, body, fields: scanObject(body) };
}

function translated(body: Body, translator: Translator): Body {
  return {
    get ended() {
      return body.ended;
    },
    attach: (sink) =>
      body.attach({
        data: (bytes) => {
          const told = translator.push(bytes);
          return told.length === 0 || sink.data(told);
        },
        end: () => {
          const told = translator.end();
          if (told.length > 0) sink.data(told);
          sink.end();
        },
        fail: (fault) => sink.fail(fault),
      }),
    resume: () => body.resume(),
    destroy: () => body.destroy(),
  };
}

function typed(type: string): () => AnswerHeaders {
  return () => {
    const headers = new AnswerHeaders();
    headers.add('content-type', type);
    return headers;
  };
}

const JSON_HEADERS = typed('application/json');
const STREAM_HEADERS = typed('text/event-stream');
