// Two gateways, each a process of its own, on one real PostgreSQL: they share a batch, and one of them is killed in the middle.
import { expect, onTestFinished } from 'vitest';
import { startEngine } from '../engines/engine.ts';
import { chatLine, clientOf, ended, fileLines, submit } from './batches.ts';
import { KEY } from './gateway.ts';
import { startLanyard } from './lanyard.ts';
import { startPostgres } from './postgres.ts';

const SLOTS = 8;

/** What each gateway ran, and how many lines ran again. `tps`: the engines' pace, so that a small batch lasts. */
export async function shareAndKill(
  lines: number,
  tps?: number,
): Promise<{ readonly ran: readonly number[]; readonly again: number }> {
  const postgres = await startPostgres();
  onTestFinished(() => postgres.stop());
  // One engine each, so that it shows who ran what.
  const options = { kind: 'vllm', models: ['x'], ...(tps === undefined ? {} : { tps }) } as const;
  const engines = [await startEngine(options), await startEngine(options)];
  onTestFinished(() => void Promise.all(engines.map((engine) => engine.stop())));
  const [one, two] = await Promise.all(
    engines.map(({ url }) =>
      startLanyard({
        yaml: `
listen: [{ port: 0 }]
limits: { ip: off }
database: "\${DATABASE_URL}"
batch: { data: data, parallel: ${SLOTS} }
backends: { rack: { engine: vllm, url: "${url}", slots: ${SLOTS} } }
models: { m: [rack/x] }
`,
        env: { LITELLM_MASTER_KEY: KEY, DATABASE_URL: postgres.url },
      }),
    ),
  );
  if (one === undefined || two === undefined) throw new Error('two gateways are needed');
  const ids = Array.from({ length: lines }, (_, n) => `line-${n}`);
  const client = clientOf(one.url);
  const batch = await submit(
    client,
    ids.map((id) => chatLine(id, 'm')),
  );
  // The other one knows of it, though it was uploaded here.
  expect((await clientOf(two.url).batches.retrieve(batch.id)).id).toBe(batch.id);
  await Promise.all(engines.map((engine) => engine.until(({ asked }) => asked.length >= lines / 6, 60_000)));
  two.signal('SIGKILL');
  await two.exit;
  const done = await ended(client, batch.id, 120_000);
  expect(done).toMatchObject({ status: 'completed', request_counts: { total: lines, completed: lines, failed: 0 } });
  expect((await fileLines(client, done.output_file_id)).map(({ custom_id }) => custom_id)).toEqual(ids);
  const ran = engines.map((engine) => engine.asked.length);
  return { ran, again: ran.reduce((sum, count) => sum + count, -lines) };
}

export const AGAIN_MAX = SLOTS;
