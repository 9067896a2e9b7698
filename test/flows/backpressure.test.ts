// A caller who does not read: the engine is held back instead of memory filling, nothing is lost or reordered when they read
// on, and who never does is cut off.
import { describe, expect, test } from 'vitest';
import type { FakeEngine } from '../engines/engine.ts';
import { call, events } from '../stage/caller.ts';
import { openLine } from '../stage/line.ts';

const CHAT = '/v1/chat/completions';

/** Resolves once no byte has left the engine for as long; then what is between it and the caller is full. */
async function stuck(engine: FakeEngine, for_ms = 150): Promise<number> {
  let sent = -1;
  const same = (): boolean => {
    const before = sent;
    sent = engine.asked[0]?.bytes_sent ?? 0;
    return sent > 0 && sent === before;
  };
  await expect.poll(same, { interval: for_ms, timeout: 15_000 }).toBe(true);
  return sent;
}

/** An answer far larger than what kernels and sockets hold between engine and caller. */
const TOKENS = 120_000;

function contents(text: string): string {
  return events(text)
    .map((event) => /"delta":\{"content":"([^"]*)"/.exec(event)?.[1] ?? '')
    .join('');
}

describe('a caller who stops reading', () => {
  test('holds the engine back: what is under way stays bounded, and no memory fills', async () => {
    const { engine, gateway, chat } = await openLine();
    engine.next({ kind: 'endless' });
    await call(gateway.port, CHAT, chat(), { paused: true });
    const sent = await stuck(engine);
    const { rss, external, arrayBuffers } = process.memoryUsage();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(engine.asked[0]?.bytes_sent).toBe(sent);
    // Four socket buffers of the kernel's, which on Linux grow to some megabytes each.
    expect(sent).toBeLessThan(48 << 20);
    const now = process.memoryUsage();
    expect(now.external + now.arrayBuffers - external - arrayBuffers).toBeLessThan(4 << 20);
    expect(now.rss - rss).toBeLessThan(32 << 20);
  });

  test('and reads on gets everything, in order', async () => {
    const { engine, gateway, chat } = await openLine({ tokens: TOKENS });
    const caller = await call(gateway.port, CHAT, chat(), { paused: true });
    const sent = await stuck(engine);
    expect(engine.asked[0]?.ended).toBeUndefined();
    caller.read();
    const text = await caller.whole();
    expect(Buffer.byteLength(text)).toBeGreaterThan(sent);
    expect(contents(text)).toBe(engine.says);
    expect(text).toMatch(/data: \[DONE\]\n\n$/);
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'complete', status: 200, tokens_out: TOKENS }]);
  });

  test('gets everything even when the engine has closed its connection meanwhile', async () => {
    const { engine, gateway, chat } = await openLine({ tokens: 20_000 });
    // The answer by hand on a connection that is closed after it; whether the caller reads is no concern of the engine's.
    engine.next({ kind: 'split', bytes: 16_384 });
    const caller = await call(gateway.port, CHAT, chat(), { paused: true });
    await Promise.race([stuck(engine), engine.until(({ in_flight }) => in_flight === 0, 15_000)]);
    caller.read();
    expect(contents(await caller.whole())).toBe(engine.says);
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'complete', status: 200 }]);
  });

  test('does not make the engine look silent', async () => {
    const { engine, gateway, chat } = await openLine({ tokens: TOKENS, limits: 'idle_ms: 100ms' });
    const caller = await call(gateway.port, CHAT, chat(), { paused: true });
    await stuck(engine, 300);
    expect(engine.asked[0]?.ended).toBeUndefined();
    caller.read();
    expect(await caller.whole()).toMatch(/data: \[DONE\]\n\n$/);
  });

  test('gets no keep-alives piled up behind what they did not read', async () => {
    const { engine, gateway, chat } = await openLine({ tokens: TOKENS, limits: 'keep_alive_ms: 20ms' });
    const since = performance.now();
    const caller = await call(gateway.port, CHAT, chat(), { paused: true });
    await stuck(engine, 400);
    caller.read();
    const text = await caller.whole();
    // On a busy machine the engine itself may be silent now and then, and that is filled.
    const rest_ms = performance.now() - since - 400;
    expect(contents(text)).toBe(engine.says);
    const filled = events(text).filter((event) => event === ': keep-alive').length;
    expect(filled).toBeLessThan(8 + rest_ms / 20);
  });

  test('for longer than reader_idle_ms is cut off, and the engine stopped', async () => {
    const { engine, gateway, chat } = await openLine({ limits: 'reader_idle_ms: 200ms' });
    engine.next({ kind: 'endless' });
    const caller = await call(gateway.port, CHAT, chat(), { paused: true });
    await engine.until(({ asked }) => asked[0]?.ended === 'aborted', 15_000);
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'client_closed', status: 499 }]);
    caller.read();
    expect(await caller.ended).toBe('cut');
    expect(gateway.fleet.in_flight).toBe(0);
    expect(await gateway.metric('lanyard_upstream_errors_total')).toBe(0);
  });

  test('at the end of a whole answer is cut off too, and held no slot meanwhile', async () => {
    const { engine, gateway, chat } = await openLine({ limits: 'reader_idle_ms: 300ms' });
    engine.next({ kind: 'huge_event', bytes: 32 << 20 });
    const caller = await call(gateway.port, CHAT, chat({ stream: false }), { paused: true });
    await engine.until(({ asked }) => asked[0]?.ended === 'complete', 15_000);
    await expect.poll(() => gateway.fleet.in_flight).toBe(0);
    expect(gateway.outcomes()).toHaveLength(0);
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'client_closed', status: 499 }]);
    caller.read();
    expect(await caller.ended).toBe('cut');
  });
});

describe('a caller who reads slowly but steadily is never cut', () => {
  test('in a stream', async () => {
    const { engine, gateway, chat } = await openLine({ tokens: TOKENS, limits: 'reader_idle_ms: 500ms' });
    const caller = await call(gateway.port, CHAT, chat(), { paused: true });
    const since = performance.now();
    const text = await caller.readSlowly(1 << 20, 100);
    expect(performance.now() - since).toBeGreaterThan(1_000);
    expect(contents(text)).toBe(engine.says);
  });

  test('in a whole answer', async () => {
    const { engine, gateway, chat } = await openLine({ limits: 'reader_idle_ms: 500ms' });
    const bytes = 24 << 20;
    engine.next({ kind: 'huge_event', bytes });
    const caller = await call(gateway.port, CHAT, chat({ stream: false }), { paused: true });
    const since = performance.now();
    expect((await caller.readSlowly(1 << 20, 100)).length).toBeGreaterThan(bytes);
    expect(performance.now() - since).toBeGreaterThan(1_500);
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'complete' }]);
  });
});

test('one slow reader slows nobody else', async () => {
  const { engine, gateway, chat } = await openLine();
  engine.next({ kind: 'endless' });
  await call(gateway.port, CHAT, chat(), { paused: true });
  await stuck(engine);
  const since = performance.now();
  for (let n = 0; n < 10; n += 1) expect(await (await call(gateway.port, CHAT, chat())).whole()).toContain('[DONE]');
  expect(performance.now() - since).toBeLessThan(2_000);
});
