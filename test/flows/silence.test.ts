// While nothing comes: a stream's silence is filled, a streamed call that still waits is committed early and told in-band
// how it ended, an unstreamed one never is; and what is silent for too long is given up.
import { describe, expect, test } from 'vitest';
import type { Fault } from '../engines/engine.ts';
import { call, events, type Caller } from '../stage/caller.ts';
import { openLine } from '../stage/line.ts';

const CHAT = '/v1/chat/completions';
const DONE = 'data: [DONE]';
const ALIVE = ': keep-alive';

function code(event: string | undefined): string {
  expect(event).toMatch(/^data: \{"error":/);
  return (JSON.parse(event?.slice('data: '.length) ?? '') as { error: { code: string } }).error.code;
}

function without(text: string): string[] {
  return events(text).filter((event) => event !== ALIVE);
}

/** Two keep-alives: silence has lasted, by a measure the gateway itself gives. */
async function silence(caller: Caller): Promise<void> {
  await caller.until(`${ALIVE}\n\n${ALIVE}\n\n`);
}

describe("a stream's silence", () => {
  test('is filled with keep-alive comments between whole events', async () => {
    const { engine, gateway, chat } = await openLine({ limits: 'keep_alive_ms: 20ms' });
    engine.next({ kind: 'hold_after', events: 3 });
    const caller = await call(gateway.port, CHAT, chat());
    await silence(caller);
    expect(caller.text()).toMatch(/^(?:data: \{[^\n]*\}\n\n){3}(?:: keep-alive\n\n)+$/);
    engine.release();
    const list = without(await caller.whole());
    expect(list).toHaveLength(11);
    expect(list.every((event) => event.startsWith('data: '))).toBe(true);
    expect(list.at(-1)).toBe(DONE);
  });

  test('before the first event commits the call to 200, and the answer follows', async () => {
    const { engine, gateway, chat } = await openLine({ limits: 'keep_alive_ms: 20ms' });
    engine.next({ kind: 'hold' });
    const caller = await call(gateway.port, CHAT, chat());
    const { status, headers } = await caller.head;
    expect(status).toBe(200);
    expect(headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'x-accel-buffering': 'no',
      'cache-control': 'no-cache, no-transform',
      'x-request-id': expect.stringMatching(/^req_/),
    });
    await silence(caller);
    expect(without(caller.text())).toEqual([]);
    engine.release();
    expect(without(await caller.whole()).at(-1)).toBe(DONE);
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'complete', status: 200 }]);
  });

  test('is no token: the time to the first one counts from the answer, not from a keep-alive', async () => {
    const { engine, gateway, chat } = await openLine({ limits: 'keep_alive_ms: 20ms' });
    engine.next({ kind: 'hold' });
    const caller = await call(gateway.port, CHAT, chat());
    // By now the request has arrived, and its own time runs.
    await engine.until(({ held }) => held === 1);
    const since = performance.now();
    await silence(caller);
    const waited = performance.now() - since;
    engine.release();
    await caller.whole();
    await expect.poll(() => gateway.outcomes()).toHaveLength(1);
    expect(gateway.outcomes()[0]?.['first_byte_ms']).toBeGreaterThan(waited);
  });

  test('does not cut a stream that trickles on', async () => {
    const { engine, gateway, chat } = await openLine({ limits: 'idle_ms: 400ms, first_byte_ms: 400ms' });
    engine.next({ kind: 'trickle', ms: 30, bytes: 64 });
    const caller = await call(gateway.port, CHAT, chat());
    const since = performance.now();
    expect(events(await caller.whole()).at(-1)).toBe(DONE);
    expect(performance.now() - since).toBeGreaterThan(600);
  });
});

describe('a streamed call that has waited is told in-band how it failed, with the same code', () => {
  const fates: [string, Fault, string, number][] = [
    ['an answer that never begins', { kind: 'hang' }, 'upstream_timeout', 504],
    [
      'a refusal',
      {
        kind: 'all',
        faults: [
          { kind: 'delay', ms: 100 },
          { kind: 'error', what: 'overflow' },
        ],
      },
      'context_length_exceeded',
      400,
    ],
    ['a reset', { kind: 'all', faults: [{ kind: 'delay', ms: 100 }, { kind: 'reset' }] }, 'upstream_reset', 502],
    [
      'an overloaded engine',
      {
        kind: 'all',
        faults: [
          { kind: 'delay', ms: 100 },
          { kind: 'error', what: 'overloaded' },
        ],
      },
      'server_is_overloaded',
      503,
    ],
  ];
  test.for(fates)('%s', async ([, fault, wanted, status]) => {
    const { engine, gateway, chat } = await openLine({ limits: 'keep_alive_ms: 20ms, first_byte_ms: 300ms' });
    // Always: a reset on the socket that the probe used is tried again on a fresh one.
    engine.always(fault);
    const caller = await call(gateway.port, CHAT, chat());
    expect((await caller.head).status).toBe(200);
    const list = events(await caller.whole());
    expect(list[0]).toBe(ALIVE);
    expect(without(caller.text())).toHaveLength(1);
    expect(code(list.at(-1))).toBe(wanted);
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ status, code: wanted }]);
  });

  test('a queue in which no slot came free', async () => {
    const { engine, gateway, chat } = await openLine({
      limits: 'keep_alive_ms: 20ms, queue_wait_ms: 200ms',
      backend: 'slots: 1',
    });
    engine.next({ kind: 'hold' });
    const first = await call(gateway.port, CHAT, chat());
    await engine.until(({ held }) => held === 1);
    const second = await call(gateway.port, CHAT, chat());
    const list = events(await second.whole());
    expect(list[0]).toBe(ALIVE);
    expect(code(list.at(-1))).toBe('server_is_overloaded');
    expect(engine.asked).toHaveLength(1);
    engine.release();
    expect(without(await first.whole()).at(-1)).toBe(DONE);
  });
});

test('an unstreamed call is never committed early', async () => {
  const { engine, gateway, chat } = await openLine({ limits: 'keep_alive_ms: 20ms' });
  engine.always({ kind: 'hold' });
  let begun = false;
  const plain = await call(gateway.port, CHAT, chat({ stream: false }));
  void plain.head.then(() => (begun = true));
  await engine.until(({ held }) => held === 1);
  const streamed = await call(gateway.port, CHAT, chat());
  await silence(streamed);
  expect(begun).toBe(false);
  engine.release();
  expect((await plain.head).headers['content-type']).toBe('application/json');
  expect(JSON.parse(await plain.whole())).toHaveProperty('choices');
});

describe('an engine that does not answer in time is given up with 504', () => {
  const calls: [string, string, object][] = [
    ['a streamed chat', CHAT, { stream: true, messages: [{ role: 'user', content: 'Hi' }] }],
    ['a chat', CHAT, { messages: [{ role: 'user', content: 'Hi' }] }],
    ['embeddings', '/v1/embeddings', { input: 'Hi' }],
  ];
  const faults: [string, Fault][] = [
    ['before its headers', { kind: 'hang' }],
    ['after its headers', { kind: 'hang_after', events: 0 }],
  ];
  describe.for(calls)('%s', ([, path, body]) => {
    test.for(faults)('%s', async ([, fault]) => {
      const { engine, gateway } = await openLine({ limits: 'first_byte_ms: 150ms, idle_ms: 150ms' });
      engine.next(fault);
      const caller = await call(gateway.port, path, { model: 'coder', ...body });
      const { status, headers } = await caller.head;
      expect(status).toBe(504);
      expect(headers['x-should-retry']).toBe('false');
      expect((JSON.parse(await caller.whole()) as { error: { code: string } }).error.code).toBe('upstream_timeout');
      await engine.until(({ asked }) => asked[0]?.ended === 'aborted');
      expect(engine.asked).toHaveLength(1);
      expect(gateway.fleet.in_flight).toBe(0);
    });
  });
});
