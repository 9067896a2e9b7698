// The judge of "nothing lost": some hundreds of requests of every kind, with every kind of fault, and then four books that
// were kept apart must agree: what the callers saw, what the engines saw, the log, and /metrics.
import { createHash } from 'node:crypto';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { expect, onTestFinished, test } from 'vitest';
import { startEngine, type FakeEngine, type Fault } from '../engines/engine.ts';
import { KEY, openGateway, type Stage } from '../stage/gateway.ts';
import { freePort } from '../stage/ports.ts';
import { seeded } from '../stage/random.ts';
import { dial } from '../stage/raw.ts';

const REQUESTS = 320;
const CALLERS = 24;
/** Fewer than the callers, so that some are refused for it. */
const PLACES = 18;

/** None of these may be found in the log or the metrics. */
const CANARIES = {
  prompt: 'canary-prompt-5d1f',
  answer: 'canary-answer-77ab',
  alice: 'sk-canary-alice-0123456789abcdef',
  wrong: 'sk-canary-wrong-0123456789abcdef',
  model: 'canary-model-e4c2',
} as const;

test('after a storm of mixed faults the callers, the engines, the log and the metrics tell the same story', async () => {
  const { engines, gateway } = await stage();
  const random = seeded(20_261_120);
  const seen: Seen[] = [];
  let left = REQUESTS;
  await Promise.all(
    Array.from({ length: CALLERS }, async () => {
      while (left > 0) {
        left -= 1;
        if (random() < 0.4) pick(engines, random).next(pick(FAULTS, random));
        seen.push(await ask(gateway, kindOf(random), random));
      }
    }),
  );
  await expect.poll(() => gateway.metric('lanyard_in_flight')).toBe(0);
  for (const engine of engines) await engine.until(({ in_flight }) => in_flight === 0);
  // Lines are written by another thread, which a busy machine may leave waiting.
  await expect.poll(() => gateway.outcomes().length).toBeGreaterThanOrEqual(REQUESTS);
  const book = await read(gateway);

  // One request, one line, one count.
  expect(seen).toHaveLength(REQUESTS);
  expect(book.lines).toHaveLength(REQUESTS);
  expect(new Set(book.lines.map(({ id }) => id)).size).toBe(REQUESTS);
  expect(book.sum('lanyard_accepted_total')).toBe(REQUESTS);
  expect(book.sum('lanyard_requests_total')).toBe(REQUESTS);
  expect(book.sum('lanyard_request_duration_seconds_count')).toBe(REQUESTS);
  expect(book.sum('lanyard_account_failures_total')).toBe(0);

  // Every end is one of the five, the log and the metrics agree on each, and none is a bug.
  const ends = Object.fromEntries(
    ['complete', 'rejected', 'client_closed', 'backend_failed', 'bug'].map((end) => {
      const count = book.lines.filter((line) => line.end === end).length;
      expect([end, book.sum('lanyard_requests_total', { end })]).toEqual([end, count]);
      return [end, count];
    }),
  );
  expect(ends['bug']).toBe(0);
  expect(Object.values(ends).reduce((sum, count) => sum + count, 0)).toBe(REQUESTS);
  // The storm was one: each end is there in numbers.
  for (const end of ['complete', 'rejected', 'client_closed', 'backend_failed']) expect(ends[end]).toBeGreaterThan(12);

  // What each caller saw is what the line with its id says.
  const lines = new Map(book.lines.map((line) => [line.id, line]));
  for (const one of seen) {
    if (one.id === undefined) continue;
    const line = lines.get(one.id);
    if (one.end === 'left') {
      // Who leaves may leave too late.
      expect(line).toBeDefined();
    } else if (one.end === 'whole') {
      expect([one, line?.end, line?.status]).toEqual([one, 'complete', 200]);
    } else {
      const end = one.code.startsWith('upstream_') ? 'backend_failed' : 'rejected';
      expect([one, line?.end, line?.code]).toEqual([one, end, one.code]);
      if (one.status !== 200) expect(line?.status).toBe(one.status);
    }
  }
  const nameless = seen.filter(({ id }) => id === undefined);
  expect(nameless.every(({ end }) => end === 'left')).toBe(true);
  expect(seen.filter(({ end }) => end === 'whole').length).toBeLessThanOrEqual(ends['complete'] ?? 0);
  expect(ends['client_closed']).toBeLessThanOrEqual(seen.filter(({ end }) => end === 'left').length);

  // Every attempt the log speaks of was made, and no other: an engine saw it, or its port refused it.
  const asked = new Map<string, number>();
  for (const { headers } of engines.flatMap(({ asked }) => asked)) {
    const id = String(headers['x-request-id']);
    expect(lines.get(id)?.backend).not.toBe('');
    asked.set(id, (asked.get(id) ?? 0) + 1);
  }
  const attempts = (line: Line): number => (line.backend === '' || line.shared === true ? 0 : 1 + (line.retries ?? 0));
  const stayed = book.lines.filter(({ end }) => end !== 'client_closed');
  const refused = ['connect', 'dns', 'tls'].reduce(
    (sum, kind) => sum + book.sum('lanyard_upstream_errors_total', { kind }),
    0,
  );
  const missing = book.lines.reduce((sum, line) => sum + attempts(line) - (asked.get(line.id) ?? 0), 0);
  // A caller may leave while the socket is being opened: then the attempt was never sent.
  const unsent = missing - refused;
  expect(unsent).toBeGreaterThanOrEqual(0);
  expect(unsent).toBeLessThanOrEqual(ends['client_closed'] ?? 0);
  for (const line of stayed) expect(asked.get(line.id) ?? 0).toBeLessThanOrEqual(attempts(line));
  const live = stayed.filter(({ id }) => !seen.some((one) => one.id === id && one.model === 'dead'));
  for (const line of live) expect([line, asked.get(line.id) ?? 0]).toEqual([line, attempts(line)]);
  const retries = book.lines.reduce((sum, { retries = 0 }) => sum + retries, 0);
  expect(book.sum('lanyard_retries_total')).toBe(retries);
  expect(retries).toBeGreaterThan(0);

  // Tokens are billed as logged.
  for (const direction of ['in', 'out'] as const) {
    const logged = book.lines.reduce((sum, line) => sum + (line[`tokens_${direction}`] ?? 0), 0);
    expect(book.sum('lanyard_tokens_total', { direction })).toBe(logged);
  }

  // Nothing is left over.
  expect([gateway.fleet.in_flight, gateway.fleet.queue.length]).toEqual([0, 0]);
  expect(book.sum('lanyard_queued')).toBe(0);
  expect(book.sum('lanyard_backend_in_flight')).toBe(0);
  expect([gateway.fleet.beginRetry(), gateway.fleet.beginRetry(), gateway.fleet.beginRetry()]).toEqual([
    true,
    true,
    true,
  ]);
  gateway.fleet.endRetries(3);

  // And nothing that is none of their business stands in the log or the metrics.
  const secrets = [KEY, ...Object.values(CANARIES)];
  for (const secret of secrets.flatMap((one) => [one, Buffer.from(one).toString('base64').slice(0, -4)])) {
    expect(gateway.logged()).not.toContain(secret);
    expect(book.text).not.toContain(secret);
  }

  await expectAllPlaces(gateway);
});

/** As many requests as there are places can be under way at once, and one more cannot. */
async function expectAllPlaces(gateway: Stage): Promise<void> {
  const body = JSON.stringify({ model: 'm', messages: [] });
  const head = (length: number): string =>
    `POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer ${KEY}\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;
  const held = [];
  for (let at = 0; at < PLACES; at += 1) held.push(await dial(gateway.port, head(body.length) + body.slice(0, 5)));
  await expect.poll(() => gateway.metric('lanyard_in_flight')).toBe(PLACES);
  const over = await dial(gateway.port, head(body.length) + body);
  expect((await over.until(1))[0]).toMatchObject({ status: 429 });
  expect(over.text()).toContain('parallel_limit_exceeded');
  for (const { socket } of held) socket.destroy();
  await expect.poll(() => gateway.metric('lanyard_in_flight')).toBe(0);
  const again = await dial(gateway.port, head(body.length) + body.slice(0, 5));
  await expect.poll(() => gateway.metric('lanyard_in_flight')).toBe(1);
  again.socket.destroy();
}

// ---- the stage ---------------------------------------------------------------------------------------------------

async function stage(): Promise<{ engines: FakeEngine[]; gateway: Stage }> {
  const reply = (): string[] => ['Gr', 'üß', 'e ', CANARIES.answer, ' 世', '界'];
  const engines = await Promise.all(
    (['vllm', 'ollama', 'llama.cpp'] as const).map((kind) => startEngine({ kind, models: ['x'], tps: 400, reply })),
  );
  for (const engine of engines) onTestFinished(() => engine.stop());
  const hash = createHash('sha256').update(CANARIES.alice).digest('hex');
  const gateway = await openGateway(
    `
auth:
  master_key: \${LITELLM_MASTER_KEY}
  failures: 1000/min
  keys:
    - { name: alice, hash: "sha256:${hash}", models: ["n"] }
limits:
  ip: { requests: 100000/s, burst: 100000, parallel: ${PLACES} }
  queue_wait_ms: 60ms
  queue_length: 3
  first_byte_ms: 300ms
  idle_ms: 200ms
  keep_alive_ms: 100ms
backends:
  a: { engine: vllm, url: "${engines[0]?.url}", slots: 4 }
  b: { engine: ollama, url: "${engines[1]?.url}", slots: 3 }
  c: { engine: llama.cpp, url: "${engines[2]?.url}", slots: 3 }
  gone: { engine: openai, url: "http://127.0.0.1:${await freePort()}" }
models:
  m: { serve: [a/x, b/x], fallback: [n] }
  n: [c/x]
  dead: { serve: [gone/x], fallback: [n] }
`,
    { probing: { every_ms: 50, soon_ms: 20, wait_ms: 300 } },
  );
  return { engines, gateway };
}

const FAULTS: readonly Fault[] = [
  { kind: 'die_after', events: 2 },
  { kind: 'fin_after', events: 3 },
  { kind: 'end_after', events: 2 },
  { kind: 'hang' },
  { kind: 'hang_after', events: 2 },
  { kind: 'reset' },
  { kind: 'close' },
  { kind: 'garbage' },
  { kind: 'bad_json' },
  { kind: 'bad_chunk' },
  { kind: 'html', status: 502 },
  { kind: 'status', status: 429 },
  { kind: 'status', status: 503 },
  { kind: 'error', what: 'internal' },
  { kind: 'error', what: 'bad_request' },
  { kind: 'error', what: 'unauthorized' },
  { kind: 'error_200' },
  { kind: 'error_event_after', events: 2 },
  { kind: 'truncated' },
  { kind: 'no_done' },
  { kind: 'no_finish' },
  { kind: 'split', bytes: 3 },
  { kind: 'comments' },
  { kind: 'delay', ms: 80 },
  { kind: 'delay_body', ms: 150 },
];

// ---- a caller ----------------------------------------------------------------------------------------------------

const KINDS = {
  chat: 20,
  stream: 30,
  completion: 5,
  embedding: 8,
  fallback: 6,
  alice: 5,
  forbidden: 3,
  wrong_key: 4,
  unknown_model: 4,
  bad_json: 4,
  wrong_type: 2,
  leaves_in_body: 4,
  leaves_waiting: 8,
  leaves_stream: 8,
} as const;
type Kind = keyof typeof KINDS;

/** What a caller saw of one request. */
interface Seen {
  readonly kind: Kind;
  readonly model: string;
  /** From the answer's headers, where it had any. */
  readonly id: string | undefined;
  readonly end: 'whole' | 'error' | 'left';
  readonly status: number;
  readonly code: string;
}

function kindOf(random: () => number): Kind {
  const all = Object.entries(KINDS) as [Kind, number][];
  let at = random() * all.reduce((sum, [, weight]) => sum + weight, 0);
  return all.find(([, weight]) => (at -= weight) < 0)?.[0] ?? 'chat';
}

async function ask(gateway: Stage, kind: Kind, random: () => number): Promise<Seen> {
  const leaves = kind.startsWith('leaves');
  const stream =
    kind === 'stream' || kind === 'leaves_stream' || (leaves && random() < 0.5) || (kind === 'alice' && random() < 0.5);
  const path = kind === 'completion' ? 'completions' : kind === 'embedding' ? 'embeddings' : 'chat/completions';
  const model = { alice: 'n', forbidden: 'm', fallback: 'dead', unknown_model: CANARIES.model }[kind as string] ?? 'm';
  const words = `${CANARIES.prompt} ${random()}`;
  const asks = { completion: { prompt: words }, embedding: { input: words } }[kind as string] ?? {
    messages: [{ role: 'user', content: words }],
    stream,
  };
  const text = JSON.stringify({ model, ...asks });
  const body = kind === 'bad_json' ? text.slice(0, -3) : text;
  const key = kind === 'wrong_key' ? CANARIES.wrong : kind === 'alice' || kind === 'forbidden' ? CANARIES.alice : KEY;
  const wait_ms = random() * 60;
  return await new Promise((resolve, reject) => {
    const sent = httpRequest(`${gateway.url}/v1/${path}`, {
      method: 'POST',
      agent: false,
      headers: {
        authorization: `Bearer ${key}`,
        'content-type': kind === 'wrong_type' ? 'text/plain' : 'application/json',
        'content-length': Buffer.byteLength(body),
      },
    });
    let answer: IncomingMessage | undefined;
    const over = (end: Seen['end'], code = ''): void => {
      const id = answer?.headers['x-request-id'];
      resolve({ kind, model, id: typeof id === 'string' ? id : undefined, end, status: answer?.statusCode ?? 0, code });
    };
    const leave = (): void => {
      sent.destroy();
      over('left');
    };
    sent.on('error', (error) => (leaves ? over('left') : reject(error)));
    sent.on('response', (response) => {
      answer = response;
      let heard = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        heard += part;
        if (kind === 'leaves_stream' && response.statusCode === 200) leave();
      });
      response.on('error', () => over(leaves ? 'left' : 'error', 'broken'));
      response.on('end', () => {
        const code = /"error":\{.*"code":"(\w+)"\}\}/.exec(heard)?.[1];
        if (code !== undefined) return over('error', code);
        const whole = stream ? heard.endsWith('data: [DONE]\n\n') : JSON.parse(heard) !== null;
        over(whole ? 'whole' : 'error', 'cut');
      });
    });
    // Gone only after what is to arrive has been handed over, so that the request is accepted.
    if (kind === 'leaves_in_body') sent.write(body.slice(0, 20), leave);
    else sent.end(body, () => kind === 'leaves_waiting' && setTimeout(leave, wait_ms));
  });
}

// ---- the books ---------------------------------------------------------------------------------------------------

interface Line {
  readonly id: string;
  readonly end: string;
  readonly status: number;
  readonly code?: string;
  readonly backend: string;
  readonly retries?: number;
  readonly shared?: boolean;
  readonly tokens_in?: number;
  readonly tokens_out?: number;
}

async function read(gateway: Stage) {
  const text = await (await fetch(`${gateway.url}/metrics`)).text();
  const samples = [...text.matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)].map(([, name, labels = '', value]) => ({
    name,
    labels: Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, worth]) => [key, worth])),
    value: Number(value),
  }));
  return {
    text,
    lines: gateway.outcomes() as unknown as readonly Line[],
    sum: (name: string, labels: Record<string, string> = {}): number =>
      samples
        .filter((one) => one.name === name && Object.entries(labels).every(([key, worth]) => one.labels[key] === worth))
        .reduce((sum, { value }) => sum + value, 0),
  };
}

function pick<T>(list: readonly T[], random: () => number): T {
  const one = list[Math.floor(random() * list.length)];
  if (one === undefined) throw new Error('an empty list');
  return one;
}
