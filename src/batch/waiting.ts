// Clients that wait for a line: told when this gateway writes its end down, or, where others share the database, when it is found
// there.
import type { Lines, Place, Result } from './records/lines.ts';

/** Where another gateway may have run it. */
const LOOK_MS = 500;
/** Places of one question. */
const LOOK_MAX = 200;

type Hear = (text: Buffer) => void;

export class Waiting {
  readonly #lines: Lines;
  readonly #shared: boolean;
  readonly #waiting = new Map<string, { readonly place: Place; readonly hear: Set<Hear> }>();
  #timer: NodeJS.Timeout | undefined;
  #looking = false;

  constructor(lines: Lines, shared: boolean) {
    this.#lines = lines;
    this.#shared = shared;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Resolves with the line of the output or error file. @throws the signal's reason */
  async wait(place: Place, signal: AbortSignal): Promise<Buffer> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const key = keyOf(place);
    const entry = this.#waiting.get(key) ?? { place, hear: new Set<Hear>() };
    this.#waiting.set(key, entry);
    entry.hear.add(resolve);
    const leave = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', leave, { once: true });
    if (this.#shared) this.#timer ??= setInterval(() => void this.#look(), LOOK_MS).unref();
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', leave);
      entry.hear.delete(resolve);
      if (entry.hear.size === 0) this.#waiting.delete(key);
      if (this.#waiting.size === 0) this.stop();
    }
  }

  /** It may have ended before anybody waited for it. */
  async lookAt(place: Place): Promise<void> {
    this.#tell(await this.#lines.done([place]));
  }

  /** Ends that were written down; of a line that had one already, the first stands. */
  told(results: readonly Result[], first: readonly boolean[]): void {
    if (this.#waiting.size === 0) return;
    for (const [at, result] of results.entries()) {
      const entry = this.#waiting.get(keyOf(result));
      if (entry === undefined) continue;
      if (first[at] === true) for (const hear of entry.hear) hear(result.text);
      else void this.lookAt(result).catch(() => undefined);
    }
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      const places = [...this.#waiting.values()].map(({ place }) => place);
      for (let at = 0; at < places.length; at += LOOK_MAX) {
        this.#tell(await this.#lines.done(places.slice(at, at + LOOK_MAX)));
      }
    } catch {
      // The database is away: looked at again in a moment.
    } finally {
      this.#looking = false;
    }
  }

  #tell(lines: Awaited<ReturnType<Lines['done']>>): void {
    for (const { batch, n, result } of lines) {
      const entry = this.#waiting.get(keyOf({ batch, n }));
      if (entry !== undefined && result !== null) for (const hear of entry.hear) hear(result);
    }
  }
}

function keyOf({ batch, n }: Place): string {
  return `${batch}:${n}`;
}
