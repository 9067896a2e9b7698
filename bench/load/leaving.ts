// Callers who leave while an engine is at work for them: each is held at a chosen moment, leaves by FIN or RST, and it is
// timed until the engine's socket goes. Caller and engine are in this process, on one clock.
import { setTimeout as pause } from 'node:timers/promises';
import { ENGINE_MODEL, type Door } from '../gateways/gateway.ts';
import { CHAT_ANSWER } from './answers.ts';
import { STREAM_HEAD, eventChunk, halfAnswer, startHandEngine, type Asked } from './hand.ts';
import { dial, postTo } from './raw.ts';

export interface Leavers {
  /** The engine's URL. */
  readonly engine: string;
  /** How many requests the engine has been asked. */
  readonly asked: number;
  /** A caller for whom the engine is at work. Rejects when the gateway answers by itself, or does not ask the engine. */
  hold(to: Asking, moment: Moment): Promise<Held>;
  stop(): Promise<void>;
}

interface Asking {
  readonly door: Door;
  readonly model: string;
  readonly route: Route;
}

export interface Held {
  /** Milliseconds until the engine's socket went; GIVE_UP_MS when it had not gone by then. */
  leave(how: 'fin' | 'reset'): Promise<number>;
}

/** Nothing is answered yet, or a part of the answer. */
export type Moment = 'waiting' | 'midway';
export const MOMENTS: readonly Moment[] = ['waiting', 'midway'];

export interface Route {
  readonly name: string;
  readonly path: string;
  readonly ask: Readonly<Record<string, unknown>>;
  /** The field whose text is the caller's. */
  readonly words: (text: string) => Readonly<Record<string, unknown>>;
  /** What an engine answers first. */
  readonly begin: string;
  /** Of a stream: what comes every MORE_MS. */
  readonly more?: string;
}

const chatWords = (content: string): Readonly<Record<string, unknown>> => ({ messages: [{ role: 'user', content }] });
const CHUNK = { id: 'chatcmpl-0', created: 1764380000, model: ENGINE_MODEL };
const CHAT_EVENT = eventChunk({
  ...CHUNK,
  object: 'chat.completion.chunk',
  choices: [{ index: 0, delta: { content: 'words' }, finish_reason: null }],
});
const TEXT_EVENT = eventChunk({
  ...CHUNK,
  object: 'text_completion',
  choices: [{ index: 0, text: 'words', finish_reason: null }],
});
const VECTORS = { object: 'list', data: [{ object: 'embedding', index: 0, embedding: Array(256).fill(0.25) }] };

export const ROUTES = {
  chat_streamed: {
    name: 'chat streamed',
    path: 'chat/completions',
    ask: { stream: true },
    words: chatWords,
    begin: STREAM_HEAD + CHAT_EVENT,
    more: CHAT_EVENT,
  },
  chat: {
    name: 'chat',
    path: 'chat/completions',
    ask: {},
    words: chatWords,
    begin: halfAnswer(CHAT_ANSWER),
  },
  completion: {
    name: 'completion streamed',
    path: 'completions',
    ask: { stream: true },
    words: (prompt) => ({ prompt }),
    begin: STREAM_HEAD + TEXT_EVENT,
    more: TEXT_EVENT,
  },
  embeddings: {
    name: 'embeddings',
    path: 'embeddings',
    ask: {},
    // More than are sent together with others': each caller is to have a request of its own.
    words: (input) => ({ input: Array.from({ length: 9 }, () => input) }),
    begin: halfAnswer(JSON.stringify(VECTORS)),
  },
} satisfies Record<string, Route>;

/** An engine that is still at work after this has not been told. */
export const GIVE_UP_MS = 300;
const ASKED_MS_MAX = 5_000;
/** What is written is on its way to the gateway by then, or has been taken in by it. */
const SETTLE_MS = 4;
/** An engine's pace: a gateway may learn from a write that nobody reads. */
const MORE_MS = 50;

export async function startLeavers(): Promise<Leavers> {
  const expected = new Map<number, (one: Asked) => void>();
  let asked = 0;
  let callers = 0;
  const engine = await startHandEngine((one) => {
    asked += 1;
    expected.get(Number(/caller (\d+) says/.exec(one.body)?.[1]))?.(one);
  });

  async function hold({ door, model, route }: Asking, moment: Moment): Promise<Held> {
    const number = (callers += 1);
    const caller = await dial(door);
    const body = JSON.stringify({ model, ...route.words(`caller ${number} says`), ...route.ask });
    const at_work = new Promise<Asked>((resolve) => expected.set(number, resolve));
    const answer = caller.ask(postTo(door, route.path, body));
    const early = answer.then(({ text }) => Promise.reject(new Error(`${door.url} answered by itself:\n${text}`)));
    const one = await within(ASKED_MS_MAX, Promise.race([at_work, early]));
    expected.delete(number);
    if (one === undefined) throw new Error(`${door.url} asked the engine nothing`);
    let writing: NodeJS.Timeout | undefined;
    if (moment === 'midway') {
      one.socket.write(route.begin);
      if (route.more !== undefined) {
        // What is not streamed may be passed on only once it is whole.
        const { status, text } = await answer;
        if (status !== 200) throw new Error(`${door.url} did not pass a stream on:\n${text}`);
        writing = setInterval(() => one.socket.write(route.more ?? ''), MORE_MS);
      }
    }
    void one.gone.then(() => clearInterval(writing));
    // Not always at the same moment of the gateway's round.
    await pause(SETTLE_MS * (1 + Math.random()));
    return {
      async leave(how) {
        const left = performance.now();
        if (how === 'fin') caller.socket.end();
        else caller.socket.resetAndDestroy();
        const gone = await within(GIVE_UP_MS, one.gone);
        caller.socket.destroy();
        // A socket that is still open stays so: closed here, it would look like an engine that breaks off.
        clearInterval(writing);
        return gone === undefined ? GIVE_UP_MS : gone - left;
      },
    };
  }

  return {
    engine: engine.url,
    get asked() {
      return asked;
    },
    hold,
    stop: () => engine.stop(),
  };
}

/** Undefined when it takes longer. */
async function within<T>(wait_ms: number, work: Promise<T>): Promise<T | undefined> {
  const over = new AbortController();
  try {
    return await Promise.race([work, pause(wait_ms, undefined, { signal: over.signal })]);
  } finally {
    over.abort();
  }
}
