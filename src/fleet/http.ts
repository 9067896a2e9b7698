// A request to a backend, and its answer as a status, headers and a paused body: the door through which everything is
// asked. Sockets are kept for the next request, the latest used first; each carries one request at a time.
//
// It is ours, and small, because it is the hot path: nothing is retried, decompressed or followed here, and every wait has a
// name. HTTP/1.1 only.
import { Channel, bytesOf, readBuffer, type Origin } from './channel.ts';
import { Exchange, type Body, type HttpAnswer, type Waits } from './exchange.ts';
import { HttpFault } from './fault.ts';
import { Outbox } from '../ops/outbox.ts';
import { Gather } from '../wire/gather.ts';
import type { Tls } from '../types.ts';

export type { Body, HttpAnswer } from './exchange.ts';

export interface Ask {
  readonly method: 'GET' | 'POST';
  /** As it stands in the request line. */
  readonly path: string;
  /** `scheme://host:port`, where it is another than the backend's own. */
  readonly origin?: string;
  /** This request's own, where it is not the connection's. */
  readonly authorization?: string;
  /** The same object for the same headers: what they are written as is kept with it. */
  readonly headers: Readonly<Record<string, string>>;
  /** Sent as `x-request-id`. */
  readonly id?: string;
  /** In parts, so that a large one is not copied to change a few bytes. */
  readonly body: readonly Buffer[] | undefined;
  /** Keeps the body's memory until the returned function is called. */
  readonly borrow?: (() => () => void) | undefined;
}

/** In a request's head nothing else may stand (RFC 9110 §5.5): a line break in a configured key would be another header. */
const PRINTABLE = /^[\t\x20-\x7e\x80-\xff]*$/;

interface Options {
  readonly connect_ms: number;
  readonly idle_ms: number;
  /** Goes with every request. */
  readonly authorization?: string | undefined;
  readonly tls?: Tls | undefined;
}

export class Connection {
  readonly #origin: Origin;
  readonly #authorization: string | undefined;
  readonly #connect_ms: number;
  readonly #idle_ms: number;
  readonly #read = readBuffer();
  readonly #outbox = new Outbox();
  readonly #all = new Set<Channel>();
  /** The one that became free last at the end. */
  readonly #free: Channel[] = [];
  readonly #fresh = new Set<Channel>();
  readonly #lines = new WeakMap<Ask['headers'], string>();
  #sweep: NodeJS.Timeout | undefined;
  #closing: (() => void) | undefined;

  /** `origin` as `http://host:port`; `idle_ms`: how long an unused socket is kept, below the backend's own limit. */
  constructor(origin: string, { connect_ms, idle_ms, authorization, tls }: Options) {
    this.#origin = { ...originOf(origin), tls };
    this.#authorization = authorization;
    this.#connect_ms = connect_ms;
    this.#idle_ms = idle_ms;
  }

  /**
   * Sends one request. Rejects with `HttpFault` when no answer begins; the signal's abort rejects with kind `aborted`
   * and destroys the socket at once. `fresh` goes by a socket of its own, made for this request.
   */
  send(ask: Ask, waits: Waits, signal: AbortSignal | undefined, fresh = false): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(new HttpFault('aborted', 'signal'));
      if (this.#closing !== undefined) return reject(new HttpFault('connect', 'CLOSED'));
      const written = { head: this.#headOf(ask), body: ask.body, borrow: ask.borrow };
      new Exchange(written, waits, signal, resolve, reject).by(this.#channel(fresh));
    });
  }

  /** Lets requests under way finish, then closes every socket. */
  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => (this.#closing = resolve));
    for (const channel of this.#free.splice(0)) channel.destroy();
    this.#closed();
    return closed;
  }

  destroy(): Promise<void> {
    const closed = this.close();
    for (const channel of this.#all) channel.cut();
    return closed;
  }

  /** @throws TypeError for what cannot stand in a header */
  #headOf({ method, path, headers, id, body, authorization }: Ask): string {
    let lines = this.#lines.get(headers);
    if (lines === undefined) {
      const { authority } = this.#origin;
      const all: Record<string, string> = { host: authority, connection: 'keep-alive', ...headers };
      if (this.#authorization !== undefined) all['authorization'] = this.#authorization;
      lines = linesOf(all);
      this.#lines.set(headers, lines);
    }
    const own = id === undefined ? '' : `x-request-id: ${id}\r\n`;
    const sent_as = authorization === undefined ? '' : linesOf({ authorization });
    const length = body === undefined ? '' : `content-length: ${bytesOf(body)}\r\n`;
    return `${method} ${path} HTTP/1.1\r\n${lines}${own}${sent_as}${length}\r\n`;
  }

  #channel(fresh: boolean): Channel {
    const now = performance.now();
    for (let kept = fresh ? undefined : this.#free.pop(); kept !== undefined; kept = this.#free.pop()) {
      if (kept.usable && kept.free_until > now) return kept;
      kept.destroy();
    }
    const channel = new Channel(this.#origin, this.#connect_ms, this.#read, this.#outbox, {
      free: (one) => this.#take_back(one),
      gone: (one) => {
        this.#all.delete(one);
        this.#fresh.delete(one);
        const at = this.#free.indexOf(one);
        if (at >= 0) this.#free.splice(at, 1);
        this.#closed();
      },
    });
    this.#all.add(channel);
    if (fresh) this.#fresh.add(channel);
    return channel;
  }

  #take_back(channel: Channel): void {
    if (this.#closing !== undefined || this.#fresh.has(channel)) return channel.destroy();
    const kept_ms = Math.min(this.#idle_ms, channel.keep_ms);
    if (kept_ms <= 0) return channel.destroy();
    channel.free_until = performance.now() + kept_ms;
    this.#free.push(channel);
    if (this.#sweep === undefined) this.#sweepIn(kept_ms);
  }

  #sweepIn(wait_ms: number): void {
    this.#sweep = setTimeout(() => this.#dropIdle(), Math.max(1, wait_ms)).unref();
  }

  #dropIdle(): void {
    this.#sweep = undefined;
    const now = performance.now();
    let next = Infinity;
    for (const channel of this.#free) {
      if (channel.free_until > now) next = Math.min(next, channel.free_until);
      else channel.destroy();
    }
    if (next < Infinity) this.#sweepIn(next - now);
  }

  #closed(): void {
    if (this.#closing !== undefined && this.#all.size === 0) this.#closing();
  }
}

/**
 * The whole body; rejects with `HttpFault` when it breaks off, stays silent, passes `bytes_max`, or takes longer than
 * `wait_ms` in all.
 */
export function readAll(answer: HttpAnswer, bytes_max: number, wait_ms?: number): Promise<Buffer> {
  let timer: NodeJS.Timeout | undefined;
  const whole = new Promise<Buffer>((resolve, reject) => {
    const gather = new Gather(Math.min(answer.length ?? 0, bytes_max), true);
    if (wait_ms !== undefined) {
      timer = setTimeout(() => {
        answer.body.destroy();
        reject(new HttpFault('timeout', 'wait_ms'));
      }, wait_ms);
    }
    answer.body.attach({
      data: (chunk) => {
        if (gather.bytes + chunk.length <= bytes_max) {
          gather.add(chunk);
          return true;
        }
        answer.body.destroy();
        reject(new HttpFault('garbage', 'answer_bytes_max'));
        return false;
      },
      end: () => resolve(gather.whole()),
      fail: reject,
    });
  });
  return timer === undefined ? whole : whole.finally(() => clearTimeout(timer));
}

/** An answer that has been read already, as one that is still to be. */
export function heldAnswer(answer: HttpAnswer, bytes: Buffer): HttpAnswer {
  const body: Body = {
    ended: true,
    attach(sink) {
      if (bytes.length > 0) sink.data(bytes);
      sink.end();
    },
    resume: () => undefined,
    destroy: () => undefined,
  };
  return { ...answer, length: bytes.length, body };
}

function originOf(text: string): Origin {
  const { protocol, hostname, port, host } = new URL(text);
  const secure = protocol === 'https:';
  return {
    secure,
    // An IPv6 address stands in brackets in a URL, and nowhere else.
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: port === '' ? (secure ? 443 : 80) : Number(port),
    authority: host,
  };
}

function linesOf(headers: Readonly<Record<string, string>>): string {
  return Object.entries(headers)
    .map(([name, value]) => {
      if (!PRINTABLE.test(value)) throw new TypeError(`the header ${name} cannot be sent`);
      return `${name}: ${value}\r\n`;
    })
    .join('');
}
