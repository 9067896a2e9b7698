// Limits as a caller meets them: nginx's arithmetic, honest waits, places given back on every end.
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { call } from '../stage/caller.ts';
import type { Stage } from '../stage/gateway.ts';
import { openLine } from '../stage/line.ts';

const CHAT = '/v1/chat/completions';
const ALICE = 'sk-lanyard-alices-own-key-Qm9vbWVyYW5nIQ';
const ALICE_HASH = `sha256:${createHash('sha256').update(ALICE).digest('hex')}`;
const AS_ALICE = { authorization: `Bearer ${ALICE}` };
const keyed = (limits: string): string => `auth: { keys: [{ name: alice, hash: "${ALICE_HASH}", limits: ${limits} }] }`;

const WHOLE = { model: 'coder', messages: [], stream: false };

async function many(gateway: Stage, count: number, headers: Record<string, string> = {}): Promise<Response[]> {
  return await Promise.all(Array.from({ length: count }, () => gateway.ask(CHAT, WHOLE, { headers })));
}

async function statusOf(answer: Promise<Response>): Promise<number> {
  const { status, body } = await answer;
  await body?.cancel();
  return status;
}

function counted(answers: readonly Response[]): Record<number, number> {
  const counts: Record<number, number> = {};
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

test('of forty at once under the default limits 21 pass and 19 are told when to come again', async () => {
  const { gateway, engine } = await openLine({ ip: '{}' });
  const began = performance.now();
  const answers = await many(gateway, 40);
  // On a machine so slow that a tenth of a second passed, one more is due.
  const due = 21 + Math.floor((performance.now() - began) / 100);
  const { 200: passed = 0, 429: refused = 0, ...others } = counted(answers);
  expect(others).toEqual({});
  expect(passed).toBeGreaterThanOrEqual(21);
  expect(passed).toBeLessThanOrEqual(due);
  expect(refused).toBe(40 - passed);
  expect(engine.asked).toHaveLength(passed);
  const turns: number[] = [];
  for (const answer of answers) {
    expect(answer.headers.get('x-ratelimit-limit-requests')).toBe('21');
    expect(Number(answer.headers.get('x-ratelimit-remaining-requests'))).toBeLessThanOrEqual(20);
    expect(answer.headers.get('x-ratelimit-reset-requests')).toMatch(/^\d+(?:\.\d+)?s$/);
    if (answer.status === 200) continue;
    const ms = Number(answer.headers.get('retry-after-ms'));
    turns.push(ms);
    expect(answer.headers.get('retry-after')).toBe(String(Math.ceil(ms / 1000)));
    expect(answer.headers.get('x-should-retry')).toBeNull();
    expect(await answer.json()).toMatchObject({ error: { type: 'rate_limit_error', code: 'rate_limit_exceeded' } });
  }
  // To each its own tenth of a second; they were told within some milliseconds of each other.
  const late_ms = performance.now() - began;
  for (const [at, ms] of turns.toSorted((a, b) => a - b).entries()) {
    expect(ms).toBeLessThanOrEqual(100 * (at + 1) + 1);
    expect(ms).toBeGreaterThanOrEqual(100 * (at + 1) - late_ms);
  }
  const labels = { source: 'local' };
  expect(await gateway.metric('lanyard_limiter_decisions_total', { ...labels, decision: 'admitted' })).toBe(passed);
  expect(await gateway.metric('lanyard_limiter_decisions_total', { ...labels, decision: 'rate', scope: 'ip' })).toBe(
    refused,
  );
});

test('who waits retry-after-ms passes', async () => {
  const { gateway } = await openLine({ ip: '{ requests: 5/s, burst: 0 }' });
  expect(await statusOf(gateway.ask(CHAT, WHOLE))).toBe(200);
  for (let n = 0; n < 3; n += 1) {
    const refused = await gateway.ask(CHAT, WHOLE);
    expect(refused.status).toBe(429);
    await pause(Number(refused.headers.get('retry-after-ms')));
    expect(await statusOf(gateway.ask(CHAT, WHOLE))).toBe(200);
  }
});

test('a refused request costs neither the address nor the key anything', async () => {
  // The key refuses first: had the address paid for the refusals, the other key would be refused too.
  const { gateway } = await openLine({
    ip: '{ requests: 1/min, burst: 5 }',
    yaml: keyed('{ requests: 1/min, burst: 1 }'),
  });
  expect(counted(await many(gateway, 12, AS_ALICE))).toEqual({ 200: 2, 429: 10 });
  expect(counted(await many(gateway, 6))).toEqual({ 200: 4, 429: 2 });
  const whose = (scope: string) => gateway.metric('lanyard_limiter_decisions_total', { scope, decision: 'rate' });
  expect([await whose('key'), await whose('ip')]).toEqual([10, 2]);
});

test('an address that is out of requests leaves its key whole', async () => {
  const { gateway } = await openLine({
    ip: '{ requests: 1/min, burst: 1 }',
    limits: 'trusted_proxies: [127.0.0.1]',
    yaml: keyed('{ requests: 1/min, burst: 3 }'),
  });
  const from = (address: string) => ({ ...AS_ALICE, 'x-forwarded-for': address });
  expect(counted(await many(gateway, 8, from('203.0.113.1')))).toEqual({ 200: 2, 429: 6 });
  expect(counted(await many(gateway, 4, from('203.0.113.2')))).toEqual({ 200: 2, 429: 2 });
  expect(counted(await many(gateway, 1, from('203.0.113.3')))).toEqual({ 429: 1 });
});

test("a refused key's body is not read, and pages are not counted", async () => {
  const { gateway } = await openLine({ ip: '{ requests: 1/min, burst: 0 }' });
  for (let n = 0; n < 5; n += 1) expect(await statusOf(gateway.ask('/v1/models'))).toBe(200);
  expect(await statusOf(gateway.ask(CHAT, '{ not JSON'))).toBe(400);
  // What was admitted and then refused has used its turn; what is refused here is so before its body counts.
  expect(await statusOf(gateway.ask(CHAT, '{ not JSON'))).toBe(429);
});

const PLACES = '{ requests: 1000/s, burst: 1000, parallel: 3 }';

test('three streams held, the fourth refused; and with one ended the next passes', async () => {
  const { gateway, engine, chat } = await openLine({ ip: PLACES });
  engine.always({ kind: 'hold_after', events: 1 });
  const streams = await Promise.all([1, 2, 3].map(() => call(gateway.port, CHAT, chat())));
  await Promise.all(streams.map((stream) => stream.until('data: ')));
  const refused = await gateway.ask(CHAT, chat());
  expect(refused.status).toBe(429);
  expect(refused.headers.get('retry-after')).toBe('1');
  expect(refused.headers.get('x-ratelimit-limit-requests')).toBe('1001');
  expect(await refused.json()).toMatchObject({ error: { code: 'parallel_limit_exceeded', type: 'rate_limit_error' } });
  engine.always(undefined);
  engine.release();
  await Promise.all(streams.map((stream) => stream.whole()));
  expect(await statusOf(gateway.ask(CHAT, chat()))).toBe(200);
});

const ENDS: readonly (readonly [
  name: string,
  make: (line: Awaited<ReturnType<typeof openLine>>) => Promise<unknown>,
])[] = [
  ['a whole answer', ({ gateway }) => statusOf(gateway.ask(CHAT, WHOLE))],
  ['a whole stream', async ({ gateway, chat }) => (await gateway.ask(CHAT, chat())).text()],
  ['a body that is not JSON', ({ gateway }) => statusOf(gateway.ask(CHAT, '{'))],
  ['a body too large', ({ gateway }) => statusOf(gateway.ask(CHAT, { ...WHOLE, x: 'y'.repeat(3000) }))],
  [
    'a body that stops',
    async ({ gateway }) => (await call(gateway.port, CHAT, '{"', { headers: { 'content-length': '99' } })).head,
  ],
  ['an unknown model', ({ gateway }) => statusOf(gateway.ask(CHAT, { ...WHOLE, model: 'no' }))],
  [
    "an engine's refusal",
    ({ gateway, engine }) => (engine.next({ kind: 'error', what: 'bad_request' }), statusOf(gateway.ask(CHAT, WHOLE))),
  ],
  [
    "an engine's death in the middle",
    async ({ gateway, engine, chat }) => {
      engine.next({ kind: 'die_after', events: 2 });
      const stream = await call(gateway.port, CHAT, chat());
      await stream.ended;
    },
  ],
  [
    'a client that leaves before the answer',
    async ({ gateway, engine, chat }) => {
      engine.next({ kind: 'hang' });
      const before = engine.asked.length;
      const stream = await call(gateway.port, CHAT, chat());
      await engine.until(({ asked }) => asked.length > before);
      stream.leave('reset');
    },
  ],
  [
    'a client that leaves in the middle',
    async ({ gateway, engine, chat }) => {
      engine.next({ kind: 'hang_after', events: 1 });
      const stream = await call(gateway.port, CHAT, chat());
      await stream.until('data: ');
      stream.leave('fin');
    },
  ],
  [
    'a client that leaves within its body',
    async ({ gateway }) => {
      const stream = await call(gateway.port, CHAT, '{"', { headers: { 'content-length': '99' } });
      await expect.poll(() => gateway.metric('lanyard_in_flight')).toBe(1);
      stream.leave('reset');
    },
  ],
];

test.each(ENDS)('the one place is given back after %s', async (_name, make) => {
  const line = await openLine({
    ip: '{ requests: 1000/s, burst: 1000, parallel: 1 }',
    limits: 'body_idle_ms: 400ms, body_bytes_max: 2KiB',
  });
  for (let n = 0; n < 2; n += 1) {
    await make(line);
    await expect.poll(() => line.gateway.outcomes()).toHaveLength(2 * n + 1);
    expect(await statusOf(line.gateway.ask(CHAT, WHOLE))).toBe(200);
    await expect.poll(() => line.gateway.outcomes()).toHaveLength(2 * n + 2);
  }
});

test("a key's places are its own, beside the address's", async () => {
  const { gateway, engine, chat } = await openLine({ ip: PLACES, yaml: keyed('{ parallel: 1 }') });
  engine.next({ kind: 'hold_after', events: 1 });
  const held = await call(gateway.port, CHAT, chat(), { headers: AS_ALICE });
  await held.until('data: ');
  expect(await statusOf(gateway.ask(CHAT, WHOLE, { headers: AS_ALICE }))).toBe(429);
  expect(await statusOf(gateway.ask(CHAT, WHOLE))).toBe(200);
  expect(await gateway.metric('lanyard_limiter_decisions_total', { scope: 'key', decision: 'parallel' })).toBe(1);
  engine.release();
  await held.whole();
  await expect.poll(() => statusOf(gateway.ask(CHAT, WHOLE, { headers: AS_ALICE }))).toBe(200);
});
