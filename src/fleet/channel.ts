// One socket to a backend and what is asked over it, one request at a time. All plain sockets read into one buffer: it is
// looked through before the next read, so a thousand quiet streams hold no memory for reading. Node's own HTTP client
// and undici make a stream and a buffer of each read; here bytes go from the read to the sink in one call.
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AnswerParser, type AnswerHeaders, type Hearer } from '../wire/http1.ts';
import { Malformed } from '../wire/malformed.ts';
import type { Exchange } from './exchange.ts';
import { HttpFault, faultOf, type Phase } from './fault.ts';
import type { Outbox, Sender } from '../ops/outbox.ts';
import type { Tls } from '../types.ts';

/** Where a backend is. */
export interface Origin {
  readonly secure: boolean;
  readonly host: string;
  readonly port: number;
  /** As the Host header says it. */
  readonly authority: string;
  readonly tls?: Tls | undefined;
}

/** What libuv reads at most at once, as it would allocate for each read itself. */
const READ_BYTES = 64 * 1024;
/** A head and a body up to this size are written as one piece: copying them costs less than a second one. */
const ONE_PIECE_BYTES = 16 * 1024;
/** A larger one is written in pieces of this size. */
const PIECE_BYTES = 256 * 1024;
/** After this much silence TCP asks whether the other side is still there. */
const TCP_KEEP_ALIVE_MS = 60_000;

/** Says of a channel that it may be given another request, or is gone. */
interface Owner {
  free(channel: Channel): void;
  gone(channel: Channel): void;
}

export class Channel implements Hearer, Sender {
  /** While it is free: until when it may be used, on the monotonic clock. */
  free_until = 0;
  /** How long the backend said it keeps an idle connection, less what a request may take to reach it; in milliseconds. */
  keep_ms = Infinity;

  readonly #outbox: Outbox;
  readonly #owner: Owner;
  readonly #socket: Socket;
  readonly #parser = new AnswerParser(this);
  #connecting: NodeJS.Timeout | undefined;
  #exchange: Exchange | undefined;
  /** What of a large body has not been given to the socket. */
  #rest: Buffer[] = [];
  #answers = 0;
  #heard = false;
  #ended = false;

  /** Connects. `read` is where plain sockets read into: shared by all, valid until the next read of any of them. */
  constructor(origin: Origin, connect_ms: number, read: Buffer, outbox: Outbox, owner: Owner) {
    this.#outbox = outbox;
    this.#owner = owner;
    const { host, port, secure, tls } = origin;
    const to = { host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: TCP_KEEP_ALIVE_MS };
    if (secure) {
      // An address has no name to indicate (RFC 6066 §3).
      const servername = /^[\d.]+$|:/.test(host) ? '' : host;
      this.#socket = connectTls({
        ...to,
        servername,
        ALPNProtocols: ['http/1.1'],
        rejectUnauthorized: tls?.verify ?? true,
        ...(tls?.ca !== undefined && { ca: tls.ca }),
      });
      this.#socket.on('data', (bytes: Buffer) => void this.#read(bytes));
    } else {
      const onread = { buffer: read, callback: (bytes: number): boolean => this.#read(read.subarray(0, bytes)) };
      this.#socket = connectTcp({ ...to, onread });
    }
    this.#connecting = setTimeout(() => this.#fail(new HttpFault('connect', 'connect_ms')), connect_ms);
    this.#socket.once(secure ? 'secureConnect' : 'connect', () => this.#connected());
    this.#socket.once('end', () => this.#end());
    this.#socket.once('error', (error) => this.#fail(error));
    this.#socket.once('close', () => {
      this.cut();
      owner.gone(this);
    });
  }

  /** Sends the exchange's request, once connected. */
  carry(exchange: Exchange): void {
    this.#exchange = exchange;
    this.#heard = false;
    if (this.#connecting === undefined) this.#outbox.add(this);
  }

  /** False once it is gone, or about to be. */
  get usable(): boolean {
    return !this.#ended;
  }

  /** Ends what it carries. */
  cut(): void {
    this.#fail(new HttpFault('reset', 'CLOSED'));
  }

  /** The request, unless it has been given up meanwhile. */
  send(): void {
    if (this.#exchange === undefined) return;
    this.#parser.next();
    const { head, body, borrow } = this.#exchange.ask;
    const socket = this.#socket;
    const length = body === undefined ? 0 : bytesOf(body);
    if (body === undefined || length > ONE_PIECE_BYTES) {
      socket.write(head, 'latin1');
      this.#rest = body === undefined ? [] : [...body];
      this.#sendRest(borrow?.());
      return;
    }
    const bytes = Buffer.allocUnsafe(head.length + length);
    let at = bytes.write(head, 'latin1');
    for (const part of body) {
      bytes.set(part, at);
      at += part.length;
    }
    socket.write(bytes);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  destroy(): void {
    this.#exchange = undefined;
    this.#ended = true;
    clearTimeout(this.#connecting);
    this.#socket.destroy();
  }

  head(status: number, headers: AnswerHeaders, length: number | undefined): void {
    const told = headers.get('keep-alive');
    if (told !== undefined) this.keep_ms = keepMs(told);
    this.#exchange?.head(status, headers, length);
  }

  body(bytes: Buffer): void {
    this.#exchange?.body(bytes);
  }

  /** The channel is free once all that was read with this end has been looked at. */
  end(): void {
    this.#answers += 1;
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.end();
  }

  #connected(): void {
    clearTimeout(this.#connecting);
    this.#connecting = undefined;
    if (this.#exchange !== undefined) this.#outbox.add(this);
  }

  /**
   * A large body piece by piece, each in a turn of its own: to a reader on this machine, who takes it as fast as it comes,
   * libuv would write all of it in one go, and everybody else would wait (20 MB: 15 ms and more).
   */
  #sendRest(give_back: (() => void) | undefined): void {
    const [part] = this.#rest;
    // Nothing is under way to the system now: the one before has been taken, or given up.
    if (part === undefined || this.#ended) return give_back?.();
    if (part.length > PIECE_BYTES) this.#rest[0] = part.subarray(PIECE_BYTES);
    else this.#rest.shift();
    this.#socket.write(part.subarray(0, PIECE_BYTES), () => setImmediate(() => this.#sendRest(give_back)));
  }

  /** False leaves the rest to be read after `resume`. */
  #read(bytes: Buffer): boolean {
    this.#heard = true;
    try {
      this.#parser.push(bytes);
    } catch (error) {
      this.#fail(error instanceof Malformed ? new HttpFault('garbage', error.code) : error);
      return false;
    }
    if (this.#exchange === undefined) return this.#settle();
    return this.#exchange.read();
  }

  /** After an answer, or bytes that nobody asked for. */
  #settle(): boolean {
    if (this.#ended) return false;
    // An answer that came before the request was sent whole leaves the rest of it in the way of the next.
    if (!this.#parser.reusable || this.#rest.length > 0 || this.#socket.writableLength > 0) {
      this.destroy();
      return false;
    }
    this.#owner.free(this);
    return true;
  }

  /** The backend's FIN: the end of an answer that has no other, or the end of the channel. */
  #end(): void {
    if (this.#parser.finish()) this.destroy();
    else this.#fail(new HttpFault('reset', 'FIN'));
  }

  #fail(error: unknown): void {
    if (this.#ended) return;
    const exchange = this.#exchange;
    const phase: Phase = this.#connecting !== undefined ? 'connecting' : this.#heard ? 'answering' : 'asked';
    this.destroy();
    exchange?.fail(faultOf(error, phase, this.#answers > 0));
  }
}

/** `Keep-Alive: timeout=5` (RFC 2068 §19.7.1.1; Node's and uvicorn's servers say it): the seconds, less one. */
function keepMs(told: string): number {
  const seconds = /(?:^|[\s,;])timeout=(\d{1,6})/i.exec(told)?.[1];
  return seconds === undefined ? Infinity : (Number(seconds) - 1) * 1000;
}

export function bytesOf(parts: readonly Buffer[]): number {
  let bytes = 0;
  for (const part of parts) bytes += part.length;
  return bytes;
}

export function readBuffer(): Buffer {
  return Buffer.allocUnsafeSlow(READ_BYTES);
}
