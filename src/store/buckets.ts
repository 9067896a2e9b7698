// What this process itself remembers of rates and places: the whole truth without Redis, and this process' share while
// Redis is away. A bucket that is paid up and holds no place says nothing, so it is forgotten: every take looks at a few
// buckets in passing, which needs no timer and keeps memory at what is in use.
import { debtAt, paid, turn, waitFor } from './gcra.ts';
import { rule, type Need, type Ruling, type State } from './rule.ts';

interface Bucket {
  tat_us: number;
  /** The latest time a refused request was told to come back. It outlives no debt: nobody is kept waiting by a flood that is over. */
  promised_us: number;
  held: number;
}

export interface Buckets {
  /** Decides; when admitted, consumes the rates and holds the places. A refusal only moves what the next one is told, and voids what another rate had run up. */
  take(needs: readonly Need[], now_us: number): Ruling;
  /** Counts places that were granted elsewhere. */
  hold(needs: readonly Need[]): void;
  /** Gives places back. */
  drop(needs: readonly Need[]): void;
  readonly size: number;
}

/** Each take may add two buckets and looks at four, so that the sweep outruns any flood of new addresses. */
const SWEPT_PER_TAKE = 4;

const FRESH: State = { debt_us: 0, promised_us: 0, held: 0 };

/**
 * @param buckets_max beyond it, buckets that hold no place are forgotten early. It takes that many addresses within one
 * bucket's time to get there (2.1 s at 10/s, burst 20): a flood this table is not the defence against.
 */
export function makeBuckets(buckets_max = 1_000_000): Buckets {
  const buckets = new Map<string, Bucket>();
  let hand = buckets.entries();

  function sweep(now_us: number): void {
    for (let n = 0; n < SWEPT_PER_TAKE; n += 1) {
      const next = hand.next();
      if (next.done === true) {
        hand = buckets.entries();
        return;
      }
      const [id, bucket] = next.value;
      if (bucket.held === 0 && (bucket.tat_us <= now_us || buckets.size > buckets_max)) buckets.delete(id);
    }
  }

  function stateOf({ id, pace }: Need, now_us: number): State {
    const bucket = buckets.get(id);
    if (bucket === undefined) return FRESH;
    if (pace === undefined) return { ...FRESH, held: bucket.held };
    const debt_us = debtAt(bucket.tat_us, now_us, pace);
    // What was promised at another rate is void.
    const promised_us = now_us + debt_us < bucket.tat_us ? 0 : Math.max(0, bucket.promised_us - now_us);
    return { debt_us, promised_us, held: bucket.held };
  }

  function open(id: string): Bucket {
    let bucket = buckets.get(id);
    if (bucket === undefined) {
      bucket = { tat_us: 0, promised_us: 0, held: 0 };
      buckets.set(id, bucket);
    }
    return bucket;
  }

  function hold(needs: readonly Need[]): void {
    for (const { id, parallel } of needs) {
      if (parallel !== undefined) open(id).held += 1;
    }
  }

  return {
    take(needs, now_us) {
      sweep(now_us);
      const states = needs.map((need) => stateOf(need, now_us));
      const ruling = rule(needs, states);
      const refused = ruling.refused_by !== undefined;
      for (let i = 0; i < needs.length; i += 1) {
        const { id, pace } = needs[i]!;
        if (pace === undefined) continue;
        const { debt_us, promised_us } = states[i]!;
        if (!refused) {
          const bucket = open(id);
          bucket.tat_us = paid(debt_us, now_us, pace);
          if (debt_us === 0) bucket.promised_us = 0;
        } else if (waitFor(debt_us, pace) > 0) {
          const bucket = open(id);
          // What an older rate had run up is gone for good, or it would refuse until that rate's own time.
          bucket.tat_us = now_us + debt_us;
          bucket.promised_us = now_us + turn(debt_us, promised_us, pace);
        }
      }
      if (!refused) hold(needs);
      return ruling;
    },
    hold,
    drop(needs) {
      for (const { id, parallel } of needs) {
        const bucket = parallel === undefined ? undefined : buckets.get(id);
        if (bucket === undefined) continue;
        bucket.held -= 1;
        // Where Redis keeps the rates, nothing else would come by to forget it.
        if (bucket.held === 0 && bucket.tat_us === 0) buckets.delete(id);
      }
    },
    get size() {
      return buckets.size;
    },
  };
}
