// HTTP/1.1 messages one after another on one connection, from bytes as they come: as much of it as mocks and loads meet,
// requests and answers with a length or in chunks. Node's own would cost them more than what they measure.

export interface Reading {
  /** Start line and headers, without the blank line. */
  head(text: string): void;
  /** A piece of the body: bytes `from` to `to`, good until this returns. */
  body(bytes: Buffer, from: number, to: number): void;
  end(): void;
}

type State = 'head' | 'body' | 'size' | 'chunk' | 'chunk_end' | 'trailer';

const LF = 0x0a;
const HEAD_BYTES_MAX = 64 * 1024;

export class MessageReader {
  readonly #reading: Reading;
  #state: State = 'head';
  /** Of the body or of the chunk that is being read. */
  #left = 0;
  /** What is known of a line, or of a head, that has not ended yet. */
  #text = '';

  constructor(reading: Reading) {
    this.#reading = reading;
  }

  /** @throws Error for what is not such a message */
  push(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#state === 'body' || this.#state === 'chunk') {
        const to = Math.min(bytes.length, at + this.#left);
        this.#reading.body(bytes, at, to);
        this.#left -= to - at;
        at = to;
        if (this.#left === 0) this.#ended();
        continue;
      }
      const line_end = bytes.indexOf(LF, at);
      const to = line_end === -1 ? bytes.length : line_end + 1;
      this.#text += bytes.toString('latin1', at, to);
      at = to;
      if (line_end !== -1) this.#line();
      else if (this.#text.length > HEAD_BYTES_MAX) throw new Error('a head without an end');
    }
  }

  /** A line is whole; of a head, all that came before it too. */
  #line(): void {
    const text = this.#text;
    switch (this.#state) {
      case 'head':
        if (text.endsWith('\r\n\r\n')) this.#begin(text.slice(0, -4));
        return;
      case 'size': {
        this.#text = '';
        const size = Number.parseInt(text, 16);
        if (Number.isNaN(size)) throw new Error(`not the size of a chunk: ${JSON.stringify(text)}`);
        this.#left = size;
        this.#state = size === 0 ? 'trailer' : 'chunk';
        return;
      }
      case 'chunk_end':
        this.#text = '';
        this.#state = 'size';
        return;
      case 'trailer':
        this.#text = '';
        if (text === '\r\n') this.#finish();
        return;
      case 'body':
      case 'chunk':
      default:
        throw new Error(`no line is expected in ${this.#state}`);
    }
  }

  #begin(head: string): void {
    this.#text = '';
    const chunked = /^transfer-encoding:\s*chunked\s*$/im.test(head);
    this.#left = Number(/^content-length:\s*(\d+)\s*$/im.exec(head)?.[1] ?? 0);
    this.#reading.head(head);
    if (chunked) this.#state = 'size';
    else if (this.#left > 0) this.#state = 'body';
    else this.#finish();
  }

  #ended(): void {
    if (this.#state === 'chunk') this.#state = 'chunk_end';
    else this.#finish();
  }

  #finish(): void {
    this.#state = 'head';
    this.#reading.end();
  }
}
