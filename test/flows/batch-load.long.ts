// Batches under load, their figures reported: a file of the largest size, and requests that come a hundred a second for a minute.
import { createReadStream, createWriteStream, statSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { chatLine, clientOf, ended } from '../stage/batches.ts';
import { KEY } from '../stage/gateway.ts';
import { newDir, startLanyard, type Lanyard } from '../stage/lanyard.ts';
import { watchMemory } from '../stage/memory.ts';

async function stage(
  more = '',
): Promise<{ readonly engine: FakeEngine; readonly gateway: Lanyard; readonly dir: string }> {
  const engine = await startEngine({ kind: 'vllm', models: ['x'] });
  onTestFinished(() => engine.stop());
  const dir = newDir();
  const gateway = await startLanyard({
    dir,
    env: { LITELLM_MASTER_KEY: KEY, LOG_LEVEL: 'WARNING' },
    yaml: `
listen: [{ port: 0 }]
limits: { ip: off }
batch: { data: data, disk_free_bytes_min: 1${more} }
backends: { rack: { engine: vllm, url: "${engine.url}", slots: 32 } }
models: { m: [rack/x] }
`,
  });
  return { engine, gateway, dir };
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);

test('200 MB of lines go through, and memory stays flat', async () => {
  const { gateway, dir } = await stage();
  const path = join(dir, 'large.jsonl');
  const lines = 38_900;
  const filling = 'x'.repeat(5_000);
  const file = createWriteStream(path);
  for (let n = 0; n < lines; n += 1) {
    if (!file.write(`${chatLine(`line-${n}`, 'm', filling)}\n`)) await once(file, 'drain');
  }
  file.end();
  await once(file, 'finish');
  const bytes = statSync(path).size;
  expect(bytes).toBeGreaterThan(195e6);
  expect(bytes).toBeLessThan(200e6);

  const client = clientOf(gateway.url);
  // Once before, so that what a first upload loads is not counted.
  const memory = watchMemory(gateway.pid);
  onTestFinished(() => memory.stop());
  const { id, bytes: kept } = await client.files.create({ file: createReadStream(path), purpose: 'batch' });
  expect(kept).toBe(bytes);
  const uploaded = memory.peak();
  const batch = await client.batches.create({
    input_file_id: id,
    endpoint: '/v1/chat/completions',
    completion_window: '24h',
  });
  const done = await ended(client, batch.id, 600_000);
  expect(done.request_counts).toMatchObject({ total: lines, completed: lines, failed: 0 });
  const { before } = memory;
  const round = (mib: number): string => `${Math.round(mib)} MiB`;
  say(
    `${Math.round(bytes / 1e6)} MB, ${lines} lines: ${round(before)} before, ${round(uploaded)} at most in the upload, ` +
      `${round(memory.peak())} at most in all`,
  );
  // A file that stood in memory would alone be 190 MiB.
  expect(uploaded - before).toBeLessThan(100);
  expect(memory.peak() - before).toBeLessThan(190);
});

test('100 requests a second for a minute are all accepted, and all answered', async () => {
  const { gateway, engine } = await stage(', collate: { window_ms: 5s }');
  const memory = watchMemory(gateway.pid);
  onTestFinished(() => memory.stop());
  const took: number[] = [];
  const batches = new Set<string>();
  const ask = async (n: number): Promise<void> => {
    const since = performance.now();
    const answer = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json', 'x-lanyard-mode': 'batch-async' },
      body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: `request ${n}` }] }),
    });
    expect(answer.status).toBe(202);
    batches.add(((await answer.json()) as { id: string }).id);
    took.push(performance.now() - since);
  };
  const under_way: Promise<void>[] = [];
  const begun = performance.now();
  for (let n = 0; n < 6_000; n += 1) {
    const left_ms = begun + n * 10 - performance.now();
    if (left_ms > 0) await pause(left_ms);
    under_way.push(ask(n));
  }
  await Promise.all(under_way);
  const spent_s = (performance.now() - begun) / 1000;
  const client = clientOf(gateway.url);
  let completed = 0;
  for (const id of batches) completed += (await ended(client, id, 60_000)).request_counts?.completed ?? 0;
  expect(completed).toBe(6_000);
  expect(engine.asked).toHaveLength(6_000);
  took.sort((a, b) => a - b);
  const at = (share: number): string => `${(took[Math.floor(took.length * share)] ?? 0).toFixed(1)} ms`;
  say(
    `6,000 requests in ${spent_s.toFixed(1)} s, ${batches.size} batches; accepted in ${at(0.5)}, p99 ${at(0.99)}, ` +
      `at most ${at(0.9999)}; memory ${Math.round(memory.before)} MiB before, ${Math.round(memory.peak())} MiB at most`,
  );
});
