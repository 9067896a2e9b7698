// One line, run by the gateway's own line, and what is to become of it: it ends, or it waits. What an engine says decides: refused
// is for good, busy or away is waited out, and what may be the line's own fault is tried so often and no more.
import { passes } from './fault.ts';
import type { Running } from './records/batches.ts';
import type { Claimed, Result } from './records/lines.ts';
import { answered, refused } from './result.ts';
import { GatewayError } from '../wire/errors.ts';
import type { Caller, Endpoint } from '../types.ts';

/** What a line is run with, given by the gateway. */
export interface LineMeans {
  /** Of a key's name; `undefined`: it is no longer configured. */
  callerOf(owner: string): Caller | undefined;
  /** How many more lines of this model may begin on our own engines; 0 for a model that is not known now. */
  spare(model: string): number;
  serve(line: {
    readonly caller: Caller;
    readonly endpoint: Endpoint;
    readonly body: Buffer;
    readonly signal: AbortSignal;
    readonly yields: () => void;
  }): Promise<{ readonly id: string; readonly body: Buffer }>;
}

/** Why a line is stopped: others want its slot, its batch has ended, or the gateway goes. */
export type Stop = 'yield' | 'ended' | 'stop';

/** For the metrics, where it is worth counting. */
export type How = 'yielded' | 'waited' | 'retried';

export type Next =
  | { readonly to: 'end'; readonly result: Result }
  /** It stays claimed, and is the next to begin. */
  | { readonly to: 'queue'; readonly how?: How }
  /** It is nobody's, and not to be tried before so long; `tried`: that was a try. */
  | { readonly to: 'wait'; readonly wait_ms: number; readonly tried: boolean; readonly how?: How };

/** How long a line waits that found its engine away or overloaded and was not told. */
export const WAIT_MS = 2_000;
const WAIT_MS_MAX = 60_000;
const RETRY_MS = 1_000;

/** Never rejects: what goes wrong is what becomes of the line. */
export async function runLine(
  line: Claimed,
  { owner, endpoint }: Pick<Running, 'owner' | 'endpoint'>,
  body: () => Promise<Buffer>,
  stop: AbortController,
  means: LineMeans,
  tries_max: number,
): Promise<Next> {
  const { signal } = stop;
  const caller = means.callerOf(owner);
  if (caller === undefined) {
    const gone = new GatewayError('invalid_api_key', 'The key that submitted this batch is no longer configured.');
    return { to: 'end', result: refused(line, '', gone) };
  }
  const yields = (): void => stop.abort('yield' satisfies Stop);
  try {
    const bytes = await body();
    signal.throwIfAborted();
    const answer = await means.serve({ caller, endpoint, body: bytes, signal, yields });
    return { to: 'end', result: answered(line, 200, answer.id, answer.body) };
  } catch (error) {
    if (signal.aborted) return stopped(signal.reason as Stop);
    return failed(line, error, means, tries_max);
  }
}

function stopped(why: Stop): Next {
  return why === 'yield' ? { to: 'queue', how: 'yielded' } : { to: 'wait', wait_ms: 0, tried: false };
}

function failed(line: Claimed, error: unknown, means: LineMeans, tries_max: number): Next {
  const failure = error instanceof GatewayError ? error : new GatewayError('internal_error', 'The gateway failed.');
  // The database or the disk, where its body is.
  if (failure !== error && passes(error)) return { to: 'queue' };
  if (failure.details.cause === 'no room') {
    // Where there is room for others of its model, it is not for this line: at once again it would find as much.
    return means.spare(line.model) > 0 ? { to: 'wait', wait_ms: WAIT_MS, tried: false } : { to: 'queue' };
  }
  if (failure.status === 429 || failure.status === 503 || failure.code === 'upstream_unreachable') {
    const wait_ms = Math.min(failure.details.retry_ms ?? WAIT_MS, WAIT_MS_MAX);
    return { to: 'wait', wait_ms, tried: false, how: 'waited' };
  }
  // It may be the line's fault, if it is the one that kills the engine: not for ever.
  if (failure.status >= 500 && line.tries + 1 < tries_max) {
    return { to: 'wait', wait_ms: RETRY_MS * 2 ** line.tries, tried: true, how: 'retried' };
  }
  return { to: 'end', result: refused(line, '', failure) };
}
