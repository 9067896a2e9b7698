// A gateway that is killed again and again while it runs a batch: what must be left is every line, once.
import { expect, onTestFinished } from 'vitest';
import { startEngine } from '../engines/engine.ts';
import { chatLine, clientOf, ended, fileLines, submit } from './batches.ts';
import { KEY } from './gateway.ts';
import { newDir, startLanyard, type Lanyard } from './lanyard.ts';
import { seeded } from './random.ts';

export interface Kills {
  readonly lines: number;
  readonly kills: number;
  readonly seed: number;
  readonly slots?: number;
}

export interface Left {
  /** Lines that ran more than once. */
  readonly again: number;
  readonly kills: number;
}

/** Kills it that many times, each after a number of answers that the seed decides. */
export async function killWhileRunning({ lines, kills, seed, slots = 8 }: Kills): Promise<Left> {
  const random = seeded(seed);
  const engine = await startEngine({ kind: 'vllm', models: ['x'] });
  onTestFinished(() => engine.stop());
  const dir = newDir();
  const yaml = `
listen: [{ port: 0 }]
limits: { ip: off }
batch: { data: data, disk_free_bytes_min: 1, parallel: ${slots} }
backends: { rack: { engine: vllm, url: "${engine.url}", slots: ${slots} } }
models: { m: [rack/x] }
`;
  const start = (): Promise<Lanyard> => startLanyard({ yaml, dir, env: { LITELLM_MASTER_KEY: KEY } });
  let gateway = await start();
  const ids = Array.from({ length: lines }, (_, n) => `line-${n}`);
  const batch = await submit(
    clientOf(gateway.url),
    ids.map((id) => chatLine(id, 'm')),
  );
  for (let n = 0; n < kills; n += 1) {
    const step = Math.floor(random() * ((2 * lines) / (kills + 1)));
    const until = engine.asked.length + step;
    const { status } = await clientOf(gateway.url).batches.retrieve(batch.id);
    if (status !== 'validating' && status !== 'in_progress') break;
    await Promise.race([
      engine.until(({ asked }) => asked.length >= until, 60_000),
      ended(clientOf(gateway.url), batch.id, 60_000).catch(() => undefined),
    ]);
    gateway.signal('SIGKILL');
    await gateway.exit;
    gateway = await start();
  }
  const client = clientOf(gateway.url);
  const done = await ended(client, batch.id, 60_000);
  expect(done).toMatchObject({ status: 'completed', request_counts: { total: lines, completed: lines, failed: 0 } });
  const told = (await fileLines(client, done.output_file_id)).map(({ custom_id }) => custom_id);
  expect(told).toEqual(ids);
  expect(done.error_file_id).toBeNull();
  return { again: engine.asked.length - lines, kills };
}
