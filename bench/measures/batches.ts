// A batch beside people's work: whether their streams feel it, and how long a request waits that is collected where the engine
// is idle. Lines run on an engine of their own and at a pace that an engine has, so that what shows is the gateway's share:
// its writing, its reading, and the lines themselves.
import { startEngine } from '../../test/engines/engine.ts';
import { ENGINE_MODEL, type Gateway, type Running } from '../gateways/gateway.ts';
import { NIGHT_MODEL, commit, lanyard } from '../gateways/lanyard.ts';
import type { Measure, Sample, Subject } from '../measure.ts';
import { quantile } from '../rounds.ts';
import { openStreams, type Crowd } from './crowd.ts';

const SLOTS = 16;
/** Tokens a second of that engine: its answers of a few words take about a tenth of a second. */
const PACE = 50;
/** More than run while the streams are looked at. */
const LINES = 20_000;
/** So many lines have run before anybody looks. */
const RUNNING = 50;
const ASKED = 40;

export const batches: Measure = {
  name: 'batches',
  title: 'Streams of 20 frames/s beside a running batch, and requests collected by an idle engine',
  base: 'alone',
  rounds_max: 3,
  figures: [
    { name: 'delay_p50', title: 'delay of a frame, p50', unit: 'ms', digits: 2 },
    { name: 'delay_p99', title: 'delay of a frame, p99', unit: 'ms', digits: 2 },
    { name: 'gap_p99', title: 'gap longer than sent, p99', unit: 'ms', digits: 2 },
    {
      name: 'lost',
      title: 'frames lost or changed',
      unit: 'count',
      digits: 0,
      target: { text: 'none', met: (own) => own === 0 },
      worst: 'high',
    },
    { name: 'lines', title: 'lines that ran beside them', unit: 'lines/s', digits: 0 },
    { name: 'direct', title: 'an answer of the batch’s own engine, asked directly, p50', unit: 'ms', digits: 2 },
    { name: 'collected', title: 'the same, collected (batch-sync), p50', unit: 'ms', digits: 2 },
  ],
  open: ({ quick, note }) => {
    const crowd: Crowd = {
      streams: quick ? 20 : 200,
      every_ms: 50,
      opened_per_second: 500,
      settle_seconds: quick ? 0.2 : 1,
      seconds: quick ? 1 : 5,
    };
    const subjects = [false, true].map((beside): Subject => {
      let ran = 0;
      let waits: Sample = {};
      const gateway: Gateway = {
        name: beside ? 'beside a batch' : 'alone',
        look: () => lanyard.look(),
        async start(engine) {
          const night = await startEngine({ kind: 'openai', models: [ENGINE_MODEL], tps: PACE });
          const running = await lanyard.start(engine, { night: { url: night.url, slots: SLOTS } });
          if (beside) {
            await submit(running);
            await night.until(({ asked }) => asked.length >= RUNNING, 60_000);
            waits = { direct: await waitOf(running, 'direct') };
          } else {
            waits = { direct: await waitOf(running, 'direct'), collected: await waitOf(running, 'batch-sync') };
          }
          const before = night.asked.length;
          const since = performance.now();
          return {
            ...running,
            async stop() {
              ran = ((night.asked.length - before) * 1000) / (performance.now() - since);
              await running.stop();
              await night.stop();
            },
          };
        },
      };
      const sampleOf: Parameters<typeof openStreams>[2] = (_crowd, seen) => ({
        delay_p50: seen.delay_p50,
        delay_p99: seen.delay_p99,
        gap_p99: seen.gap_p99,
        lost: seen.lost,
      });
      const subject = openStreams({ gateway, version: commit() }, [crowd], sampleOf, note);
      return {
        ...subject,
        round: async () => ({ ...(await subject.round()), ...waits, ...(beside && { lines: ran }) }),
      };
    });
    return Promise.resolve(subjects);
  },
};

async function submit({ base, headers }: Running): Promise<void> {
  const body = { model: NIGHT_MODEL, messages: [{ role: 'user', content: 'Say something short.' }] };
  const lines = Array.from({ length: LINES }, (_, n) =>
    JSON.stringify({ custom_id: `line-${n}`, method: 'POST', url: '/v1/chat/completions', body }),
  );
  const form = new FormData();
  form.set('purpose', 'batch');
  form.set('file', new Blob([lines.join('\n')]), 'lines.jsonl');
  const file = await idOf(await fetch(`${base}/files`, { method: 'POST', headers, body: form }));
  const asked = { input_file_id: file, endpoint: '/v1/chat/completions', completion_window: '24h' };
  await idOf(
    await fetch(`${base}/batches`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify(asked),
    }),
  );
}

async function idOf(answer: Response): Promise<string> {
  if (!answer.ok) throw new Error(`no batch: ${answer.status} ${await answer.text()}`);
  return ((await answer.json()) as { id: string }).id;
}

/** Milliseconds from request to answer, one after another. */
async function waitOf({ base, headers }: Running, mode: 'direct' | 'batch-sync'): Promise<number> {
  const took: number[] = [];
  for (let n = 0; n < ASKED; n += 1) {
    const since = performance.now();
    const answer = await fetch(`${base}/chat/completions`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json', 'x-lanyard-mode': mode },
      body: JSON.stringify({ model: NIGHT_MODEL, messages: [{ role: 'user', content: `${mode} ${n}` }] }),
    });
    await answer.text();
    if (answer.status !== 200) throw new Error(`no answer: ${answer.status}`);
    // The first ones compile the code.
    if (n >= ASKED / 4) took.push(performance.now() - since);
  }
  return quantile(took, 0.5);
}
