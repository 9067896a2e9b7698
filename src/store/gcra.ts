// nginx's `limit_req rate=R burst=B nodelay` as arithmetic, by the generic cell rate algorithm. A bucket is one number, the
// time it is paid up to (TAT, the theoretical arrival time): each request admitted moves it one step on, and one more is
// admitted while it is no further ahead of now than the slack. nginx keeps the same thing as `excess` and `last`
// (ngx_http_limit_req_lookup, 1.31.5). All is in whole microseconds below 2^53, so every sum is exact, here and in Lua.
import type { Rate } from '../types.ts';

/** A rate as the arithmetic needs it. Both in whole microseconds; `slack_us` is a multiple of `step_us`. */
export interface Pace {
  /** Between two requests at the full rate (T). */
  readonly step_us: number;
  /** How far ahead of its rate a bucket may run and still be admitted (tau = burst * T). */
  readonly slack_us: number;
}

/**
 * The pace of a rate with its burst. The step is rounded down to a microsecond, in the caller's favour: 7/s becomes
 * 142857 µs, which is 7.000007/s; 10/s is exact. (nginx rounds to milliseconds and thousandths of a request.)
 */
export function paceOf(rate: Rate, burst: number): Pace {
  const step_us = Math.max(1, Math.floor((rate.per_ms * 1000) / rate.count));
  return { step_us, slack_us: burst * step_us };
}

/**
 * How far ahead of its rate a bucket is now. Never more than this pace could have made it: after a reload to a faster rate,
 * or after a clock that stepped back, the wait is one step at most, not what an older rate or another clock had run up.
 */
export function debtAt(tat_us: number, now_us: number, pace: Pace): number {
  return Math.min(Math.max(tat_us - now_us, 0), pace.slack_us + pace.step_us);
}

/** Microseconds until one more request passes; 0: it passes now. Waiting exactly this long is enough for a caller alone. */
export function waitFor(debt_us: number, pace: Pace): number {
  return Math.max(0, debt_us - pace.slack_us);
}

/** Nobody is sent further back: a client that never waits would put off everybody who shares its limit. */
const TURN_US_MAX = 10_000_000;

/**
 * Microseconds, in whole milliseconds, until a refused request should come back. Each step lets one in, so those refused
 * together are told one step after another, or they would all come back for the same place. `promised_us`: how far off the
 * latest such time is, 0: none.
 */
export function turn(debt_us: number, promised_us: number, pace: Pace): number {
  const turn_us = promised_us === 0 ? 0 : Math.min(promised_us + pace.step_us, TURN_US_MAX);
  return Math.ceil(Math.max(waitFor(debt_us, pace), turn_us) / 1000) * 1000;
}

/** The state after one admitted request; a refused one leaves it as it is. */
export function paid(debt_us: number, now_us: number, pace: Pace): number {
  return now_us + debt_us + pace.step_us;
}

/** How many requests would pass at once. */
export function remaining(debt_us: number, pace: Pace): number {
  return debt_us > pace.slack_us ? 0 : Math.floor((pace.slack_us - debt_us) / pace.step_us) + 1;
}
