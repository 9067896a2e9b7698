// The memory of one large body, given back as soon as nobody uses it any more. Left to the collector, the bodies of 20 MB that
// follow each other stand there four at a time, and each makes it run.
//
// Memory that the system is still writing from must not go: so whoever hands it to a socket borrows it until the socket has
// said that it is done.

export class Lent {
  readonly #bytes: Buffer;
  #users = 0;

  /** `bytes` has memory of its own; otherwise it is left to the collector. */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Gives what ends the use; a second call changes nothing. After the last one the bytes are no more (their length is 0). */
  borrow(): () => void {
    this.#users += 1;
    let uses = true;
    return () => {
      if (!uses) return;
      uses = false;
      this.#users -= 1;
      if (this.#users === 0) free(this.#bytes);
    };
  }
}

/** Only what nobody else can have a part of. */
export function free({ buffer, length }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === length && !buffer.detached) buffer.transfer(0);
}
