// Calls waiting for a slot: first come, first served among those that the freed backend can serve. Waiting is bounded
// in time and in number, and a caller who leaves is forgotten at once.
import type { Backend, Candidate } from './backend.ts';
import { GatewayError } from '../wire/errors.ts';

interface Waiter<Slot> {
  readonly candidates: readonly Candidate[];
  readonly take: (slot: Slot) => void;
}

export interface Patience {
  readonly wait_ms: number;
  readonly length_max: number;
}

export class Queue<Slot> {
  readonly #waiting = new Set<Waiter<Slot>>();
  readonly #by_model = new Map<string, number>();

  get length(): number {
    return this.#waiting.size;
  }

  /**
   * Waits until one of the candidates has a slot. Rejects with `server_is_overloaded` when the queue is full or the wait
   * is over, with `backend_unavailable` when by then none of them is up, or with the signal's reason.
   */
  async wait(model: string, candidates: readonly Candidate[], patience: Patience, signal: AbortSignal): Promise<Slot> {
    signal.throwIfAborted();
    const ahead = this.#by_model.get(model) ?? 0;
    const estimate_ms = estimate(candidates, ahead);
    if (ahead >= patience.length_max) {
      throw new GatewayError(
        'server_is_overloaded',
        'Too many requests are waiting for this model. Try again shortly.',
        {
          cause: 'queue full',
          retry_ms: estimate_ms,
        },
      );
    }
    return await new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#waiting.delete(waiter);
        const left = (this.#by_model.get(model) ?? 1) - 1;
        if (left === 0) this.#by_model.delete(model);
        else this.#by_model.set(model, left);
      };
      const onAbort = (): void => {
        leave();
        reject(signal.reason);
      };
      const timer = setTimeout(() => {
        leave();
        reject(tooLong(candidates, estimate_ms));
      }, patience.wait_ms);
      const waiter: Waiter<Slot> = {
        candidates,
        take: (slot) => {
          leave();
          resolve(slot);
        },
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(waiter);
      this.#by_model.set(model, ahead + 1);
    });
  }

  /** Whether anyone waits for this backend. */
  awaits(backend: Backend): boolean {
    return [...this.#waiting].some(({ candidates }) => candidates.some((one) => one.backend === backend));
  }

  /** A backend may have room: gives it to those who wait longest. `hold` takes the slot before the next is considered. */
  offer(backend: Backend, hold: (candidate: Candidate) => Slot): void {
    for (const waiter of this.#waiting) {
      if (!backend.free) return;
      const candidate = waiter.candidates.find((one) => one.backend === backend);
      if (candidate === undefined) continue;
      waiter.take(hold(candidate));
    }
  }
}

/** When a slot may be had: those ahead, shared among the slots, at the pace slots were given back lately. */
function estimate(candidates: readonly Candidate[], ahead: number): number {
  const slots = candidates.reduce((sum, { backend }) => sum + backend.slots, 0);
  const hold_ms = Math.max(...candidates.map(({ backend }) => backend.hold_ms), 1);
  return Math.max(1_000, (hold_ms * (ahead + 1)) / Math.max(slots, 1));
}

function tooLong(candidates: readonly Candidate[], estimate_ms: number): GatewayError {
  if (!candidates.some(({ backend }) => backend.available)) return unavailable(candidates);
  return new GatewayError('server_is_overloaded', 'Every backend of this model is busy. Try again shortly.', {
    cause: 'queue wait over',
    retry_ms: estimate_ms,
  });
}

/** No backend of a model is up: loading when one says that it loads, and then for as long as it took before. */
export function unavailable(candidates: readonly Candidate[]): GatewayError {
  const loading = candidates.filter(({ backend }) => backend.reason === 'loading');
  if (loading.length > 0) {
    const now = performance.now();
    const left_ms = loading.flatMap(({ backend }) => backend.loadingLeft(now) ?? []);
    return new GatewayError('model_loading', 'The model is loading. Try again shortly.', {
      cause: 'loading',
      retry_ms: left_ms.length === 0 ? RETRY_MS : Math.max(RETRY_MIN_MS, Math.min(...left_ms)),
    });
  }
  // What is wrong with its token is the operator's to mend, and says so.
  for (const { backend } of candidates) if (backend.token?.failure !== undefined) return backend.token.failure;
  return new GatewayError('backend_unavailable', 'No backend of this model is reachable now. Try again shortly.', {
    cause: 'all backends down',
    retry_ms: RETRY_MS,
  });
}

/** Where nothing is known of how long it takes. */
const RETRY_MS = 5_000;
const RETRY_MIN_MS = 1_000;
