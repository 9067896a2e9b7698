// Loads of one backend's models: each under way once, whoever waits for it, and how long they took. Who leaves only stops
// waiting: the load goes on for the others, and for whoever asks again.
import { waitFor } from './patience.ts';

export class Loads {
  readonly #under_way = new Map<string, { readonly promise: Promise<void>; readonly since: number }>();
  readonly #took_ms = new Map<string, number>();
  /** Loaded since the backend last told what it holds. */
  readonly #loaded = new Set<string>();

  /** Waits for this model's load, the one under way or the one begun now. Rejects as it does, or with the signal's reason. */
  async join(model: string, begin: () => Promise<void>, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    let load = this.#under_way.get(model);
    if (load === undefined) {
      const since = performance.now();
      const promise = this.#watch(model, begin(), since);
      // With nobody left to hear it, a failure is nobody's.
      promise.catch(() => undefined);
      load = { promise, since };
      this.#under_way.set(model, load);
    }
    await waitFor(load.promise, signal);
  }

  async #watch(model: string, loading: Promise<void>, since: number): Promise<void> {
    try {
      await loading;
      this.#loaded.add(model);
      this.took(model, performance.now() - since);
    } finally {
      this.#under_way.delete(model);
    }
  }

  /** A load ended after so long. */
  took(model: string, took_ms: number): void {
    const known = this.#took_ms.get(model);
    this.#took_ms.set(model, known === undefined ? took_ms : known + (took_ms - known) / 2);
  }

  tookMs(model: string): number | undefined {
    return this.#took_ms.get(model);
  }

  /** How long until the load under way is over, by what loads have taken; `undefined`: none is, or none was seen to end. */
  leftMs(model: string, now: number): number | undefined {
    const load = this.#under_way.get(model);
    const took_ms = this.#took_ms.get(model);
    return load === undefined || took_ms === undefined ? undefined : Math.max(0, load.since + took_ms - now);
  }

  /** A model answered, so it is there. */
  seen(model: string): void {
    this.#loaded.add(model);
  }

  loaded(model: string): boolean {
    return this.#loaded.has(model);
  }

  /** The backend has told what it holds. */
  forget(): void {
    this.#loaded.clear();
  }
}
