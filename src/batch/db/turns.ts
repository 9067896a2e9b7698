// Who may speak to SQLite's one connection: anybody between transactions, and within one only its owner. First come, first
// served, so that neither a stream of small queries nor one of transactions keeps the other waiting for ever.
import { DatabaseError } from './fault.ts';

interface Waiting {
  readonly holds: boolean;
  readonly start: () => void;
  readonly timer: NodeJS.Timeout;
}

/** As long as PostgreSQL may take for a statement. Whoever waits longer most likely waits for itself. */
const WAIT_MS_MAX = 60_000;

export class Turns {
  readonly #wait_ms_max: number;
  #held = false;
  readonly #waiting: Waiting[] = [];

  constructor(wait_ms_max = WAIT_MS_MAX) {
    this.#wait_ms_max = wait_ms_max;
  }

  /**
   * Runs `ask` once no transaction is open: at once, where that is so already. What it posts is posted before anything of
   * those behind it; for its answer nobody waits.
   * @throws DatabaseError when its turn does not come within 60 s
   */
  pass<T>(ask: () => Promise<T>): Promise<T> {
    if (!this.#held && this.#waiting.length === 0) return ask();
    return new Promise((resolve, reject) => this.#wait(false, () => void ask().then(resolve, reject), reject));
  }

  /** Resolves when the turn is the caller's alone, until `release`. @throws DatabaseError as `pass` does */
  hold(): Promise<void> {
    if (!this.#held && this.#waiting.length === 0) {
      this.#held = true;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => this.#wait(true, resolve, reject));
  }

  release(): void {
    this.#held = false;
    while (!this.#held) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      clearTimeout(next.timer);
      this.#held = next.holds;
      next.start();
    }
  }

  #wait(holds: boolean, start: () => void, reject: (error: Error) => void): void {
    const timer = setTimeout(() => {
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      reject(
        new DatabaseError(
          `a transaction has held the database for more than ${this.#wait_ms_max} ms. (Is it waiting for a query of its own that was not asked through it?)`,
        ),
      );
    }, this.#wait_ms_max);
    const waiting = { holds, start, timer };
    this.#waiting.push(waiting);
  }
}
