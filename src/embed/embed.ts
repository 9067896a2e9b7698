// Who does answer, for embeddings. One call may become several, where it has more inputs than a backend takes; several
// calls may become one, where a busy backend would do small ones one after another; and the same inputs asked by several
// at once are asked once. What comes back is each caller's own answer, or own error.
import { createHash, randomUUID } from 'node:crypto';
import { cut, join } from './answers.ts';
import { Flights } from './flights.ts';
import { inputsOf, partsOf, textsOf, withInputs, type Inputs } from './inputs.ts';
import { Answer } from '../fleet/answer.ts';
import type { Candidate } from '../fleet/backend.ts';
import { HttpFault, brokenAnswer } from '../fleet/fault.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { heldAnswer, readAll, type HttpAnswer } from '../fleet/http.ts';
import { waitFor } from '../fleet/patience.ts';
import type { Metrics } from '../ops/metrics.ts';
import { removeMember, splice } from '../wire/body.ts';
import { GatewayError } from '../wire/errors.ts';
import { senseOf } from '../wire/sense.ts';
import type { Attempt, Call, Limits, Outcome } from '../types.ts';

/** The step that sends one call. */
export type Dispatch<Means> = (
  call: Call,
  candidates: readonly Candidate[],
  means: Means,
  signal: AbortSignal,
  attempt: Attempt,
) => Promise<Answer>;

interface Needs {
  readonly fleet: Fleet;
  readonly metrics: Metrics;
  readonly config: { readonly limits: Limits };
}

/** Parts of one call that are sent side by side. */
const PARTS_AT_ONCE = 8;
/** Up to here a call is small: worth waiting a moment to send it with others. */
const SMALL_INPUTS = 8;
const SMALL_BYTES = 8 * 1024;
/** How long the first of them waits for others, while its backend is busy. */
export const WINDOW_MS = 5;
/** Sent together at most. */
const TOGETHER_INPUTS = 64;
/** A larger body is not compared with others. */
const SAME_BYTES_MAX = 1 << 20;

/** An answer in hand, and where it came from. */
interface Got {
  readonly http: HttpAnswer;
  readonly body: Buffer;
  readonly from: Candidate;
  readonly told: Told;
}

/** What the outcome of each who waited has of the one attempt. */
type Told = Omit<Attempt, 'id'> & { readonly shared?: boolean };

/** It was asked for by another: its retries are that one's. */
const SHARED = { shared: true, retries: 0 } as const;

/** Calls that are about to be sent together. */
interface Window {
  readonly calls: { readonly call: Call; readonly inputs: readonly Buffer[] }[];
  readonly sent: Promise<readonly Got[]>;
  readonly full: () => void;
  readonly abort: AbortController;
  count: number;
  waiting: number;
}

export class Embeddings {
  readonly #same = new Flights<Got>();
  readonly #windows = new Map<string, Window>();
  readonly #window_ms: number;

  constructor(window_ms: number) {
    this.#window_ms = window_ms;
  }

  /** An answer that has been read. @throws GatewayError, or the signal's reason */
  async embed<Means extends Needs>(
    dispatch: Dispatch<Means>,
    call: Call,
    candidates: readonly Candidate[],
    means: Means,
    signal: AbortSignal,
    outcome: Outcome,
  ): Promise<Answer> {
    const inputs = inputsOf(call);
    const able = inputs?.kind === 'tokens' ? takingTokens(candidates) : candidates;
    const key = keyOf(call, able);
    // How far the attempt has come, for the outcome of who leaves it.
    const attempt: Attempt = { id: outcome.id, model: '', backend: '', retries: 0, queued_ms: 0, load_ms: 0 };
    const send: SendTo = (one, its_signal, to) => sendOne(dispatch, one, to, means, its_signal, attempt);
    try {
      let began = false;
      const begin = (flight: AbortSignal): Promise<Got> => {
        began = true;
        return this.#get(call, inputs, able, means, send, flight);
      };
      // What class `batch` holds may be taken back, and nobody else's answer must hang on it.
      const got = call.yields === undefined ? await this.#same.join(key, begin, signal) : await begin(signal);
      Object.assign(outcome, got.told);
      if (!began) Object.assign(outcome, SHARED);
      return new Answer({ ...got.from, release: () => undefined }, heldAnswer(got.http, got.body), means.fleet);
    } catch (error) {
      if (!this.#same.has(key)) Object.assign(outcome, attempt);
      // Given up because the last who waited had left: each of them knows by its own signal.
      signal.throwIfAborted();
      throw error;
    }
  }

  async #get(
    call: Call,
    inputs: Inputs | undefined,
    candidates: readonly Candidate[],
    { config }: Needs,
    send: SendTo,
    signal: AbortSignal,
  ): Promise<Got> {
    if (inputs === undefined) return await send(call, signal, candidates);
    const most = Math.min(...candidates.map(({ backend }) => backend.inputs_max));
    if (inputs.spans.length > most) {
      // Vectors of two models in one answer would be of no use.
      const same = candidates.filter(({ model }) => model === candidates[0]?.model);
      const sendSame: Send = (one, its_signal) => send(one, its_signal, same);
      return await sendParts(call, inputs, most, config.limits, sendSame, signal);
    }
    const small = inputs.kind === 'texts' && inputs.spans.length <= SMALL_INPUTS && call.body.length <= SMALL_BYTES;
    const busy = (candidates[0]?.backend.in_flight ?? 0) > 0;
    if (!small || !busy || most === 1 || call.yields !== undefined) return await send(call, signal, candidates);
    const sendThere: Send = (one, its_signal) => send(one, its_signal, candidates);
    const most_together = Math.min(most, TOGETHER_INPUTS);
    return await this.#together(call, textsOf(call, inputs), candidates, most_together, sendThere, signal);
  }

  async #together(
    call: Call,
    inputs: readonly Buffer[],
    candidates: readonly Candidate[],
    most: number,
    send: Send,
    signal: AbortSignal,
  ): Promise<Got> {
    const key = groupOf(call, candidates);
    let window = this.#windows.get(key);
    if (window !== undefined && window.count + inputs.length > most) {
      window.full();
      window = undefined;
    }
    window ??= this.#open(key, call, send);
    const place = window.calls.push({ call, inputs }) - 1;
    window.count += inputs.length;
    window.waiting += 1;
    if (window.count >= most) window.full();
    try {
      const got = (await waitFor(window.sent, signal))[place];
      if (got === undefined) throw new Error('an answer without its place');
      return place === 0 ? got : { ...got, told: { ...got.told, ...SHARED } };
    } catch (error) {
      // One input that is at fault must not harm the others: each then hears of its own.
      if (signal.aborted || !isRequestFault(error) || window.calls.length === 1) throw error;
      return await send(call, signal);
    } finally {
      window.waiting -= 1;
      if (window.waiting === 0) window.abort.abort(signal.reason);
    }
  }

  #open(key: string, template: Call, send: Send): Window {
    const abort = new AbortController();
    const closed = Promise.withResolvers<void>();
    const timer = setTimeout(closed.resolve, this.#window_ms);
    const calls: Window['calls'] = [];
    const sent = closed.promise.then(async () => {
      clearTimeout(timer);
      if (this.#windows.get(key) === window) this.#windows.delete(key);
      return await sendTogether(template, calls, send, abort.signal);
    });
    sent.catch(() => undefined);
    const window: Window = { calls, sent, full: closed.resolve, abort, count: 0, waiting: 0 };
    this.#windows.set(key, window);
    return window;
  }
}

type Send = (call: Call, signal: AbortSignal) => Promise<Got>;
type SendTo = (call: Call, signal: AbortSignal, candidates: readonly Candidate[]) => Promise<Got>;

/** One call to one backend, its answer read whole. */
async function sendOne<Means extends Needs>(
  dispatch: Dispatch<Means>,
  call: Call,
  candidates: readonly Candidate[],
  means: Means,
  signal: AbortSignal,
  attempt: Attempt,
): Promise<Got> {
  using answer = await dispatch(call, candidates, means, signal, attempt);
  try {
    const { backend, name, http } = answer;
    const body = await readAll(http, means.config.limits.answer_bytes_max);
    const { id: _whose, ...told } = attempt;
    return { http, body, from: { backend, name, model: told.model }, told };
  } catch (fault) {
    signal.throwIfAborted();
    if (!(fault instanceof HttpFault)) throw fault;
    answer.broke();
    means.metrics.upstream_errors.inc({ backend: answer.backend.name, kind: 'answer' });
    throw brokenAnswer(fault);
  }
}

/** More inputs than a backend takes: in parts, side by side, and the answers in order. One that fails ends the others. */
async function sendParts(
  call: Call,
  inputs: Inputs,
  most: number,
  { answer_bytes_max }: Limits,
  send: Send,
  signal: AbortSignal,
): Promise<Got> {
  const parts = partsOf(textsOf(call, inputs), most);
  const failed = new AbortController();
  const all = AbortSignal.any([signal, failed.signal]);
  const got: Got[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let at = next++; at < parts.length; at = next++) {
      const one = await send(withInputs(call, parts[at] ?? []), all);
      senseOf(one.body, one.from.backend.secrets, false);
      got[at] = one;
    }
  };
  // A part of class `batch` that finds no slot fails them all, and its own others would take it: one after another.
  const at_once = call.yields === undefined ? PARTS_AT_ONCE : 1;
  try {
    await Promise.all(Array.from({ length: Math.min(at_once, parts.length) }, work));
  } catch (error) {
    failed.abort(error);
    throw error;
  }
  const [first] = got;
  if (first === undefined) throw new Error('a call without parts');
  const body = join(got.map((one) => one.body));
  if (body.length > answer_bytes_max) throw brokenAnswer(new HttpFault('garbage', 'answer_bytes_max'));
  return { ...first, body };
}

async function sendTogether(
  template: Call,
  calls: readonly { readonly call: Call; readonly inputs: readonly Buffer[] }[],
  send: Send,
  signal: AbortSignal,
): Promise<readonly Got[]> {
  const [only] = calls;
  if (only !== undefined && calls.length === 1) return [await send(only.call, signal)];
  const got = await send(
    withInputs(
      template,
      calls.flatMap(({ inputs }) => inputs),
    ),
    signal,
  );
  senseOf(got.body, got.from.backend.secrets, false);
  const counts = calls.map(({ inputs }) => inputs.length);
  const shares = calls.map(({ inputs }) => inputs.reduce((sum, one) => sum + one.length, 0));
  return cut(got.body, counts, shares).map((body) => ({ ...got, body }));
}

/** Whether the request is at fault, and not the backend. */
function isRequestFault(error: unknown): boolean {
  return error instanceof GatewayError && error.status >= 400 && error.status < 500;
}

function takingTokens(candidates: readonly Candidate[]): readonly Candidate[] {
  const able = candidates.filter(({ backend }) => backend.takes_tokens);
  if (able.length > 0) return able;
  const message =
    'The backend of this model takes texts, not token ids: send strings (LangChain: check_embedding_ctx_length=False).';
  throw new GatewayError('invalid_value', message, { param: 'input' });
}

/** The same bytes asked of the same candidates; large ones are never the same. */
function keyOf({ body }: Call, candidates: readonly Candidate[]): string {
  if (body.length > SAME_BYTES_MAX) return randomUUID();
  return `${placesOf(candidates)} ${createHash('sha256').update(body).digest('base64')}`;
}

/** Calls that differ in nothing but their inputs. */
function groupOf({ body, fields }: Call, candidates: readonly Candidate[]): string {
  const rest = splice(body, [removeMember(body, fields, 'input')]);
  return `${placesOf(candidates)} ${rest.toString('latin1')}`;
}

function placesOf(candidates: readonly Candidate[]): string {
  return candidates
    .map(({ backend, name }) => `${backend.name}/${name}`)
    .toSorted()
    .join(' ');
}
