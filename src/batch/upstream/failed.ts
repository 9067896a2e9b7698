// What follows from a step that failed: it is tried again, later and later; or the fault is for good, and each line is told so. A
// client that waits is told within seconds where its batch cannot be brought to run, whether it might be one day or not.
import type { Books } from '../books.ts';
import { refused } from '../result.ts';
import type { Sent } from '../records/sent.ts';
import type { Shard, ShardChange } from '../records/shards.ts';
import { ApiFault } from './http.ts';
import type { FaultKind, Patience, UpstreamMeans } from './means.ts';
import { endLines } from './settle.ts';
import type { Step } from './steps.ts';
import { GatewayError } from '../../wire/errors.ts';

/** A batch that is not there at so many looks in a row has been removed; it might not be there yet at the first. */
const MISSING_MAX = 5;
/** Files are a matter of tidiness. */
const CLEANS_MAX = 10;
/** What nobody wants is not asked for longer. */
const ABANDONED_MS = 3 * 86_400_000;

interface FailMeans {
  readonly books: Books;
  readonly means: UpstreamMeans;
  readonly sent: Sent;
  readonly patience: Patience;
}

/** What is so now; `begun`: when the step was. Of an error that is no ApiFault it is a bug, or the disk. */
export async function failed(
  shard: Shard,
  error: unknown,
  begun: number,
  { books, means, sent, patience }: FailMeans,
): Promise<ShardChange> {
  const fault = error instanceof ApiFault ? error : undefined;
  const told = fault?.told ?? new GatewayError('internal_error', 'The gateway failed at this batch.');
  const kind = fault?.kind;
  const step = shard.state as Step;
  const { id, backend } = shard;
  const now = Date.now();
  const fields = { shard: id, backend, step, kind, status: fault?.status };
  means.told({ type: 'failed', backend, step, kind: kind ?? 'invalid' });
  if (shard.failing_at === null) {
    if (kind === 'auth') means.log.error('a Batch API refuses the `key` that the configuration has for it', fields);
    else means.log.warn('a Batch API cannot be used now', fields);
  }
  const clean = { state: 'clean', tries: 0, pause_ms: 0, failing_at: null, due_at: now } as const;
  if (isFinal(shard, kind)) {
    await endLines(id, { books, sent }, (line) => refused(line, '', told));
    return clean;
  }
  if (step === 'clean') {
    if (shard.tries + 1 < CLEANS_MAX) return later(shard, fault, begun, patience, now);
    means.log.warn('files are left at a Batch API', { shard: id, backend });
    return { ...clean, state: 'done', layout: null };
  }
  const change =
    step === 'poll' ? pollLater(shard, fault, begun, books, now) : later(shard, fault, begun, patience, now);
  const since = shard.failing_at ?? begun;
  const brings = step === 'upload' || step === 'create';
  const hopeless = brings || kind === 'auth';
  if (shard.urgent === 1 && hopeless && Number(change.due_at) > since + patience.waited_ms) {
    await endLines(id, { books, sent }, (line) => refused(line, '', told), { waited: true });
    return { ...change, urgent: 0 };
  }
  if (now - shard.created_at > ABANDONED_MS && !(await sent.any(id))) return clean;
  return change;
}

/** Nothing will come of trying again. */
function isFinal({ state, tries }: Shard, kind: FaultKind | undefined): boolean {
  if (state === 'upload' || state === 'create') return kind === 'auth' || kind === 'refused';
  return state === 'poll' && kind === 'refused' && tries + 1 >= MISSING_MAX;
}

function later(
  shard: Shard,
  fault: ApiFault | undefined,
  begun: number,
  { retry_ms, retry_ms_max }: Patience,
  now: number,
): ShardChange {
  const pause_ms = Math.min(Math.max(shard.pause_ms * 2, retry_ms), retry_ms_max);
  const due_at = now + Math.max(pause_ms, fault?.retry_ms ?? 0);
  const failing_at = shard.failing_at ?? begun;
  // Upload and create have counted already.
  const counts = shard.state === 'clean' || (shard.state === 'fetch' && fault?.kind === 'refused');
  return { pause_ms, due_at, failing_at, ...(counts && { tries: shard.tries + 1 }) };
}

/** No verdict: it is looked at again, as if it had said that it runs. */
function pollLater(shard: Shard, fault: ApiFault | undefined, begun: number, books: Books, now: number): ShardChange {
  const { poll_min_ms, poll_max_ms } = books.config().upstream;
  const pause_ms = Math.min(Math.max(shard.pause_ms * 2, poll_min_ms), poll_max_ms);
  const due_at = now + Math.max(pause_ms, fault?.retry_ms ?? 0);
  const tries = fault?.kind === 'refused' ? shard.tries + 1 : 0;
  return { pause_ms, due_at, failing_at: shard.failing_at ?? begun, tries };
}
