// Parts of a file in rising order, by going through it once: what lies between them is read and let go.

export class Ranges {
  readonly #pieces: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);
  /** Where `#held` begins. */
  #at = 0;

  constructor(pieces: AsyncIterable<Buffer>) {
    this.#pieces = pieces[Symbol.asyncIterator]();
  }

  /** None that begins before the last one. @throws when so much is not there */
  async next(at: number, bytes: number): Promise<Buffer> {
    if (at < this.#at) throw new RangeError('ranges must rise');
    this.#skip(at);
    while (this.#at + this.#held.length < at + bytes) {
      const { value, done } = await this.#pieces.next();
      if (done === true) throw new Error('the file is shorter than it was');
      this.#held = this.#held.length === 0 ? value : Buffer.concat([this.#held, value]);
      this.#skip(at);
    }
    return this.#held.subarray(at - this.#at, at - this.#at + bytes);
  }

  async close(): Promise<void> {
    await this.#pieces.return?.();
  }

  #skip(at: number): void {
    const over = Math.min(at - this.#at, this.#held.length);
    this.#held = this.#held.subarray(over);
    this.#at += over;
  }
}
