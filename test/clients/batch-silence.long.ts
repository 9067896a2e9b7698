// Batches that take longer than clients wait for a sign of life, through the batch service as it is shipped: Node's fetch gives up
// after 300 s without a head, the Python SDK after 600 s without a byte. Both by their default settings.
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';
import { expect, onTestFinished, test } from 'vitest';
import { startBatchApi, type BatchApi } from '../engines/batch-api.ts';
import { MISSING, startPython } from '../stage/python.ts';
import { DUMMY, openService, type Service } from '../stage/service.ts';

const NODE_MS = 310_000;
const PYTHON_MS = 620_000;
/** The window, and the longest pause between two looks there, on top of it. */
const MORE_MS = 60_000;

interface Scene {
  readonly api: BatchApi;
  readonly service: Service;
}

async function open(): Promise<Scene> {
  const api = await startBatchApi();
  const env = { COLLATE_BATCHES_FOR_DURATION_IN_MS: '5000', COLLECT_BATCH_STATS_POLLING_MAX_INTERVAL_SECONDS: '10' };
  return { api, service: await openService(api, { env, poll_min: 5000 }) };
}

/** The batch of the one who asks is held for so long from its beginning; what it said in the end, and when. */
async function held({ api }: Scene, ms: number, ask: () => Promise<string>): Promise<string> {
  api.hold();
  const since = performance.now();
  const answer = ask();
  await Promise.race([api.until(({ batches }) => batches.length === 1, MORE_MS), answer]);
  await Promise.race([pause(ms, undefined, { ref: false }), answer]);
  for (const { id } of api.batches) await api.finish(id);
  const said = await answer;
  console.log(`${said} after ${Math.round(performance.now() - since)} ms; asked ${api.uploads.length} time(s)`);
  expect(performance.now() - since).toBeGreaterThan(ms);
  return said;
}

test(
  `a batch of ${NODE_MS / 1000} s reaches the Node SDK, and one of ${PYTHON_MS / 1000} s the Python SDK${MISSING}`,
  async () => {
    const [node, python] = [await open(), await open()];
    const asking: Promise<string>[] = [];
    const client = new OpenAI({ apiKey: DUMMY, baseURL: `${node.service.url}/v1` });
    const messages = [{ role: 'user' as const, content: 'from Node' }];
    asking.push(
      held(node, NODE_MS, async () => {
        const answer = await client.chat.completions.create({ model: 'gpt-3.5-turbo', messages });
        return answer.choices[0]?.message.content ?? '';
      }),
    );
    if (MISSING === '') {
      const process = startPython(fileURLToPath(new URL('batches.py', import.meta.url)));
      onTestFinished(() => process.stop());
      const at = { base: `${python.service.url}/v1`, key: DUMMY, model: 'gpt-3.5-turbo', content: 'from Python' };
      asking.push(
        held(python, PYTHON_MS, async () => {
          const answer = (await process.step('chat', at)) as { readonly said?: string };
          return answer.said ?? JSON.stringify(answer);
        }),
      );
    }
    expect(await Promise.all(asking)).toEqual(['echo: from Node', 'echo: from Python'].slice(0, asking.length));
    // Nobody lost patience and asked again.
    for (const { service } of [node, python].slice(0, asking.length)) {
      await expect.poll(() => service.outcomes()).toMatchObject([{ end: 'complete', status: 200 }]);
    }
  },
  PYTHON_MS + 2 * MORE_MS,
);
