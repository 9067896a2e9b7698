// What may happen to a client, and what an example must make of it.
import type { Fault } from '../../test/engines/engine.ts';
import type { Run } from './run.ts';
import type { Scene } from './scene.ts';
import { MODEL, type Stage } from './stage.ts';

const PATIENCE_MS = 20_000;
/** What the engine answers. */
export const SAYS = 'Grüße, 世界 🌍! ';
/** For the engine's `next`: an answer as always. */
const WELL: Fault = { kind: 'delay', ms: 0 };
const BUSY: Fault = { kind: 'status', status: 503, headers: { 'retry-after': '1' } };

export function answers(prints: readonly string[], more: Partial<Scene> = {}): Scene {
  return { title: 'an answer', prints, ...more };
}

export const WRONG_KEY: Scene = {
  title: 'a wrong key',
  env: () => ({ LITELLM_MASTER_KEY: 'sk-not-a-key-of-this-gateway-0123456789' }),
  ends_well: false,
  says: ['The API key is not valid.'],
  asked: 0,
};

/** The SDK's own patience: asked twice, and nothing is seen of it. */
export const SDK_RETRIES: Scene = { title: 'a busy engine', faults: [BUSY], prints: [SAYS], asked: 2 };

/** Three ways to come to the gateway, of which one works: it is told that this authority is to be trusted. */
export const CONNECTING: readonly Scene[] = [
  { title: 'https', env: (stage) => ({ LANYARD_URL: stage.tls_url, ...trust(stage.ca) }), prints: [SAYS] },
  {
    title: 'https by an unknown authority',
    env: ({ tls_url }) => ({ LANYARD_URL: tls_url }),
    ends_well: false,
    says: ['certificate'],
    asked: 0,
  },
  // Nobody listens there, and fetch has no rule against it, as it has for port 1.
  { title: 'no gateway', env: () => ({ LANYARD_URL: 'http://127.0.0.1:2' }), ends_well: false, says: ['onnect'] },
];

function trust(ca: string): Record<string, string> {
  return { SSL_CERT_FILE: ca, NODE_EXTRA_CA_CERTS: ca, REQUESTS_CA_BUNDLE: ca, CURL_CA_BUNDLE: ca };
}

/** What comes is shown while the rest is still to come. `seen` is the output up to the first piece. */
export function streams(seen: string, asked_before = 0): Scene {
  const well = Array.from({ length: asked_before }, () => WELL);
  return {
    title: 'a stream',
    faults: [...well, { kind: 'hold_after', events: 4 }],
    async during(stage, run) {
      await held(stage, run, 1);
      await run.until(seen);
    },
    prints: [SAYS],
  };
}

/** Until the engine holds that many answers back. */
async function held({ engine }: Stage, run: Run, count: number): Promise<void> {
  await Promise.race([engine.until((now) => now.held === count, PATIENCE_MS), run.ended]);
}

/** Told in the gateway's own words, and not by the exit status alone. */
export function breaksOff(asked_before = 0): Scene {
  const well = Array.from({ length: asked_before }, () => WELL);
  return {
    title: 'a stream that breaks off',
    faults: [...well, { kind: 'die_after', events: 4 }],
    ends_well: false,
    says: ['Grüße', 'The backend broke off in the middle of its answer.'],
  };
}

/** All of them are under way before one is answered, and the first is answered last. */
export const SIDE_BY_SIDE: Scene = {
  title: 'three at once',
  args: ['long', 'middling', 'short'],
  faults: [{ kind: 'hold' }, { kind: 'hold' }, { kind: 'hold' }],
  during: (stage, run) => held(stage, run, 3),
  prints: ['long\n    long long', 'middling\n    middling middling', 'short\n    short short'],
  asked: 3,
};

/** Waits as long as the gateway says, which is longer than the example's own first pause. */
export const RETRIES: readonly Scene[] = [
  { title: 'a busy engine', faults: [BUSY, BUSY], prints: [SAYS], says: ['503', 'again in 1.0 s'], asked: 3 },
  {
    title: 'a key that is in use elsewhere',
    env: ({ narrow_key }) => ({ LANYARD_KEY: narrow_key }),
    async before({ engine, url, narrow_key }) {
      engine.next({ kind: 'hold' });
      const headers = { authorization: `Bearer ${narrow_key}`, 'content-type': 'application/json' };
      const body = JSON.stringify({ model: MODEL, messages: [] });
      void fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body }).then((answer) => answer.text());
      await engine.until(({ held }) => held === 1, PATIENCE_MS);
    },
    during: (_, run) => run.until('again in'),
    prints: [SAYS],
    says: ['429', 'Too many requests at once for this key', 'again in 1.0 s'],
    asked: 1,
  },
  {
    title: 'what no waiting helps',
    env: () => ({ LANYARD_MODEL: 'no-such-model' }),
    ends_well: false,
    says: ['model_not_found'],
    says_not: ['again in'],
    asked: 0,
  },
];

/** As vLLM says that a function is to be called; the result must come back to it, and its next answer is printed. */
export const CALLS_A_TOOL: Scene = {
  title: 'a call of its function',
  faults: [{ kind: 'status', status: 200, body: toolCall('temperature', '{"city": "Cairo"}') }],
  prints: ['It says: ', 'Cairo', '31'],
  asked: 2,
};

function toolCall(name: string, args: string): object {
  const call = { id: 'chatcmpl-tool-1', type: 'function', function: { name, arguments: args } };
  const message = { role: 'assistant', content: null, tool_calls: [call] };
  const choices = [{ index: 0, message, logprobs: null, finish_reason: 'tool_calls' }];
  return { id: 'chatcmpl-1', object: 'chat.completion', created: 1, model: 'there', choices };
}

/** The original service's client knows OpenAI's variables. */
const OPENAI: Scene['env'] = ({ url, master_key }) => ({ OPENAI_BASE_URL: `${url}/v1`, OPENAI_API_KEY: master_key });

/** Told of a batch, and asked for it again. */
async function collected({ url, master_key }: Stage): Promise<void> {
  const answer = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${master_key}`,
      'content-type': 'application/json',
      'x-lanyard-mode': 'batch-async',
    },
    body: JSON.stringify({ model: MODEL, messages: [{ role: 'user', content: 'Hi' }] }),
  });
  if (answer.status !== 202) throw new Error(`no batch: ${answer.status} ${await answer.text()}`);
  await answer.text();
}

export const BATCH_CLIENT: readonly Scene[] = [
  {
    title: 'an answer',
    args: ['--api', 'chat_completions', '--content', 'Write a joke', '--model', MODEL],
    env: OPENAI,
    prints: ['Role: assistant', `Content: ${SAYS}`, 'Total tokens: '],
    asked: 1,
  },
  { title: 'all batches', args: ['--api', 'status_all_batches'], env: OPENAI, before: collected, prints: ['batch_'] },
  {
    title: 'no such batch',
    args: ['--api', 'status_single_batch', '--batch_id', 'batch_123'],
    env: OPENAI,
    ends_well: false,
    says: ['There is no such batch.'],
    asked: 0,
  },
  {
    title: 'nothing to ask',
    args: ['--api', 'chat_completions'],
    env: OPENAI,
    ends_well: false,
    says: ['--content is missing'],
    asked: 0,
  },
];
