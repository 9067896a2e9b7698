// Whether an engine stops when its caller leaves: a long answer is begun and dropped after its first words, and the engine's own
// figures are watched. Costs one short generation a backend; only with --deep, and only of a model that is loaded already.
import { setTimeout as pause } from 'node:timers/promises';
import { inquire, runningOn } from './engines.ts';
import { about, type Finding } from './finding.ts';
import type { Patient, Ready } from './backends.ts';
import type { Backend } from '../fleet/backend.ts';
import { HttpFault } from '../fleet/fault.ts';
import type { Json } from '../wire/record.ts';

export interface Pace {
  /** Longest wait for an answer's first words. */
  readonly first_ms: number;
  /** A dropped answer that still runs after this is not going to stop. */
  readonly stop_ms: number;
}

export const PACE: Pace = { first_ms: 20_000, stop_ms: 5_000 };

const POLL_MS = 50;
const FIGURE_MS = 1_000;
/** Longer than anyone waits here, so that it is certainly under way when it is dropped. */
const TOKENS = 4_096;

export async function cancellation({ backend, ready }: Patient, pace = PACE): Promise<Finding> {
  const said = about('backend.cancellation', backend.name);
  const model = ready.find(({ embeds }) => !embeds);
  if (model === undefined)
    return said.skipped('no model is loaded there, and none is loaded for a test', 'Ask it something, then again.');
  try {
    return (await runningOn(backend, FIGURE_MS)) === undefined
      ? await byTime(backend, model, pace)
      : await byFigure(backend, model, pace);
  } catch (error) {
    if (!(error instanceof HttpFault || error instanceof Refused)) throw error;
    return said.fail(
      `${model.name} did not answer a small question (${error.message})`,
      'Ask the engine itself with curl; its log says more.',
    );
  }
}

/** By what the engine says it is working on: must rise with our answer, and fall again when we have gone. */
async function byFigure(backend: Backend, model: Ready, { first_ms, stop_ms }: Pace): Promise<Finding> {
  const said = about('backend.cancellation', backend.name);
  const before = (await runningOn(backend, FIGURE_MS)) ?? 0;
  const leave = await begin(backend, model, first_ms);
  const during = (await runningOn(backend, FIGURE_MS)) ?? 0;
  leave();
  if (during <= before)
    return said.skipped('the answer was over too soon, or others came and went: no verdict', 'Ask again.');
  const left_at = performance.now();
  let now = during;
  while (performance.now() - left_at < stop_ms) {
    now = (await runningOn(backend, FIGURE_MS)) ?? now;
    if (now < during)
      return said.ok(`stops within ${Math.round(performance.now() - left_at)} ms when the caller leaves`);
    await pause(POLL_MS);
  }
  return said.fail(
    `goes on working for a caller who has left: ${now} running after ${stop_ms / 1000} s, ${before} before`,
    'If others use it now, ask again when it is quiet. Else a proxy between us keeps the connection, or the engine is too old.',
  );
}

/** Ollama has no such figure. Where it works on one answer at a time, the next one tells whether the last has stopped. */
async function byTime(backend: Backend, model: Ready, { first_ms, stop_ms }: Pace): Promise<Finding> {
  const said = about('backend.cancellation', backend.name);
  const alone_ms = await short(backend, model, first_ms);
  const leave = await begin(backend, model, first_ms);
  leave();
  const after_ms = await short(backend, model, alone_ms + stop_ms).catch((error: unknown) => {
    if (error instanceof HttpFault && (error.kind === 'aborted' || error.kind === 'timeout')) return Infinity;
    throw error;
  });
  if (after_ms < alone_ms + stop_ms) {
    return said.ok(
      `nothing stands in the way after a caller has left (${Math.round(after_ms)} ms, ${Math.round(alone_ms)} ms before); it tells no figure that would show more`,
    );
  }
  return said.fail(
    `a short question after a caller has left waits longer than ${Math.round((alone_ms + stop_ms) / 1000)} s, ${Math.round(alone_ms)} ms before`,
    'If others use it now, ask again when it is quiet. Else it goes on working for callers who have left: update it.',
  );
}

/** Starts a long answer and resolves with the way to leave it, once its first bytes are there. */
async function begin(backend: Backend, model: Ready, first_ms: number): Promise<() => void> {
  const body = { ...question(model, TOKENS), stream: true };
  const answer = await backend.send(
    {
      method: 'POST',
      path: backend.route('chat/completions'),
      headers: { 'content-type': 'application/json', accept: 'text/event-stream', 'user-agent': 'lanyard-doctor' },
      body: [Buffer.from(JSON.stringify(body))],
    },
    { connect_ms: first_ms, first_byte_ms: first_ms, idle_ms: first_ms },
    AbortSignal.timeout(first_ms * 2),
    // A connection of its own: it is to be cut.
    true,
  );
  if (answer.status !== 200) {
    answer.body.destroy();
    throw new Refused(`status ${answer.status}`);
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  answer.body.attach({
    data: () => {
      resolve();
      return true;
    },
    end: resolve,
    fail: reject,
  });
  await promise;
  return () => answer.body.destroy();
}

/** One token, in milliseconds. */
async function short(backend: Backend, model: Ready, wait_ms: number): Promise<number> {
  const began = performance.now();
  const { status } = await inquire(backend, backend.route('chat/completions'), wait_ms, question(model, 1));
  if (status !== 200) throw new Refused(`status ${status}`);
  return performance.now() - began;
}

export function question(model: { readonly name: string }, max_tokens: number): Json {
  const messages = [{ role: 'user', content: 'Count from 1 to 2000, one number a line.' }];
  return { model: model.name, messages, max_tokens, temperature: 0 };
}

class Refused extends Error {}
