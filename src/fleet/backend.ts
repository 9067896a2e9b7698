// One running engine at one URL, and what we know of it now: the only mutable noun, changed only inside fleet/.
//
// Its health is a breaker: failures in a row, or one refused connection, take it out; a probe that succeeds lets one
// request try it (half-open), and that request's success brings it back. Busy is not dead: while bytes flow from it, a
// probe that fails says nothing.
import { ENGINES, type Engine, type ModelInfo } from './engines.ts';
import { HttpFault } from './fault.ts';
import { Connection, type Ask, type HttpAnswer } from './http.ts';
import type { BackendConfig } from '../types.ts';

/** One way to serve a call: a backend, the model's name there, and its public name (a fallback's is another than asked). */
export interface Candidate {
  readonly backend: Backend;
  readonly name: string;
  readonly model: string;
}

export type Health = 'unknown' | 'up' | 'half-open' | 'down';

const FAILURES_MAX = 5;
/** Idle sockets go before vLLM's server closes them at 5 s (uvicorn's default), the shortest of the field. */
const SOCKET_IDLE_MS = 4_000;
/** Bytes seen within this time count as life. */
const LIFE_MS = 30_000;

export interface Waits {
  readonly connect_ms: number;
  readonly first_byte_ms: number;
  readonly idle_ms: number;
}

export class Backend {
  readonly name: string;
  readonly config: BackendConfig;
  /** The built-in demo, which is labelled wherever it shows. */
  readonly demo: boolean;
  readonly connect_ms: number;
  /** What `auto` found, once a probe has asked. */
  engine: Engine;
  health: Health = 'unknown';
  /** Why it is down, in our words; `loading` when it says so itself. */
  reason = '';
  models: ReadonlyMap<string, ModelInfo> = new Map();
  in_flight = 0;
  /** While half-open: one request is finding out whether it is really back. */
  trying = false;
  /** How long a slot is held, in milliseconds: a moving average, for honest estimates. */
  hold_ms = 1_000;

  #failures = 0;
  #seen_at = -Infinity;
  readonly #root: string;
  readonly #path: string;
  readonly #connection: Connection;

  constructor(name: string, config: BackendConfig, connect_ms: number, demo = false) {
    this.name = name;
    this.config = config;
    this.demo = demo;
    this.connect_ms = connect_ms;
    this.engine = ENGINES[config.engine === 'auto' ? 'openai' : config.engine];
    const url = new URL(config.url);
    this.#path = url.pathname.replace(/\/+$/, '');
    this.#root = this.#path.endsWith(this.engine.base) ? this.#path.slice(0, -this.engine.base.length) : this.#path;
    const authorization = config.key === undefined ? undefined : `Bearer ${config.key}`;
    this.#connection = new Connection(url.origin, { connect_ms, idle_ms: SOCKET_IDLE_MS, authorization });
  }

  get slots(): number {
    return this.config.slots ?? this.engine.slots;
  }

  get available(): boolean {
    return this.health !== 'down';
  }

  get free(): boolean {
    // Streams from before the outage do not stand in the way of the one that tries it.
    return this.available && this.in_flight < this.slots && !(this.health === 'half-open' && this.trying);
  }

  /** The share of its slots in use: what routing compares. */
  get load(): number {
    return this.in_flight / this.slots;
  }

  /** What must never appear in a message to a caller. */
  get secrets(): readonly string[] {
    const { key, url } = this.config;
    return [...(key === undefined ? [] : [key]), url, new URL(url).host];
  }

  /** A path under the OpenAI base: as configured, or the engine's own when the URL has no path. */
  route(path: string): string {
    return `${this.#path === '' ? this.engine.base : this.#path}/${path}`;
  }

  /** A path from the server's root, for the engine's own routes. */
  at(path: string): string {
    return `${this.#root}${path}`;
  }

  send(ask: Ask, waits: Waits, signal: AbortSignal | undefined, fresh = false): Promise<HttpAnswer> {
    return this.#connection.send(ask, waits, signal, fresh);
  }

  /** Bytes flowed from it: it lives, whatever a probe says. */
  alive(now: number): void {
    this.#seen_at = now;
  }

  /** It answers a request: one that was tried is back, but only whole answers end a run of failures. */
  answering(now: number): void {
    this.#seen_at = now;
    this.health = 'up';
  }

  succeeded(now: number): void {
    this.answering(now);
    this.#failures = 0;
  }

  /** A request failed in a way that is the backend's fault: below HTTP, by its status, or in the middle of its answer. */
  failed(fault: HttpFault | 'status' | 'answer'): void {
    this.#failures += 1;
    const refused = fault instanceof HttpFault && fault.refused;
    if (refused || this.health === 'half-open' || this.#failures >= FAILURES_MAX) {
      this.health = 'down';
      this.reason = fault instanceof HttpFault ? fault.kind : `failed by ${fault}`;
    }
  }

  /** A probe's news: what it serves, or why it could not tell. */
  probed(
    now: number,
    news: { engine: Engine; models: ReadonlyMap<string, ModelInfo> } | { reason: string; fatal: boolean },
  ): void {
    if ('models' in news) {
      this.engine = news.engine;
      this.models = news.models;
      if (this.health === 'unknown') this.health = 'up';
      else if (this.health === 'down') this.health = 'half-open';
      return;
    }
    if (!news.fatal && now - this.#seen_at < LIFE_MS) return;
    this.health = 'down';
    this.reason = news.reason;
  }

  /** Nothing is sent to it any more. */
  async close(): Promise<void> {
    this.health = 'down';
    this.reason = 'removed';
    await this.#connection.close();
  }

  async destroy(): Promise<void> {
    await this.#connection.destroy();
  }
}
