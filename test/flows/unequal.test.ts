// Sixty clients of three keys over four unequal backends: one fast, one slow with few slots, one dead, one that loads for a
// while. Nothing is lost, no slot and no place is kept, and no client notices the two that cannot serve.
import { createHash } from 'node:crypto';
import { expect, onTestFinished, test } from 'vitest';
import { startEngine } from '../engines/engine.ts';
import { call } from '../stage/caller.ts';
import { openGateway } from '../stage/gateway.ts';
import { freePort } from '../stage/ports.ts';
import { seeded } from '../stage/random.ts';

const CLIENTS = 60;
const EACH = 8;
const KEYS = ['alice', 'bob', 'carol'].map((name) => ({ name, key: `sk-of-${name}-0123456789abcdef0123` }));

test('sixty clients of three keys over four unequal backends', { timeout: 60_000 }, async () => {
  const fast = await startEngine({ kind: 'vllm', models: ['m'], slots: 6, tps: 100 });
  const slow = await startEngine({ kind: 'ollama', models: ['m'], slots: 2, tps: 100 });
  const loading = await startEngine({ kind: 'llama.cpp', models: ['m'], slots: 8, tps: 200, load_ms: 700 });
  onTestFinished(async () => void (await Promise.all([fast.stop(), slow.stop(), loading.stop()])));
  const keys = KEYS.map(
    ({ name, key }) => `{ name: ${name}, hash: "sha256:${createHash('sha256').update(key).digest('hex')}" }`,
  );
  const gateway = await openGateway(
    `
auth: { keys: [${keys.join(', ')}] }
limits: { ip: off, queue_wait_ms: 30s }
backends:
  fast: { engine: vllm, url: "${fast.url}", slots: 6 }
  slow: { engine: ollama, url: "${slow.url}", slots: 2 }
  loading: { engine: llama.cpp, url: "${loading.url}" }
  dead: { engine: vllm, url: "http://127.0.0.1:${await freePort()}" }
models:
  coder: [fast/m, slow/m, loading/m, dead/m]
`,
    { probing: { soon_ms: 100 } },
  );
  const random = seeded(20_261_129);
  let left = 0;
  let served = 0;
  await Promise.all(
    Array.from({ length: CLIENTS }, async (_, client) => {
      const { key } = KEYS[client % KEYS.length] ?? { key: '' };
      for (let n = 0; n < EACH; n += 1) {
        const stream = random() < 0.6;
        const leaves = random() < 0.1;
        const body = { model: 'coder', messages: [{ role: 'user', content: 'Hi' }], stream };
        const caller = await call(gateway.port, '/v1/chat/completions', body, {
          headers: { authorization: `Bearer ${key}` },
        });
        if (leaves) {
          left += 1;
          caller.leave(random() < 0.5 ? 'fin' : 'reset');
          continue;
        }
        const text = await caller.whole();
        expect([(await caller.head).status, text.includes('Gr')]).toEqual([200, true]);
        if (stream) expect(text).toMatch(/data: \[DONE\]\n\n$/);
        served += 1;
      }
    }),
  );
  expect(left + served).toBe(CLIENTS * EACH);
  await expect.poll(() => gateway.metric('lanyard_in_flight')).toBe(0);
  for (const engine of [fast, slow, loading]) await engine.until(({ in_flight }) => in_flight === 0);
  await expect.poll(() => gateway.outcomes().length).toBe(CLIENTS * EACH);
  // Every one ended in one of two ways, and nobody was refused.
  const ends = gateway.outcomes().map(({ end }) => end);
  expect(ends.filter((end) => end === 'complete').length).toBeGreaterThanOrEqual(served);
  expect(new Set(ends).isSubsetOf(new Set(['complete', 'client_closed']))).toBe(true);
  // What was taken is given back.
  expect(gateway.fleet.in_flight).toBe(0);
  expect(gateway.fleet.queue.length).toBe(0);
  for (const backend of gateway.fleet.backends.values()) expect(backend.in_flight).toBe(0);
  // None was given more than it takes, and each that lives had its part; the one that loaded too, once it was there.
  expect(fast.peak_in_flight).toBeLessThanOrEqual(6);
  expect(slow.peak_in_flight).toBeLessThanOrEqual(2);
  for (const { asked } of [fast, slow, loading]) expect(asked.length).toBeGreaterThan(0);
  const share = new Map<string, number>();
  for (const { key } of gateway.outcomes()) share.set(String(key), (share.get(String(key)) ?? 0) + 1);
  expect([...share.values()]).toEqual([160, 160, 160]);
});
