// Who does answer? A slot on the best candidate or a bounded wait for one, then the request; and the try-next loop, which
// repeats only what cannot have run or was refused, within a budget, and never after a response timeout.
import { Answer } from '../fleet/answer.ts';
import type { Candidate } from '../fleet/backend.ts';
import type { Fleet, Slot } from '../fleet/fleet.ts';
import { HttpFault, Refused, type FaultKind } from '../fleet/fault.ts';
import { readAll, type HttpAnswer } from '../fleet/http.ts';
import { isCold } from '../fleet/load.ts';
import { speak } from '../fleet/speak.ts';
import { contextOf } from '../fleet/standing.ts';
import type { Metrics } from '../ops/metrics.ts';
import { GatewayError, type ErrorCode } from '../wire/errors.ts';
import { meaningOf, readRefusal } from '../wire/refusals.ts';
import type { Attempt, Call, Limits } from '../types.ts';

/** A refusal says little; a longer one is cut. */
const REFUSAL_BYTES_MAX = 64 * 1024;
/** A status says nearly all; its words are waited for this long. */
const REFUSAL_MS = 3_000;

interface Means {
  readonly fleet: Fleet;
  readonly metrics: Metrics;
  readonly config: { readonly limits: Limits };
}

/** The answer holds its slot until it is disposed of. @throws GatewayError, or the signal's reason */
export async function dispatch(
  call: Call,
  candidates: readonly Candidate[],
  means: Means,
  signal: AbortSignal,
  outcome: Attempt,
): Promise<Answer> {
  const { fleet, metrics } = means;
  let left = candidates;
  let refused = false;
  let again = 0;
  let attempts = 0;
  try {
    for (;;) {
      signal.throwIfAborted();
      const slot = fleet.hold(left, call.yields) ?? (await wait(call, left, means, signal, outcome));
      const { backend } = slot;
      outcome.model = slot.model;
      outcome.backend = backend.name;
      try {
        if (isCold(slot)) {
          // Others may have the slot meanwhile: what waits for a load is no work.
          slot.release();
          await loaded(call, slot, means, signal, outcome);
          continue;
        }
        // Counted once it is made: the wait for its slot may end in a refusal.
        if (attempts > 0) outcome.retries += 1;
        attempts += 1;
        const http = await attempt(call, slot, means, signal, outcome);
        fleet.tell(backend, 'answering');
        return new Answer(slot, http, fleet);
      } catch (error) {
        const failure = judged(error, slot, fleet, signal);
        if (failure.kind !== 'request') metrics.upstream_errors.inc({ backend: backend.name, kind: failure.kind });
        const elsewhere = failure.elsewhere && !(refused && failure.kind === 'status');
        // One that loads is waited for, where it has been seen to take no longer than anyone's patience.
        const comes = failure.error.code === 'model_loading' && backend.comesWithin(means.config.limits.queue_wait_ms);
        left = elsewhere ? left.filter((one) => (one.backend === backend ? comes : one.backend.available)) : [];
        if (failure.error.code === 'context_length_exceeded') left = left.filter((one) => isLarger(one, slot));
        if (left.length === 0) throw final(failure.error, outcome.retries > 0);
        if (!fleet.beginRetry()) throw final(failure.error, true);
        again += 1;
        refused ||= failure.kind === 'status';
      }
    }
  } finally {
    fleet.endRetries(again);
  }
}

async function wait(
  call: Call,
  candidates: readonly Candidate[],
  { fleet, config: { limits } }: Means,
  signal: AbortSignal,
  outcome: Attempt,
): Promise<Slot> {
  // Class `batch` never stands in the way of who waits: whoever runs it asks again when there is room.
  if (call.yields !== undefined) {
    throw new GatewayError('server_is_overloaded', 'Others use every backend of this model.', { cause: 'no room' });
  }
  const since = performance.now();
  const patience = { wait_ms: Math.max(limits.queue_wait_ms - outcome.queued_ms, 0), length_max: limits.queue_length };
  try {
    return await fleet.wait(call.model, candidates, patience, signal);
  } finally {
    outcome.queued_ms += performance.now() - since;
  }
}

async function loaded(
  call: Call,
  slot: Slot,
  { fleet, metrics, config: { limits } }: Means,
  signal: AbortSignal,
  outcome: Attempt,
): Promise<void> {
  const since = performance.now();
  try {
    await fleet.load(slot, call.endpoint, limits, signal);
  } finally {
    const waited_ms = performance.now() - since;
    outcome.load_ms += waited_ms;
    metrics.loaded(slot.backend.name, waited_ms);
  }
}

/** Whether a call that was too long for one may fit the other. */
function isLarger(one: Candidate, than: Candidate): boolean {
  return (contextOf(one) ?? Infinity) > (contextOf(than) ?? Infinity);
}

async function attempt(
  call: Call,
  slot: Slot,
  means: Means,
  signal: AbortSignal,
  outcome: Attempt,
): Promise<HttpAnswer> {
  let http: HttpAnswer;
  try {
    http = await speak(call, slot, means.config.limits, signal, outcome.id);
  } catch (fault) {
    http = await speakAfresh(fault, call, slot, means, signal, outcome);
  }
  if (http.status === 200) return http;
  throw await refusalOf(http, slot);
}

/** The slot is kept where a socket turns out to be stale: the fresh one is for the same attempt, and nobody comes between. */
async function speakAfresh(
  fault: unknown,
  call: Call,
  slot: Slot,
  { fleet, metrics, config }: Means,
  signal: AbortSignal,
  outcome: Attempt,
): Promise<HttpAnswer> {
  const stale = fault instanceof HttpFault && fault.kind === 'stale' && !signal.aborted;
  if (!stale || !fleet.beginRetry()) throw fault;
  metrics.upstream_errors.inc({ backend: slot.backend.name, kind: fault.kind });
  outcome.retries += 1;
  return await speak(call, slot, config.limits, signal, outcome.id, true).finally(() => fleet.endRetries(1));
}

async function refusalOf(http: HttpAnswer, slot: Slot): Promise<Refused> {
  const { backend, name } = slot;
  const answer = await readAll(http, REFUSAL_BYTES_MAX, REFUSAL_MS).catch(() => Buffer.alloc(0));
  const { status, headers } = http;
  const refusal = readRefusal(status, answer, headers.get('content-type'));
  const { secrets } = backend;
  const meaning = meaningOf(status, refusal, {
    secrets,
    retry_after: headers.get('retry-after'),
    context: contextOf(slot),
  });
  const now = performance.now();
  const left_ms = backend.loadingLeft(now) ?? backend.loads.leftMs(name, now);
  if (meaning.code !== 'model_loading' || left_ms === undefined) return new Refused(status, meaning);
  // How long it took before says more than any default.
  return new Refused(
    status,
    new GatewayError(meaning.code, meaning.message, { ...meaning.details, retry_ms: left_ms }),
  );
}

interface Failure {
  readonly error: GatewayError;
  /** `request`: the backend did its part, and the request is at fault. */
  readonly kind: FaultKind | 'status' | 'request';
  /** Whether another backend may be asked. */
  readonly elsewhere: boolean;
}

/** The slot goes back only once the fleet knows: it must not be handed to the next in line on a backend just found dead. */
function judged(error: unknown, slot: Slot, fleet: Fleet, signal: AbortSignal): Failure {
  try {
    signal.throwIfAborted();
    return judge(error, slot, fleet);
  } finally {
    slot.release();
  }
}

/** What an attempt's end means: for the caller, for the backend's health, and for a next attempt. */
function judge(error: unknown, { backend, name }: Slot, fleet: Fleet): Failure {
  if (error instanceof Refused) {
    const { status, meaning } = error;
    const broken = meaning.code === 'upstream_error' && status >= 500;
    // Of a server that loads what it is asked for, one model says nothing of the others.
    const starting = meaning.code === 'model_loading' && backend.info(name)?.resident === undefined;
    fleet.tell(backend, starting ? 'loading' : broken ? 'status' : 'succeeded');
    const kind = status === 429 || meaning.status >= 500 ? 'status' : 'request';
    const elsewhere = error.elsewhere || meaning.code === 'context_length_exceeded';
    return { error: meaning, kind, elsewhere };
  }
  if (!(error instanceof HttpFault)) throw error;
  const { kind } = error;
  if (kind !== 'stale' && !error.ours) fleet.tell(backend, error);
  const [code, message] = FAULTS[kind];
  return { error: new GatewayError(code, message, { cause: `${kind} ${error.code}` }), kind, elsewhere: error.refused };
}

const FAULTS = {
  connect: ['upstream_unreachable', 'The backend cannot be reached.'],
  dns: ['upstream_unreachable', "The backend's name cannot be resolved."],
  tls: ['upstream_unreachable', 'No trusted TLS connection to the backend can be made.'],
  reset: ['upstream_reset', 'The backend closed the connection without an answer.'],
  stale: ['upstream_reset', 'The backend closed the connection without an answer.'],
  garbage: ['upstream_invalid', 'The backend sent something that is not an HTTP answer.'],
  timeout: ['upstream_timeout', 'The backend did not answer in time (first_byte_ms).'],
  aborted: ['upstream_reset', 'The request to the backend was given up.'],
} as const satisfies Record<FaultKind, readonly [ErrorCode, string]>;

/** After our own retry, or with the budget for it spent, an SDK's would only multiply the load. */
function final(error: GatewayError, retried: boolean): GatewayError {
  if (!retried || error.status !== 502) return error;
  return new GatewayError(error.code, error.message, { ...error.details, no_retry: true });
}
