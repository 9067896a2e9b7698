// The caller's side of one exchange: what has been written, whether the caller is still there, and the keep-alives that
// fill a stream's silence. Headers are held back until there is something to say; only a streamed call that has waited
// for `keep_alive_ms` is committed to 200 early, and from then on fails in-band.
//
// A stream's pieces are framed here and written to the socket as one buffer each: Node's `response.write` makes four
// writes of one chunk, gathered on the next tick.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Outbox, Sender } from '../ops/outbox.ts';
import { errorBody, errorHeaders, type GatewayError } from '../wire/errors.ts';
import { KEEP_ALIVE } from '../wire/sse.ts';
import type { Limits } from '../types.ts';

/** Why a signal aborted when nothing failed: the caller has gone. */
export class ClientGone extends Error {
  override readonly name = 'ClientGone';
  readonly at = performance.now();
}

export type Headers = Record<string, string | number>;

/** How long a stream may be silent, and a caller leave unread what it was sent. */
type Patience = Pick<Limits, 'keep_alive_ms' | 'reader_idle_ms'>;

/** How much of a whole answer is written at once. */
const PIECE_BYTES = 256 * 1024;
/** A whole answer up to this size is joined to its head. */
const ONE_PIECE_BYTES = 16 * 1024;
const CR = 0x0d;
const LF = 0x0a;
/** What fills silence, and what the answer then is. White space may stand before JSON (RFC 8259 §2). */
const STREAM = { type: 'text/event-stream; charset=utf-8', fill: KEEP_ALIVE } as const;
const PADDED = { type: 'application/json', fill: Buffer.from(' ') } as const;

export class Reply implements Sender {
  /** Aborted when the caller leaves (`ClientGone`) or the gateway ends the request (`GatewayError`). */
  readonly signal: AbortSignal;
  /** Resolves when the response has been written out whole, or its socket is gone. */
  readonly closed: Promise<void>;
  /** Sent with the head; steps add to them before anything is written. */
  readonly headers: Headers;
  /** The caller left before the whole response was written out. */
  gone = false;

  readonly #response: ServerResponse;
  readonly #limits: Patience;
  readonly #outbox: Outbox;
  readonly #abort = new AbortController();
  #streamed = false;
  #filled: typeof STREAM | typeof PADDED = STREAM;
  #silence: NodeJS.Timeout | undefined;
  /** When something was last written to a stream, or its silence began. */
  #spoke_at = 0;
  #unread: NodeJS.Timeout | undefined;
  /** What waits in the outbox: framed pieces of a stream, and the end. */
  #frames: Buffer[] = [];
  #last: Buffer | undefined;
  #ended = false;

  constructor(response: ServerResponse, limits: Patience, outbox: Outbox, headers: Headers = {}) {
    this.#response = response;
    this.#limits = limits;
    this.#outbox = outbox;
    this.headers = headers;
    this.signal = this.#abort.signal;
    this.closed = new Promise((resolve) => {
      response.once('close', () => {
        clearTimeout(this.#silence);
        clearTimeout(this.#unread);
        if (!response.writableFinished) {
          this.gone = true;
          this.#abort.abort(new ClientGone());
        }
        resolve();
      });
    });
  }

  get committed(): boolean {
    return this.#response.headersSent;
  }

  /** 0 while nothing has been written. */
  get status(): number {
    return this.committed ? this.#response.statusCode : 0;
  }

  /** Tells a client that waits for it (`Expect: 100-continue`) to send the body: not before it was admitted. */
  continueBody(request: IncomingMessage): void {
    if (request.headers.expect !== undefined) this.#response.writeContinue();
  }

  /** From now on silence is filled with keep-alives, and `write` takes events. */
  openStream(): void {
    this.#streamed = true;
    // Nobody would clear the timer of one who left while the body's last byte came in.
    if (this.gone) return;
    this.#spoke_at = performance.now();
    this.#fillSilence(this.#limits.keep_alive_ms);
  }

  /**
   * From now on silence is filled with spaces, for a whole answer that may take longer than a client waits for a head. Once
   * they are sent the status is 200: a later failure can only cut the connection.
   */
  openPadded(): void {
    this.#filled = PADDED;
    if (this.gone) return;
    this.#spoke_at = performance.now();
    this.#fillSilence(this.#limits.keep_alive_ms);
  }

  /**
   * Writes whole events, of which it takes a copy; false when the caller does not read as fast: then `drained` says when to
   * go on.
   */
  write(events: Buffer): boolean {
    this.#spoke_at = performance.now();
    const response = this.#response;
    const { socket } = response;
    // The first piece goes with the head. One of several requests sent at once has no socket until its turn comes, and to
    // HTTP/1.0 nothing is framed.
    if (!this.committed || socket === null || !response.chunkedEncoding) {
      this.#commitStream();
      // Corked by itself it would be written on the next tick, and behind what goes straight to the socket until then.
      response.cork();
      const flowing = response.write(Buffer.from(events));
      response.uncork();
      return flowing;
    }
    if (this.#frames.length === 0) this.#outbox.add(this);
    this.#frames.push(framed(events));
    return !socket.writableNeedDrain;
  }

  /** The outbox's turn. */
  send(): void {
    const { socket } = this.#response;
    const frames = this.#frames;
    if (frames.length > 0) {
      this.#frames = [];
      if (socket !== null) socket.write(frames.length === 1 ? frames[0]! : Buffer.concat(frames));
    }
    if (this.#last !== undefined) this.#finish(this.#last);
  }

  /** Calls back once the caller has read on; one who reads nothing for `reader_idle_ms` is cut off. */
  drained(go_on: () => void): void {
    clearTimeout(this.#unread);
    this.#unread = setTimeout(() => this.#response.destroy(), this.#limits.reader_idle_ms);
    // Of what went straight to the socket the response knows nothing.
    const { socket } = this.#response;
    (this.#response.writableNeedDrain || socket === null ? this.#response : socket).once('drain', () => {
      clearTimeout(this.#unread);
      go_on();
    });
  }

  endStream(events: Buffer): void {
    this.#commitStream();
    this.#end(events);
  }

  /** A whole answer at once. */
  whole(status: number, headers: Headers, body: Buffer | string): void {
    if (this.gone) return;
    if (this.committed) return this.#wholeAfterSpaces(status, body);
    Object.assign(this.headers, headers)['content-length'] = Buffer.byteLength(body);
    this.#response.writeHead(status, this.headers);
    this.#end(body);
  }

  #wholeAfterSpaces(status: number, body: Buffer | string): void {
    if (this.#filled !== PADDED || this.#ended) return;
    if (status === 200) this.#end(body);
    else this.#response.destroy();
  }

  /** Refuses or fails: by status while nothing has been written, in-band after. Never `[DONE]` after a failure. */
  fail(error: GatewayError): void {
    if (this.gone || this.#ended) return;
    if (!this.committed) {
      this.whole(error.status, { ...errorHeaders(error), 'content-type': 'application/json' }, errorBody(error));
    } else if (this.#streamed) {
      this.#end(`data: ${errorBody(error)}\n\n`);
    } else {
      this.#response.destroy();
    }
  }

  /** The gateway itself ends this request. */
  stop(error: GatewayError): void {
    this.#abort.abort(error);
  }

  /** Looks when it is due whether anything was written meanwhile: a timer begun anew with each piece would cost more. */
  #fillSilence(wait_ms: number): void {
    this.#silence = setTimeout(() => {
      const left_ms = this.#spoke_at + this.#limits.keep_alive_ms - performance.now();
      // Timers count whole milliseconds of a clock of their own.
      if (left_ms > 1) return this.#fillSilence(left_ms);
      const response = this.#response;
      if (!response.writableNeedDrain && response.socket?.writableNeedDrain !== true) this.write(this.#filled.fill);
      this.#fillSilence(this.#limits.keep_alive_ms);
    }, wait_ms);
  }

  #commitStream(): void {
    if (this.committed) return;
    this.headers['content-type'] = this.#filled.type;
    this.#response.writeHead(200, this.headers);
  }

  #end(last: Buffer | string): void {
    this.#ended = true;
    clearTimeout(this.#silence);
    this.#silence = undefined;
    this.#endWith(typeof last === 'string' ? Buffer.from(last) : last);
  }

  /** In pieces: Node tells of a write only once all of it is taken, and a caller who reads slowly still reads. */
  #endWith(bytes: Buffer): void {
    for (let at = 0; ; at += PIECE_BYTES) {
      const rest = bytes.subarray(at);
      if (rest.length <= PIECE_BYTES) return this.#endNow(rest);
      if (!this.#response.write(rest.subarray(0, PIECE_BYTES))) {
        return this.drained(() => this.#endWith(rest.subarray(PIECE_BYTES)));
      }
    }
  }

  #endNow(last: Buffer): void {
    this.#last = last;
    if (this.#frames.length === 0) this.#outbox.add(this);
  }

  #finish(last: Buffer): void {
    this.#last = undefined;
    // As a string of bytes a short body goes out in one piece with its head.
    if (last.length <= ONE_PIECE_BYTES && !this.#streamed) this.#response.end(last.toString('latin1'), 'latin1');
    else this.#response.end(last);
    // The system has all of it: nobody waits for the reader any more.
    if (this.#response.writableFinished || this.#response.socket?.writableLength === 0) return;
    clearTimeout(this.#unread);
    this.#unread = setTimeout(() => this.#response.destroy(), this.#limits.reader_idle_ms);
  }
}

/** One chunk of a chunked body (RFC 9112 §7.1), in one buffer. */
function framed(bytes: Buffer): Buffer {
  const size = bytes.length.toString(16);
  const chunk = Buffer.allocUnsafe(size.length + bytes.length + 4);
  chunk.write(size, 'latin1');
  let at = size.length;
  chunk[at++] = CR;
  chunk[at++] = LF;
  chunk.set(bytes, at);
  at += bytes.length;
  chunk[at++] = CR;
  chunk[at] = LF;
  return chunk;
}
