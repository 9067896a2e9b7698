// May they, now? Both rates and both kinds of place, of the address and of the key, in one decision. A refused request
// costs nothing; a place taken is given back when the verdict's scope closes.
import type { Metrics } from '../ops/metrics.ts';
import type { Limits as LimitStore, Verdict } from '../store/limits.ts';
import { GatewayError } from '../wire/errors.ts';
import type { Caller, Limit } from '../types.ts';

export interface Place extends Disposable {
  /** `x-ratelimit-*`, for the answer. */
  readonly headers: Readonly<Record<string, string>>;
}

/** @throws GatewayError `rate_limit_exceeded`, `parallel_limit_exceeded`, or `limits_unavailable` (`fail: closed`) */
export function admit(
  caller: Caller,
  ip: Limit | undefined,
  store: LimitStore,
  metrics: Metrics,
): Place | Promise<Place> {
  const demand = {
    ip: ip === undefined ? undefined : { bucket: caller.bucket, limit: ip },
    key: caller.limits === undefined ? undefined : { name: caller.key, limit: caller.limits },
  };
  const verdict = store.take(demand);
  if (!(verdict instanceof Promise)) return placeOf(verdict, metrics);
  return verdict.then(
    (told) => placeOf(told, metrics),
    (error: unknown) => {
      metrics.limiter.inc({ scope: 'all', decision: 'unavailable', source: store.state().source });
      throw error;
    },
  );
}

function placeOf(verdict: Verdict, metrics: Metrics): Place {
  const { refused_by: refused, source } = verdict;
  const headers = rateHeaders(verdict);
  if (refused === undefined) {
    metrics.admitted(source);
    return { headers, [Symbol.dispose]: () => verdict.release() };
  }
  metrics.limiter.inc({ scope: refused.scope, decision: refused.what, source });
  const whose = refused.scope === 'ip' ? 'this address' : 'this key';
  const { retry_ms } = refused;
  // Never "exceeds the limit of N": OpenCode takes that for a context overflow.
  throw refused.what === 'rate'
    ? new GatewayError('rate_limit_exceeded', `Rate limit reached for ${whose}. Try again shortly.`, {
        retry_ms,
        headers,
      })
    : new GatewayError('parallel_limit_exceeded', `Too many requests at once for ${whose}. Try again shortly.`, {
        retry_ms,
        headers,
      });
}

/** OpenAI's form: the reset is a duration, such as `1.5s`. */
function rateHeaders({ rate }: Verdict): Record<string, string> {
  if (rate === undefined) return {};
  return {
    'x-ratelimit-limit-requests': String(rate.limit),
    'x-ratelimit-remaining-requests': String(rate.remaining),
    'x-ratelimit-reset-requests': `${Math.ceil(rate.reset_ms) / 1000}s`,
  };
}
