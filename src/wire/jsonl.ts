// JSON Lines, cut out of bytes as they come: each line with where it stands, none longer than allowed. Nothing is parsed.

const LF = 0x0a;
const CR = 0x0d;

export interface Line {
  /** Without its end; a view of what came, good until the next piece. */
  readonly text: Buffer;
  /** Where it begins, in bytes from the start. */
  readonly at: number;
  /** From 1. */
  readonly number: number;
}

/** A line was longer than allowed: nothing behind it is looked at. */
export class LineTooLong extends Error {
  override readonly name = 'LineTooLong';
  readonly number: number;

  constructor(number: number) {
    super(`line ${number}`);
    this.number = number;
  }
}

export class LineCutter {
  readonly #bytes_max: number;
  #kept: Buffer[] = [];
  #kept_bytes = 0;
  #at = 0;
  #number = 0;

  constructor(bytes_max: number) {
    this.#bytes_max = bytes_max;
  }

  /** The lines that end in this piece. @throws LineTooLong */
  *push(piece: Buffer): Generator<Line> {
    let from = 0;
    for (let end = piece.indexOf(LF); end >= 0; end = piece.indexOf(LF, from)) {
      yield this.#line(piece.subarray(from, end), 1);
      from = end + 1;
    }
    if (from === piece.length) return;
    // What came may be overwritten by its next piece.
    this.#kept.push(Buffer.from(piece.subarray(from)));
    this.#kept_bytes += piece.length - from;
    if (this.#kept_bytes > this.#bytes_max) throw new LineTooLong(this.#number + 1);
  }

  /** The last line, where it has no end of its own. */
  *end(): Generator<Line> {
    if (this.#kept_bytes > 0) yield this.#line(Buffer.alloc(0), 0);
  }

  #line(last: Buffer, ended: number): Line {
    const whole = this.#kept_bytes === 0 ? last : Buffer.concat([...this.#kept, last]);
    this.#kept = [];
    this.#kept_bytes = 0;
    this.#number += 1;
    if (whole.length > this.#bytes_max) throw new LineTooLong(this.#number);
    const at = this.#at;
    this.#at += whole.length + ended;
    // Windows ends its lines with two.
    const text = whole.at(-1) === CR ? whole.subarray(0, -1) : whole;
    return { text, at, number: this.#number };
  }
}

/** JSON on one line: its line ends stand between its parts, since within a string none may. */
export function onOneLine(json: Buffer): Buffer {
  if (!json.includes(LF) && !json.includes(CR)) return json;
  const copy = Buffer.from(json);
  for (let at = 0; at < copy.length; at += 1) if (copy[at] === LF || copy[at] === CR) copy[at] = 0x20;
  return copy;
}
