// Looks again and again, at once where it is told to, and no sooner than a gateway that is busy wants it.
import { setTimeout as pause } from 'node:timers/promises';
import { ApiFault } from '../gateway-api.ts';

interface Looking<T> {
  readonly look: (signal: AbortSignal) => Promise<T>;
  readonly every_ms: number;
  readonly found: (news: T) => void;
  readonly failed: (why: ApiFault) => void;
  /** Of anything else, which is a bug; then it is over. */
  readonly broke: (error: unknown) => void;
}

export interface Refresh {
  now(): void;
  stop(): void;
}

/** The first look is after `every_ms`. */
export function refresh<T>(looking: Looking<T>): Refresh {
  const over = new AbortController();
  let waiting = new AbortController();
  const run = async (): Promise<void> => {
    let wait_ms = looking.every_ms;
    while (!over.signal.aborted) {
      await pause(wait_ms, undefined, { signal: waiting.signal }).catch(() => undefined);
      waiting = new AbortController();
      if (over.signal.aborted) return;
      wait_ms = looking.every_ms;
      try {
        looking.found(await looking.look(over.signal));
      } catch (error) {
        if (over.signal.aborted) return;
        if (!(error instanceof ApiFault)) throw error;
        looking.failed(error);
        wait_ms = Math.max(wait_ms, error.retry_after_ms ?? 0);
      }
    }
  };
  run().catch(looking.broke);
  return {
    now: () => waiting.abort(),
    stop() {
      over.abort();
      waiting.abort();
    },
  };
}
