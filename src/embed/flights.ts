// Work that several wait for and that is done once. It goes on while anyone waits, and is given up when the last has left.
import { waitFor } from '../fleet/patience.ts';

interface Flight<T> {
  readonly promise: Promise<T>;
  readonly abort: AbortController;
  waiting: number;
}

export class Flights<T> {
  readonly #under_way = new Map<string, Flight<T>>();

  /** Whether anyone waits for this. */
  has(key: string): boolean {
    return this.#under_way.has(key);
  }

  /** The result of the work under this key, begun if it is not under way. Rejects as it does, or with the signal's reason. */
  async join(key: string, begin: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    let flight = this.#under_way.get(key);
    if (flight === undefined) {
      const abort = new AbortController();
      const promise = begin(abort.signal).finally(() => this.#forget(key, promise));
      promise.catch(() => undefined);
      flight = { promise, abort, waiting: 0 };
      this.#under_way.set(key, flight);
    }
    flight.waiting += 1;
    try {
      return await waitFor(flight.promise, signal);
    } finally {
      flight.waiting -= 1;
      if (flight.waiting === 0) {
        this.#forget(key, flight.promise);
        flight.abort.abort(signal.reason);
      }
    }
  }

  #forget(key: string, promise: Promise<T>): void {
    if (this.#under_way.get(key)?.promise === promise) this.#under_way.delete(key);
  }
}
