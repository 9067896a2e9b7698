// A body put together as it comes. Of a large one whose length was announced the whole is made early and filled, so that it
// is never there twice; not before a good part of it has come, or announcing would be enough to take memory.

import { free } from './lent.ts';

/** So much has come before the announced rest is believed. */
const BELIEVED_BYTES = 256 * 1024;

export class Gather {
  bytes = 0;

  readonly #announced: number;
  readonly #views: boolean;
  #parts: Buffer[] = [];
  #whole: Buffer | undefined;

  /**
   * `announced`: the length, 0 where it is not known. `views`: the parts are somebody else's, and copied at once; others must
   * not be used any more once they have been added.
   */
  constructor(announced: number, views: boolean) {
    this.#announced = announced;
    this.#views = views;
  }

  add(part: Buffer): void {
    const at = this.bytes;
    this.bytes += part.length;
    if (this.#whole === undefined && this.bytes >= BELIEVED_BYTES && this.bytes <= this.#announced) this.#fill();
    if (this.#whole !== undefined && this.bytes <= this.#whole.length) this.#copy(part, at);
    else this.#parts.push(this.#views ? Buffer.from(part) : part);
  }

  /** All of it; nothing may be added afterwards. */
  whole(): Buffer {
    const [first, ...others] = this.#parts;
    if (this.#whole === undefined)
      return first !== undefined && others.length === 0 ? first : Buffer.concat(this.#parts);
    return first === undefined ? this.#whole.subarray(0, this.bytes) : Buffer.concat([this.#whole, ...this.#parts]);
  }

  #fill(): void {
    this.#whole = Buffer.allocUnsafeSlow(this.#announced);
    let at = 0;
    for (const part of this.#parts) {
      const { length } = part;
      this.#copy(part, at);
      at += length;
    }
    this.#parts = [];
  }

  /** A part of ours is given up at once: until they are collected, the parts of a large body would be as much again. */
  #copy(part: Buffer, at: number): void {
    this.#whole?.set(part, at);
    if (!this.#views) free(part);
  }
}
