// What is not configured is not there: no route, no folder, and none of what it takes is even loaded.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { KEY } from '../stage/gateway.ts';
import { startLanyard, type Lanyard } from '../stage/lanyard.ts';

const WATCH = fileURLToPath(new URL('../stage/watch-loads.ts', import.meta.url));
const BATCHES = ['kysely', 'pg', '@fastify/busboy', 'ink', 'react'];

async function start(more: string): Promise<Lanyard> {
  return await startLanyard({
    yaml: `listen: [{ port: 0 }]\nlimits: { ip: off }\nbackends: { rack: { url: "http://127.0.0.1:9" } }\n${more}`,
    env: { LITELLM_MASTER_KEY: KEY, NODE_OPTIONS: `--import=${WATCH}` },
  });
}

const loaded = (lanyard: Lanyard): string[] => BATCHES.filter((name) => lanyard.stderr().includes(`loaded ${name}\n`));

test('without batches their routes are not served', async () => {
  const { url } = await start('');
  const asked = ['GET /v1/files', 'POST /v1/files', 'GET /v1/batches', 'GET /get-batch-status?batch_id=batch_1'];
  for (const [method = '', path = ''] of asked.map((one) => one.split(' '))) {
    const answer = await fetch(`${url}${path}`, { method, headers: { authorization: `Bearer ${KEY}` } });
    expect([answer.status, await answer.json()]).toEqual([
      404,
      { error: expect.objectContaining({ code: 'unknown_url' }) },
    ]);
  }
});

test('without batches nothing of them is loaded or made; with them no more than they need', async () => {
  const without = await start('');
  expect(without.stderr()).toContain('loaded koa\n');
  expect(loaded(without)).toEqual([]);
  expect(existsSync(join(without.dir, 'data'))).toBe(false);
  const having = await start('batch: {}\n');
  expect(loaded(having)).toEqual(['kysely', '@fastify/busboy']);
  expect(existsSync(join(having.dir, 'data', 'lanyard.db'))).toBe(true);
});
