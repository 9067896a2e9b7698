// A backend's answer as HTTP/1.1 (RFC 9112) by bytes: where its head ends, what frames its body, where it is over. Pure, and
// for answers only: requests are read by Node's parser, which faces the world. Strict where two readers could differ: one
// framing or none, CRLF only, no folded lines.
//
// Nothing is gathered but a head that comes in pieces: the body is told as views into the bytes that were given.

import { Chunks } from './chunks.ts';
import { Malformed } from './malformed.ts';

/** An answer's headers, by lower-case name. A list, because a handful is found sooner than an object is built. */
export class AnswerHeaders {
  /** Name and value in turn. */
  readonly #list: string[] = [];

  add(name: string, value: string): void {
    this.#list.push(name, value);
  }

  /** The value, or the first of several. */
  get(name: string): string | undefined {
    const list = this.#list;
    for (let at = 0; at < list.length; at += 2) if (list[at] === name) return list[at + 1];
    return undefined;
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  all(name: string): readonly string[] {
    return this.#list.filter((_value, at) => at % 2 === 1 && this.#list[at - 1] === name);
  }
}

/** Hears an answer as it is parsed. Views of the body are good only during the call. */
export interface Hearer {
  head(status: number, headers: AnswerHeaders, length: number | undefined): void;
  body(bytes: Buffer): void;
  end(): void;
}

/** Status line and headers. */
const HEAD_BYTES_MAX = 32 * 1024;

const END_OF_HEAD = Buffer.from('\r\n\r\n');
/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** RFC 9110 §5.5: what neither line nor value may hold; CR and LF only as the end of a line. */
// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const FORBIDDEN = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|\r$|[^\r]\n|^\n/;
/** Names as they were sent, checked and in lower case: a backend sends the same few with every answer. */
const NAMES_MAX = 256;

/** Of one connection, from one answer to the next. */
export class AnswerParser {
  /** After the end of an answer: whether the connection may carry another. */
  reusable = true;

  readonly #hearer: Hearer;
  #state: 'head' | 'length' | 'chunks' | 'until_close' | 'over' = 'over';
  /** The beginning of a head whose end has not come. */
  #held: Buffer | undefined;
  /** Bytes of a body of known length still to come. */
  #left = 0;
  #chunks = new Chunks();
  readonly #names = new Map<string, string>();

  constructor(hearer: Hearer) {
    this.#hearer = hearer;
  }

  /** Expects the next answer. */
  next(): void {
    this.#state = 'head';
    this.#held = undefined;
  }

  /** Bytes as they came. What comes after an answer makes its connection unfit for another. @throws Malformed */
  push(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      switch (this.#state) {
        case 'head':
          at = this.#head(bytes, at);
          break;
        case 'length':
          at = this.#counted(bytes, at);
          break;
        case 'chunks':
          at = this.#chunk(bytes, at);
          break;
        case 'until_close':
          this.#hearer.body(at === 0 ? bytes : bytes.subarray(at));
          return;
        case 'over':
          this.reusable = false;
          return;
      }
    }
  }

  /** The connection has ended: true where that is the answer's end. */
  finish(): boolean {
    if (this.#state !== 'until_close') return false;
    this.#end();
    return true;
  }

  #head(bytes: Buffer, from: number): number {
    let head = bytes;
    let start = from;
    if (this.#held !== undefined) {
      head = Buffer.concat([this.#held, bytes.subarray(from)]);
      start = 0;
    }
    // What cannot become a head is not waited for.
    if (!'HTTP/1.'.startsWith(head.toString('latin1', start, start + 7))) throw new Malformed('NOT_HTTP');
    const end = head.indexOf(END_OF_HEAD, start);
    if ((end < 0 ? head.length : end) - start > HEAD_BYTES_MAX) throw new Malformed('HEAD_TOO_LARGE');
    if (end < 0) {
      // A copy: the bytes are the reader's.
      this.#held = Buffer.from(start === 0 ? head : head.subarray(start));
      return bytes.length;
    }
    const next = end + END_OF_HEAD.length - (this.#held === undefined ? 0 : this.#held.length - from);
    this.#held = undefined;
    this.#begin(head.toString('latin1', start, end));
    return next;
  }

  /** What the head says of the body: RFC 9112 §6.3. */
  #begin(head: string): void {
    const line_end = head.indexOf('\r\n');
    const line = line_end < 0 ? head : head.slice(0, line_end);
    const status = statusOf(line);
    if (FORBIDDEN.test(head)) throw new Malformed('HEADER');
    const headers = new AnswerHeaders();
    if (line_end >= 0) this.#readHeaders(head, line_end + 2, headers);
    if (status < 200) {
      // 100 and 103 announce the real one; nothing was offered that 101 could accept.
      if (status === 101) throw new Malformed('UPGRADE');
      return;
    }
    const length = headers.get('content-length');
    this.reusable = keepsAlive(line, headers.get('connection'));
    if (status === 204 || status === 304) {
      this.#state = 'length';
      this.#left = 0;
    } else if (headers.has('transfer-encoding')) {
      const [encoding = '', ...others] = headers.all('transfer-encoding');
      if (length !== undefined) throw new Malformed('TWO_FRAMINGS');
      if (encoding.toLowerCase() !== 'chunked' || others.length > 0) throw new Malformed('TRANSFER_ENCODING');
      this.#state = 'chunks';
      this.#chunks = new Chunks();
    } else if (length !== undefined) {
      if (!/^\d{1,15}$/.test(length) || headers.all('content-length').length > 1) throw new Malformed('CONTENT_LENGTH');
      this.#state = 'length';
      this.#left = Number(length);
    } else {
      this.#state = 'until_close';
    }
    const known = this.#state === 'length' ? this.#left : undefined;
    this.#hearer.head(status, headers, known);
    if (known === 0) this.#end();
  }

  #counted(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#left);
    this.#left -= end - at;
    this.#tell(bytes, at, end);
    if (this.#left === 0) this.#end();
    return end;
  }

  #chunk(bytes: Buffer, from: number): number {
    const chunks = this.#chunks;
    const at = chunks.skip(bytes, from);
    const end = Math.min(bytes.length, at + chunks.left);
    if (end > at) {
      chunks.took(end - at);
      this.#tell(bytes, at, end);
    }
    if (chunks.over) this.#end();
    return end;
  }

  #tell(bytes: Buffer, at: number, end: number): void {
    this.#hearer.body(at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end));
  }

  /** @throws Malformed */
  #readHeaders(head: string, from: number, headers: AnswerHeaders): void {
    for (let at = from; at < head.length;) {
      const next = head.indexOf('\r\n', at);
      const end = next < 0 ? head.length : next;
      const colon = head.indexOf(':', at);
      if (colon < 0 || colon > end) throw new Malformed('HEADER');
      headers.add(this.#nameOf(head.slice(at, colon)), head.slice(colon + 1, end).trim());
      at = end + 2;
    }
  }

  #nameOf(sent: string): string {
    const known = this.#names.get(sent);
    if (known !== undefined) return known;
    if (!TOKEN.test(sent)) throw new Malformed('HEADER');
    const name = sent.toLowerCase();
    if (this.#names.size < NAMES_MAX) this.#names.set(sent, name);
    return name;
  }

  #end(): void {
    if (this.#state === 'until_close') this.reusable = false;
    this.#state = 'over';
    this.#hearer.end();
  }
}

/** @throws Malformed */
function statusOf(line: string): number {
  // The reason phrase may be empty; some servers leave out the space before it too.
  if (!/^HTTP\/1\.[01] [1-9]\d\d(?: |$)/.test(line) || FORBIDDEN.test(line)) throw new Malformed('STATUS_LINE');
  return Number(line.slice(9, 12));
}

function keepsAlive(line: string, connection: string | undefined): boolean {
  if (connection === undefined) return line.startsWith('HTTP/1.1');
  const told = connection.toLowerCase();
  return line.startsWith('HTTP/1.1') ? !told.includes('close') : told.includes('keep-alive');
}
