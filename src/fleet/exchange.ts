// One request on its way to a backend and its answer on the way back: from the channel on one side, to the sink on the
// other, with the two waits that bound it. A sink that is not attached yet finds what has come; more than a little is left
// in the socket.
import type { AnswerHeaders } from '../wire/http1.ts';
import type { Channel } from './channel.ts';
import { HttpFault, type FaultKind } from './fault.ts';

/** Where an answer's bytes go: views, good only during the call. `data` returns false to be left alone until `Body.resume()`. */
export interface Sink {
  data(bytes: Buffer): boolean;
  end(): void;
  fail(fault: HttpFault): void;
}

export interface Body {
  /** Starts the flow. Anything that happened before is told first. */
  attach(sink: Sink): void;
  /** What was read already when `data` returned false is still told before. */
  resume(): void;
  /** Destroys the backend's socket unless the answer has already ended; nothing is told to the sink after that. */
  destroy(): void;
  readonly ended: boolean;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: AnswerHeaders;
  /** Bytes of the body, where the head tells. */
  readonly length: number | undefined;
  readonly body: Body;
}

export interface Waits {
  /** Longest wait for the first byte of the body, in milliseconds. */
  readonly first_byte_ms: number;
  /** Longest silence within the body. */
  readonly idle_ms: number;
}

/** A request ready to be written. */
export interface Written {
  readonly head: string;
  readonly body: readonly Buffer[] | undefined;
  readonly borrow: (() => () => void) | undefined;
}

/** What is kept for a sink that is not there yet; beyond it the socket is left alone. */
const HELD_BYTES_MAX = 64 * 1024;

export class Exchange implements Body {
  readonly ask: Written;
  ended = false;

  readonly #waits: Waits;
  readonly #signal: AbortSignal | undefined;
  readonly #resolve: (answer: HttpAnswer) => void;
  readonly #reject: (fault: HttpFault) => void;
  readonly #onAbort = (): void => this.#stop('aborted', 'signal');
  #channel: Channel | undefined;
  #sink: Sink | undefined;
  #held: Buffer[] | undefined;
  #held_bytes = 0;
  #fault: HttpFault | undefined;
  #answered = false;
  #begun = false;
  #paused = false;
  #waiting: keyof Waits = 'first_byte_ms';
  #timer: NodeJS.Timeout | undefined;
  /** When the wait began, or the last bytes came. */
  #since = performance.now();

  constructor(
    ask: Written,
    waits: Waits,
    signal: AbortSignal | undefined,
    resolve: (answer: HttpAnswer) => void,
    reject: (fault: HttpFault) => void,
  ) {
    this.ask = ask;
    this.#waits = waits;
    this.#signal = signal;
    this.#resolve = resolve;
    this.#reject = reject;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    this.#wait(waits.first_byte_ms);
  }

  /** Goes by this channel. */
  by(channel: Channel): void {
    this.#channel = channel;
    channel.carry(this);
  }

  head(status: number, headers: AnswerHeaders, length: number | undefined): void {
    this.#answered = true;
    this.#resolve({ status, headers, length, body: this });
  }

  body(bytes: Buffer): void {
    this.#begun = true;
    if (this.#sink === undefined) this.#hold(bytes);
    // While the caller does not read, the backend's silence is not its fault.
    else if (!this.#sink.data(bytes)) this.#pause();
  }

  /** All that came with one read has been told, and more is to come. False leaves it in the socket for now. */
  read(): boolean {
    this.#since = performance.now();
    // vLLM sends its headers at once and its first event after the prefill: only a byte of the body ends that wait.
    if (this.#begun && this.#waiting === 'first_byte_ms') {
      this.#waiting = 'idle_ms';
      if (!this.#paused) this.#wait(this.#waits.idle_ms);
    }
    return !this.#paused;
  }

  end(): void {
    this.#finish();
    this.#sink?.end();
  }

  fail(fault: HttpFault): void {
    if (this.ended) return;
    this.#fault = fault;
    this.#finish();
    if (!this.#answered) this.#reject(fault);
    else this.#sink?.fail(fault);
  }

  attach(sink: Sink): void {
    const held = this.#held;
    this.#held = undefined;
    this.#sink = sink;
    let flowing = true;
    // Given up, it has nothing more to say; broken off, it has said what came before.
    if (this.#fault?.kind !== 'aborted') for (const bytes of held ?? []) flowing = sink.data(bytes) && flowing;
    if (this.ended) {
      if (this.#fault === undefined) sink.end();
      else sink.fail(this.#fault);
    } else if (!flowing) this.#pause();
    else this.resume();
  }

  resume(): void {
    if (this.ended || !this.#paused) return;
    this.#paused = false;
    this.#since = performance.now();
    this.#wait(this.#waits[this.#waiting]);
    this.#channel?.resume();
  }

  destroy(): void {
    this.#sink = undefined;
    if (!this.ended) this.#stop('aborted', 'destroyed');
  }

  #hold(bytes: Buffer): void {
    // A copy: the bytes are the reader's.
    (this.#held ??= []).push(Buffer.from(bytes));
    this.#held_bytes += bytes.length;
    if (this.#held_bytes > HELD_BYTES_MAX) this.#pause();
  }

  #pause(): void {
    if (this.ended || this.#paused) return;
    this.#paused = true;
    clearTimeout(this.#timer);
    this.#channel?.pause();
  }

  /** Not begun anew at each piece of a stream, which comes long before it is due: it looks when the last one came. */
  #wait(wait_ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const name = this.#waiting;
      const left_ms = this.#since + this.#waits[name] - performance.now();
      // Timers count whole milliseconds of a clock of their own.
      if (left_ms > 1) this.#wait(left_ms);
      else this.#stop('timeout', name);
    }, wait_ms);
  }

  #stop(kind: FaultKind, code: string): void {
    const channel = this.#channel;
    this.fail(new HttpFault(kind, code));
    channel?.destroy();
  }

  #finish(): void {
    this.ended = true;
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#channel = undefined;
  }
}
