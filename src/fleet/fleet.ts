// All backends and what we know of them now: the only live memory. It keeps each backend probed, publishes the models
// they serve, hands out slots, and changes shape when the configuration does without touching what is under way.
import { Backend, type Candidate } from './backend.ts';
import { contextOf } from './standing.ts';
import type { ModelInfo } from './engines/engine.ts';
import { load } from './load.ts';
import { probe } from './probe.ts';
import { Queue } from './queue.ts';
import { matches } from '../wire/glob.ts';
import type { BackendConfig, Config, Deployment, Endpoint, Limits, ModelConfig } from '../types.ts';

/** A public name, and who can answer for it. */
export interface PublicModel {
  readonly id: string;
  readonly candidates: readonly Candidate[];
  readonly fallback: readonly string[];
  /** What the configuration tells callers of it. */
  readonly metadata: ModelConfig['metadata'];
  /** How its calls are answered, where the configuration says so. */
  readonly mode?: ModelConfig['mode'];
}

/** A place on a backend for one request, given back exactly once. */
export interface Slot extends Candidate {
  release(): void;
}

/** What a request found out about its backend. */
export type News = 'answering' | 'succeeded' | 'loading' | Parameters<Backend['failed']>[0];

export interface FleetEvents {
  /** A backend's health changed; `was` is `unknown` the first time. */
  health(backend: Backend, was: Backend['health']): void;
  /** Its certificate is not looked at, as the configuration says. */
  unverified(backend: Backend): void;
  /** It may have room for one more. */
  room?(): void;
}

/** How backends are asked whether they live. */
export interface Probing {
  readonly every_ms: number;
  /** Between two probes of a backend that is down. */
  readonly soon_ms: number;
  /** Longest wait for one answer. */
  readonly wait_ms: number;
}

const PROBING: Probing = { every_ms: 10_000, soon_ms: 1_000, wait_ms: 3_000 };
const RETRIES_MIN = 3;
const RETRIES_SHARE = 0.2;

export class Fleet {
  readonly queue = new Queue<Slot>();
  readonly #backends = new Map<string, Backend>();
  readonly #probing = new Map<Backend, NodeJS.Timeout | undefined>();
  readonly #retired = new Set<Backend>();
  readonly #events: FleetEvents;
  readonly #pace: Probing;
  #config: Pick<Config, 'models' | 'batch'> = { models: undefined, batch: undefined };
  #models: ReadonlyMap<string, PublicModel> = new Map();
  #retrying = 0;
  #stopped = false;

  constructor(events: FleetEvents, probing: Partial<Probing> = {}) {
    this.#events = events;
    this.#pace = { ...PROBING, ...probing };
  }

  get backends(): ReadonlyMap<string, Backend> {
    return this.#backends;
  }

  get models(): ReadonlyMap<string, PublicModel> {
    return this.#models;
  }

  /** Requests that hold a slot now. */
  get in_flight(): number {
    let sum = 0;
    for (const backend of [...this.#backends.values(), ...this.#retired]) sum += backend.in_flight;
    return sum;
  }

  /**
   * Takes the configuration's shape: unchanged backends keep their state and their connections, new ones are probed, and
   * removed ones finish what they carry and close. Resolves once every new backend has been probed.
   */
  async configure(
    config: Pick<Config, 'models' | 'limits'> & Partial<Pick<Config, 'batch'>>,
    backends: ReadonlyMap<string, BackendConfig>,
    demo?: string,
  ): Promise<void> {
    this.#config = { models: config.models, batch: config.batch };
    const { connect_ms } = config.limits;
    for (const [name, backend] of this.#backends) {
      const unchanged = backend.connect_ms === connect_ms && same(backends.get(name), backend.config);
      if (!unchanged) this.#retire(backend);
    }
    const added: Backend[] = [];
    for (const [name, wanted] of backends) {
      if (this.#backends.has(name)) continue;
      const backend = new Backend(name, wanted, connect_ms, name === demo);
      this.#backends.set(name, backend);
      if (wanted.tls?.verify === false && backend.secure) this.#events.unverified(backend);
      added.push(backend);
    }
    this.#publish();
    await Promise.all(added.map((backend) => this.#probe(backend)));
  }

  /**
   * A slot on the first candidate that has one, or `undefined`: then it is for `wait`. With `yields` it is of class `batch`:
   * of what others leave, and `yields` is called when they want it back.
   */
  hold(candidates: readonly Candidate[], yields?: () => void): Slot | undefined {
    const candidate =
      yields === undefined
        ? candidates.find(({ backend }) => backend.free)
        : candidates.find((one) => this.#spare(one) > 0);
    return candidate === undefined ? undefined : this.#slot(candidate, yields);
  }

  /** How many more calls of class `batch` there is room for on these. */
  spare(candidates: readonly Candidate[]): number {
    const backends = new Set<Backend>();
    let sum = 0;
    for (const candidate of candidates) {
      if (backends.has(candidate.backend)) continue;
      const spare = this.#spare(candidate);
      if (spare > 0) backends.add(candidate.backend);
      sum += spare;
    }
    return sum;
  }

  #spare({ backend, name }: Candidate): number {
    return this.queue.awaits(backend) ? 0 : backend.spare(name, this.#share);
  }

  get #share(): number {
    return this.#config.batch?.share ?? 0;
  }

  /** Waits for a slot on any of the candidates; see `Queue.wait` for how it ends otherwise. */
  async wait(
    model: string,
    candidates: readonly Candidate[],
    patience: { wait_ms: number; length_max: number },
    signal: AbortSignal,
  ): Promise<Slot> {
    // What class `batch` holds goes to who waits, at once: one slot for each.
    candidates.find(({ backend }) => backend.available && backend.lent.size > 0)?.backend.reclaim(this.#share, 1);
    try {
      return await this.queue.wait(model, candidates, patience, signal);
    } finally {
      for (const { backend } of candidates) this.#bury(backend);
    }
  }

  /**
   * Loads a model that is not in memory: once for all who wait, and it goes on when they leave. By then the fleet knows what
   * context it was given. @throws HttpFault, Refused, or the signal's reason
   */
  async load(candidate: Candidate, endpoint: Endpoint, limits: Limits, signal: AbortSignal): Promise<void> {
    const { backend, name } = candidate;
    const whole = async (): Promise<void> => {
      await load(candidate, endpoint, limits);
      await this.#probe(backend);
    };
    await backend.loads.join(name, whole, signal);
  }

  /** Opens the queue or sends a probe, as it follows from the news. */
  tell(backend: Backend, news: News): void {
    const was = backend.health;
    if (news === 'answering') backend.answering(performance.now());
    else if (news === 'succeeded') backend.succeeded(performance.now());
    else if (news === 'loading') backend.startsLoading(performance.now());
    else backend.failed(news);
    if (backend.health === was) return;
    this.#changed(backend, was);
  }

  /**
   * Whether one more attempt fits the budget: a fifth of what is in flight, at least three. A fleet in trouble gets no
   * second wave on top of the first.
   */
  beginRetry(): boolean {
    if (this.#retrying + 1 > Math.max(RETRIES_MIN, this.in_flight * RETRIES_SHARE)) return false;
    this.#retrying += 1;
    return true;
  }

  endRetries(count: number): void {
    this.#retrying -= count;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#probing.values()) clearTimeout(timer);
    await Promise.all([...this.#backends.values(), ...this.#retired].map((backend) => backend.destroy()));
  }

  #slot(candidate: Candidate, yields?: () => void): Slot {
    const { backend } = candidate;
    const since = performance.now();
    const tries = backend.health === 'half-open';
    backend.in_flight += 1;
    if (yields !== undefined) backend.lent.add(yields);
    else if (backend.lent.size > 0) backend.reclaim(this.#share, 0);
    if (tries) backend.trying = true;
    let held = true;
    return {
      ...candidate,
      release: () => {
        if (!held) return;
        held = false;
        backend.in_flight -= 1;
        if (yields !== undefined) backend.lent.delete(yields);
        if (tries) backend.trying = false;
        backend.hold_ms += (performance.now() - since - backend.hold_ms) / 8;
        this.#offer(backend);
        this.#bury(backend);
      },
    };
  }

  #offer(backend: Backend): void {
    this.queue.offer(backend, (candidate) => this.#slot(candidate));
    this.#events.room?.();
  }

  async #probe(backend: Backend): Promise<void> {
    clearTimeout(this.#probing.get(backend));
    this.#probing.set(backend, undefined);
    const news = await probe(backend, this.#pace.wait_ms);
    if (this.#stopped || this.#backends.get(backend.name) !== backend) return;
    const was = backend.health;
    const known = backend.models;
    backend.probed(performance.now(), news);
    if (!same([...known], [...backend.models])) this.#publish();
    if (backend.health !== was) return this.#changed(backend, was);
    this.#schedule(backend);
    // Another kind of engine than was thought may have more slots.
    this.#offer(backend);
  }

  #changed(backend: Backend, was: Backend['health']): void {
    this.#events.health(backend, was);
    this.#schedule(backend);
    this.#offer(backend);
  }

  #schedule(backend: Backend): void {
    if (this.#stopped || this.#backends.get(backend.name) !== backend) return;
    clearTimeout(this.#probing.get(backend));
    const wait_ms = backend.health === 'down' ? this.#pace.soon_ms : this.#pace.every_ms;
    // A little apart, so that many gateways do not ask in step.
    const timer = setTimeout(() => void this.#probe(backend), wait_ms * (0.9 + Math.random() * 0.2));
    this.#probing.set(backend, timer.unref());
  }

  #retire(backend: Backend): void {
    this.#backends.delete(backend.name);
    clearTimeout(this.#probing.get(backend));
    this.#probing.delete(backend);
    this.#retired.add(backend);
    this.#bury(backend);
  }

  /** A removed backend closes once it carries nothing and nobody who was routed to it waits. */
  #bury(backend: Backend): void {
    if (this.#stopped || !this.#retired.has(backend) || backend.in_flight > 0 || this.queue.awaits(backend)) return;
    this.#retired.delete(backend);
    void backend.close();
  }

  /** What is public: the configured models, and the discovered ones that may be published under their own names. */
  #publish(): void {
    const models = new Map<string, PublicModel>();
    for (const [id, { serve, ...told }] of this.#config.models ?? []) {
      models.set(id, { id, candidates: serve.flatMap((one) => this.#candidate(id, one)), ...told });
    }
    const discovered = new Map<string, Candidate[]>();
    for (const backend of this.#backends.values()) {
      const { publish } = backend.config;
      for (const name of backend.models.keys()) {
        const open = publish.length > 0 ? matches(publish, name) : this.#config.models === undefined;
        if (!open || models.has(name)) continue;
        discovered.set(name, [...(discovered.get(name) ?? []), { backend, name, model: name }]);
      }
    }
    for (const [id, candidates] of discovered) models.set(id, { id, candidates, fallback: [], metadata: {} });
    this.#models = models;
  }

  #candidate(model: string, deployment: Deployment): Candidate[] {
    const { backend, name } = deployment;
    const found = this.#backends.get(backend);
    return found === undefined ? [] : [{ backend: found, name, model, deployment }];
  }
}

/** Where a model's lines go that none of our own engines has; `undefined`: here. */
export function upstreamOf(model: PublicModel | undefined): Candidate | undefined {
  const candidates = model?.candidates ?? [];
  if (candidates.some(({ backend }) => backend.config.batch !== 'upstream')) return undefined;
  return candidates.find(({ backend }) => backend.available) ?? candidates[0];
}

/** What `/v1/models` tells of a public model: the smallest context and the capabilities all its deployments share. */
export function describe(model: PublicModel): Pick<ModelInfo, 'context_length' | 'capabilities'> {
  const infos = model.candidates.flatMap(({ backend, name }) => backend.models.get(name) ?? []);
  const lengths = model.candidates.flatMap((candidate) => contextOf(candidate) ?? []);
  const [first, ...others] = infos.map((info) => info.capabilities);
  return {
    context_length: lengths.length > 0 ? Math.min(...lengths) : undefined,
    capabilities: (first ?? []).filter((one) => others.every((list) => list.includes(one))),
  };
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
