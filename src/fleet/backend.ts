// One running engine at one URL, and what we know of it now: the only mutable noun, changed only inside fleet/.
//
// Its health is a breaker: failures in a row, or one refused connection, take it out; a probe that succeeds lets one
// request try it (half-open), and that request's success brings it back. Busy is not dead: while bytes flow from it, a
// probe that fails says nothing.
import { ENGINES } from './engines/all.ts';
import type { Capacity, Engine, ModelInfo } from './engines/engine.ts';
import { HttpFault } from './fault.ts';
import { Connection, type Ask, type HttpAnswer } from './http.ts';
import { Loads } from './loads.ts';
import { Measure } from './measure.ts';
import { Token } from './token.ts';
import type { BackendConfig, Deployment } from '../types.ts';

/** One way to serve a call: a backend, the model's name there, and its public name (a fallback's is another than asked). */
export interface Candidate {
  readonly backend: Backend;
  readonly name: string;
  readonly model: string;
  /** What the configuration says of it; absent for a model that was discovered. */
  readonly deployment?: Deployment;
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
  capacity: Capacity = {};
  in_flight = 0;
  /** Requests it works on that are not ours, as far as it tells. */
  others = 0;
  /** Slots that class `batch` has, by what gives each back; the youngest last. */
  readonly lent = new Set<() => void>();
  /** While half-open: one request is finding out whether it is really back. */
  trying = false;
  /** How long a slot is held, in milliseconds: a moving average, for honest estimates. */
  hold_ms = 1_000;
  readonly loads = new Loads();
  /** How many bytes of a prompt make a token, by model. */
  readonly measure = new Measure();
  /** What goes with each request, where a code is exchanged for it. */
  readonly token: Token | undefined;
  /** What must never appear in a message to a caller; worked out once, since each answer is read with it at hand. */
  readonly secrets: readonly string[];

  #failures = 0;
  #seen_at = -Infinity;
  /** Since when it says that it is loading. */
  #loading_at: number | undefined;
  readonly #root: string;
  readonly #path: string;
  /** By origin: a service behind a token exchange has up to three. */
  readonly #connections = new Map<string, Connection>();
  readonly #origin: string;

  constructor(name: string, config: BackendConfig, connect_ms: number, demo = false) {
    this.name = name;
    this.config = config;
    this.demo = demo;
    this.connect_ms = connect_ms;
    this.engine = ENGINES[config.engine === 'auto' ? 'openai' : config.engine];
    const url = new URL(config.url);
    this.#path = url.pathname.replace(/\/+$/, '');
    // Of one whose kind is not known yet, whatever base it may be.
    const base = config.engine === 'auto' ? (/\/v[13]$/.exec(this.#path)?.[0] ?? '') : this.engine.base;
    this.#root = this.#path.endsWith(base) ? this.#path.slice(0, this.#path.length - base.length) : this.#path;
    this.#origin = url.origin;
    this.secrets = secretsOf(config);
    const { exchange } = config;
    if (exchange !== undefined) {
      this.token = new Token(exchange.token, (ask, waits, signal) => this.send(ask, waits, signal), connect_ms);
    }
  }

  get slots(): number {
    return this.config.slots ?? this.capacity.slots ?? this.engine.slots;
  }

  /** Whether token ids are taken as embedding inputs. */
  get takes_tokens(): boolean {
    return this.engine.token_inputs && this.config.exchange?.form !== 'envelope';
  }

  /** Most inputs of one embeddings request. */
  get inputs_max(): number {
    // One text a request is all its own form can say.
    if (this.config.exchange?.form === 'envelope') return 1;
    return this.config.inputs_max ?? this.capacity.inputs_max ?? this.engine.inputs_max;
  }

  get available(): boolean {
    return this.health !== 'down';
  }

  get free(): boolean {
    // Streams from before the outage do not stand in the way of the one that tries it.
    return this.available && this.in_flight < this.slots && !(this.health === 'half-open' && this.trying);
  }

  /** How many slots class `batch` may have of it: all while nobody else uses it, else so many percent. */
  #lends(share: number): number {
    const others = this.in_flight - this.lent.size + this.others;
    return others === 0 ? this.slots : Math.floor((this.slots * share) / 100);
  }

  /** Slots that class `batch` may take now: what others leave, of a model that is in memory where others use it too. */
  spare(name: string, share: number): number {
    if (!this.free) return 0;
    const others = this.in_flight - this.lent.size + this.others;
    if (others > 0 && this.resident(name) === false) return 0;
    if (this.health === 'half-open') return this.in_flight === 0 ? 1 : 0;
    return Math.max(0, Math.min(this.#lends(share) - this.lent.size, this.slots - this.in_flight - this.others));
  }

  /** Takes slots back from class `batch` until `count` are, or as many as it has beyond its share: the youngest first. */
  reclaim(share: number, count: number): void {
    const wanted = Math.max(count, this.lent.size - this.#lends(share));
    if (wanted <= 0) return;
    for (const yields of [...this.lent].slice(-wanted)) {
      this.lent.delete(yields);
      yields();
    }
  }

  /** It is loading, and will be there before so long: worth waiting for. */
  comesWithin(wait_ms: number): boolean {
    const left_ms = this.loadingLeft(performance.now());
    return left_ms !== undefined && left_ms <= wait_ms;
  }

  /** The share of its slots in use: what routing compares. */
  get load(): number {
    return (this.in_flight + this.others) / this.slots;
  }

  /** How long until it has loaded, in milliseconds, where it says that it is loading and has been seen to before. */
  loadingLeft(now: number): number | undefined {
    if (this.#loading_at === undefined) return undefined;
    const took_ms = this.loads.tookMs(STARTING);
    return took_ms === undefined ? undefined : Math.max(0, this.#loading_at + took_ms - now);
  }

  /** Whether anything is asked of it over TLS. */
  get secure(): boolean {
    const { url, exchange } = this.config;
    return [url, exchange?.embedding_url, exchange?.token.url].some((one) => one?.startsWith('https:') === true);
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
    return this.#connection(ask.origin ?? this.#origin).send(ask, waits, signal, fresh);
  }

  #connection(origin: string): Connection {
    let connection = this.#connections.get(origin);
    if (connection === undefined) {
      const { key, tls } = this.config;
      const authorization = key === undefined ? undefined : `Bearer ${key}`;
      connection = new Connection(origin, { connect_ms: this.connect_ms, idle_ms: SOCKET_IDLE_MS, authorization, tls });
      this.#connections.set(origin, connection);
    }
    return connection;
  }

  /** Bytes flowed from it: it lives, whatever a probe says. */
  alive(now: number): void {
    this.#seen_at = now;
  }

  /** It answers a request: one that was tried is back, but only whole answers end a run of failures. */
  answering(now: number): void {
    this.#seen_at = now;
    this.health = 'up';
    this.reason = '';
  }

  /** It answers a request by saying that it is loading: nobody else need hear that before it is there. */
  startsLoading(now: number): void {
    this.health = 'down';
    this.reason = 'loading';
    this.#loading_at ??= now;
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
  probed(now: number, news: Told | { reason: string; fatal: boolean }): void {
    if ('models' in news) {
      this.engine = news.engine;
      this.models = news.models;
      this.capacity = news.capacity;
      this.others = Math.max(0, (news.running ?? 0) - this.in_flight);
      this.loads.forget();
      if (this.#loading_at !== undefined) this.loads.took(STARTING, now - this.#loading_at);
      this.#loading_at = undefined;
      if (this.health === 'unknown') this.health = 'up';
      else if (this.health === 'down') this.health = 'half-open';
      this.reason = '';
      return;
    }
    if (!news.fatal && now - this.#seen_at < LIFE_MS) return;
    this.health = 'down';
    this.reason = news.reason;
    if (news.reason === 'loading') this.#loading_at ??= now;
    else this.#loading_at = undefined;
  }

  /** Whether asking for this model would load nothing; `undefined` where that is not told. */
  resident(name: string): boolean | undefined {
    return this.loads.loaded(name) ? true : this.info(name)?.resident;
  }

  /** What it tells of a model, under the name it is asked by: without a tag Ollama takes `:latest`. */
  info(name: string): ModelInfo | undefined {
    return this.models.get(name) ?? (this.engine.name === 'ollama' ? this.models.get(`${name}:latest`) : undefined);
  }

  /** Nothing is sent to it any more. */
  async close(): Promise<void> {
    this.health = 'down';
    this.reason = 'removed';
    await Promise.all([...this.#connections.values()].map((one) => one.close()));
  }

  async destroy(): Promise<void> {
    await Promise.all([...this.#connections.values()].map((one) => one.destroy()));
  }
}

function secretsOf({ key, url, exchange }: BackendConfig): readonly string[] {
  const urls = [url, exchange?.embedding_url, exchange?.token.url].filter((one) => one !== undefined);
  const codes = [key, exchange?.token.code, ...Object.values(exchange?.token.fields ?? {})];
  return [...codes.filter((one) => one !== undefined), ...urls.flatMap((one) => [one, new URL(one).host])];
}

/** What a probe has learned. */
interface Told {
  readonly engine: Engine;
  readonly models: ReadonlyMap<string, ModelInfo>;
  readonly capacity: Capacity;
  /** Requests it works on, ours too. */
  readonly running: number | undefined;
}

/** The load of the whole server, among those of models. */
const STARTING = '';
