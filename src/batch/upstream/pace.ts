// What a service has been found to take of a model at once: where it says that too many tokens wait there, the next batch comes
// later, and a batch that was too large all by itself comes in halves. Only in memory: a restart finds it out again.

interface Pace {
  pause_ms: number;
  lines_max: number;
}

export class Paces {
  readonly #paces = new Map<string, Pace>();

  lines(backend: string, name: string): number {
    return this.#paces.get(keyOf(backend, name))?.lines_max ?? Infinity;
  }

  /** It was too much; how long to wait. `alone`: nothing else of ours waited there. */
  exceeded(backend: string, name: string, lines: number, alone: boolean, least_ms: number, most_ms: number): number {
    const key = keyOf(backend, name);
    const pace = this.#paces.get(key) ?? { pause_ms: 0, lines_max: Infinity };
    pace.pause_ms = Math.min(Math.max(pace.pause_ms * 2, least_ms), most_ms);
    if (alone) pace.lines_max = Math.max(1, Math.floor(lines / 2));
    this.#paces.set(key, pace);
    return pace.pause_ms;
  }

  /** It was taken. */
  passed(backend: string, name: string, lines: number): void {
    const key = keyOf(backend, name);
    const pace = this.#paces.get(key);
    if (pace === undefined) return;
    pace.pause_ms = 0;
    // A small one says nothing of large ones.
    if (lines >= pace.lines_max / 2) pace.lines_max *= 2;
    if (pace.lines_max >= LINES_MAX) this.#paces.delete(key);
  }
}

/** OpenAI's. */
export const LINES_MAX = 50_000;

function keyOf(backend: string, name: string): string {
  return `${backend}/${name}`;
}
