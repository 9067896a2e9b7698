// Answers in this process: those asked for last, up to so many bytes, each for a time.

interface Kept {
  readonly body: Buffer;
  readonly until: number;
}

export class Recent {
  /** The one asked for last at the end. */
  readonly #kept = new Map<string, Kept>();
  bytes = 0;

  /** `now` and `until` in milliseconds on the same clock. */
  get(id: string, now: number): Buffer | undefined {
    const kept = this.#kept.get(id);
    if (kept === undefined) return undefined;
    this.#kept.delete(id);
    if (kept.until <= now) {
      this.bytes -= kept.body.length;
      return undefined;
    }
    this.#kept.set(id, kept);
    return kept.body;
  }

  /** What was asked for longest ago makes room. */
  put(id: string, body: Buffer, until: number, bytes_max: number): void {
    const old = this.#kept.get(id);
    if (old !== undefined) {
      this.bytes -= old.body.length;
      this.#kept.delete(id);
    }
    this.#kept.set(id, { body, until });
    this.bytes += body.length;
    for (const [name, { body: least }] of this.#kept) {
      if (this.bytes <= bytes_max) return;
      this.#kept.delete(name);
      this.bytes -= least.length;
    }
  }
}
