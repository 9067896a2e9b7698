// Whether decisions of a limiter were exact, seen from outside. When it decided is known only to lie between the moment a
// request was sent and the moment its answer was here; so a decision is counted as wrong only when, wherever within those
// bounds every decision was made, the arithmetic of the limit would have forbidden it. All in microseconds of one clock.
import { debtAt, paid, waitFor, type Pace } from '../src/store/gcra.ts';

export interface Decision {
  readonly sent_us: number;
  readonly told_us: number;
  readonly admitted: boolean;
}

/**
 * By how many the fullest interval exceeds what any may hold: rate × length + burst + 1. 0 for an exact limiter.
 * An interval holds for certain what was sent after it began and told before it ended.
 */
export function tooMany(pace: Pace, decisions: readonly Decision[]): number {
  const admitted = decisions.filter((one) => one.admitted).toSorted((a, b) => a.told_us - b.told_us);
  let most = 0;
  for (const { sent_us: from } of admitted) {
    let held = 0;
    for (const { sent_us, told_us: to } of admitted) {
      if (sent_us < from) continue;
      held += 1;
      most = Math.max(most, held - Math.floor((to - from + pace.slack_us) / pace.step_us) - 1);
    }
  }
  return most;
}

/**
 * How many were refused although one more would have been within the limit. A refusal is right when some interval that ends
 * with it may be full: it may hold whatever was told after it began and sent before it ended.
 */
export function tooFew(pace: Pace, decisions: readonly Decision[]): number {
  const admitted = decisions.filter((one) => one.admitted);
  const mayBeFull = (to: number): boolean => {
    const before = admitted.filter(({ sent_us }) => sent_us <= to).map(({ told_us }) => Math.min(told_us, to));
    return before.toSorted((a, b) => b - a).some((from, at) => (at + 1) * pace.step_us > to - from + pace.slack_us);
  };
  const unjust = decisions.filter(({ admitted: let_in, sent_us, told_us }) => {
    if (let_in) return false;
    const moments = admitted.map((one) => one.sent_us).filter((at) => at > sent_us && at <= told_us);
    return ![sent_us, ...moments].some(mayBeFull);
  });
  return unjust.length;
}

/** How many pass when each is decided at its time; ascending. */
export function exactly(pace: Pace, times_us: readonly number[]): number {
  let tat_us = 0;
  let passed = 0;
  for (const now_us of times_us) {
    const debt_us = debtAt(tat_us, now_us, pace);
    if (waitFor(debt_us, pace) > 0) continue;
    tat_us = paid(debt_us, now_us, pace);
    passed += 1;
  }
  return passed;
}
