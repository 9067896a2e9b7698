// The running whole: built from a configuration, it opens its ports, keeps its fleet, takes a new configuration without
// breaking a stream, and drains when told to stop. `main` builds one; tests build many.
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { createApp } from './app.ts';
import { batchMeans, refuseMoving } from './batches.ts';
import type { Batching } from './batch/batching.ts';
import { AnswerCache, type Shelf } from './cache/cache.ts';
import { Bodies } from './edge/bodies.ts';
import { keyring } from './edge/keyring.ts';
import { LAST_IDLE_MS, WrongSocket, listen, type Door, type OpenListener } from './edge/listener.ts';
import { Present } from './ops/present.ts';
import type { Reply } from './edge/reply.ts';
import { Embeddings, WINDOW_MS } from './embed/embed.ts';
import { USUAL_PORTS } from './fleet/discover.ts';
import { Fleet, type FleetEvents, type Probing } from './fleet/fleet.ts';
import { within } from './fleet/patience.ts';
import { Surroundings, type Kind } from './fleet/surroundings.ts';
import { openCertificates } from './ops/certificates.ts';
import type { Log } from './ops/log.ts';
import { openMetrics } from './ops/metrics.ts';
import { Outbox } from './ops/outbox.ts';
import type { Condition } from './pages/health.ts';
import type { Ground } from './serve.ts';
import type { RedisEvent } from './store/fault.ts';
import { openStore, retire, type Store } from './store/store.ts';
import { parseRanges } from './wire/address.ts';
import { GatewayError } from './wire/errors.ts';
import type { CacheConfig, Config, Listener } from './types.ts';

export interface GatewayOptions {
  readonly config: Config;
  readonly version: string;
  readonly log: Log;
  /** File descriptors of open sockets for the first listeners, in their order; the others open their own. */
  readonly sockets?: readonly number[];
  /** Where engines are looked for when none is configured; tests look elsewhere. */
  readonly ports?: readonly number[];
  readonly look_every_ms?: number;
  readonly probing?: Partial<Probing>;
  /** How long small embeddings calls wait for others while their backend is busy. */
  readonly window_ms?: number;
  /** Aborted when it is told to stop while it starts: then the first probes are not waited for. */
  readonly stopping?: AbortSignal;
}

export interface Gateway {
  readonly listeners: readonly OpenListener[];
  readonly fleet: Fleet;
  /** `undefined`: the configuration has none. */
  readonly batching: Batching | undefined;
  /** What the fleet is made of now. */
  readonly kind: Kind | undefined;
  /** Takes on a new configuration whole. Rejects, with nothing changed, when a new port cannot be opened. */
  reload(config: Config): Promise<void>;
  /** For the metrics: how a reload ended. */
  reloaded(result: 'ok' | 'refused'): void;
  /**
   * Stops accepting, lets what is under way finish for `drain_ms`, tells the rest, and closes everything; an idle connection
   * once it has been silent for `idle_ms`.
   */
  stop(idle_ms?: number): Promise<void>;
}

/** After the rest has been told, it has this long to hear it. */
const LAST_WORDS_MS = 1_000;
/** Then connections are cut off. */
const CUT_MS = 100;
const LOOK_EVERY_MS = 30_000;

/** Rejects with the system's error when a port cannot be had; then nothing is left open. */
export async function startGateway({
  config,
  version,
  log,
  sockets = [],
  ports = USUAL_PORTS,
  look_every_ms = LOOK_EVERY_MS,
  probing = {},
  window_ms = WINDOW_MS,
  stopping,
}: GatewayOptions): Promise<Gateway> {
  const instance = randomUUID();
  const replies = new Present<Reply>();
  const connections = new Set<Socket>();
  const bodies = new Bodies();
  const embeddings = new Embeddings(window_ms);
  let condition: Condition = 'starting';
  /** Called when the last reply under way has ended. */
  let emptied: (() => void) | undefined;

  const events: FleetEvents = {
    health: (backend, was) => {
      const { name, health, reason } = backend;
      const fields = { backend: name, was, reason: health === 'down' ? reason : undefined };
      if (health === 'down') log.warn('backend down', fields);
      else log.info(`backend ${health}`, fields);
    },
    unverified: ({ name }) => {
      log.warn('the certificate of a backend is not verified: whoever stands between reads and changes all', {
        backend: name,
      });
    },
  };
  const fleet = new Fleet({ ...events, room: () => batching?.room() }, probing);
  const surroundings = new Surroundings(fleet, {
    ports,
    look_every_ms,
    report: (kind) => {
      if (kind === 'demo')
        log.warn('no engine found: serving the built-in demo model until one answers', { ports: ports.join(' ') });
      else log.info(`backends ${kind}`, { backends: [...fleet.backends.keys()].join(' ') });
    },
  });
  const certificates = openCertificates(log);
  const metrics = openMetrics(
    {
      in_flight: () => replies.size,
      queued: () => fleet.queue.length,
      connections: () => connections.size,
      connections_max: () => ground.config.limits.connections_max,
      body_bytes: () => bodies.held_bytes,
      redis_up: () => (ground.config.redis === undefined ? undefined : store.limits.state().source === 'redis'),
      *backends() {
        for (const one of fleet.backends.values()) {
          // Half-open counts: with nobody asking it stays so until morning, and is no outage.
          yield { name: one.name, up: one.available, in_flight: one.in_flight, slots: one.slots };
        }
      },
      *models() {
        for (const { id, candidates } of fleet.models.values()) {
          yield { name: id, deployments_up: candidates.filter(({ backend }) => backend.available).length };
        }
      },
      has: () => ({ batch: batching !== undefined, cache: ground.config.cache !== undefined }),
      lines: () => batching?.under_way,
      waiting: () => batching?.waiting,
      batches: async () => (await batching?.counts()) ?? new Map(),
      cache_bytes: () => ground.cache?.bytes,
      certificates: () => certificates.read(ground.config.metrics_certificates),
    },
    version,
  );

  const report = (event: RedisEvent): void => {
    if (event.type === 'up') {
      log.info('redis answers: limits are shared', { away_ms: Math.round(event.away_ms) });
      return;
    }
    metrics.redis_errors.inc({ kind: event.fault }, event.type === 'fault' ? event.count : 1);
    if (event.type === 'away') {
      log.warn("redis is away: limits fall to this process's share", { kind: event.fault, cause: event.cause });
    } else {
      log.warn('redis faults', { kind: event.fault, cause: event.cause, count: event.count });
    }
  };

  let store = openStore(config, report);
  let batching: Batching | undefined;
  let opening: { stop(): Promise<void> } | undefined;
  let cache: AnswerCache | undefined;
  let ground = groundOf(config, store);
  let proxies = parseRanges(config.limits.trusted_proxies);
  let metrics_allow = parseRanges(config.metrics_allow);
  let listeners: readonly OpenListener[] = [];
  /** No longer configured; their last connections go on. */
  const leaving = new Set<OpenListener>();

  function groundOf(next: Config, from: Store): Ground {
    const failures = from.failuresAt(next.auth_failures);
    return {
      config: next,
      keys: keyring(next.keys),
      store: from.limits,
      failures,
      fleet,
      bodies,
      embeddings,
      cache: next.cache === undefined ? undefined : (cache ??= openCache(next.cache)),
      batching,
      log,
      metrics,
    };
  }

  const handler = createApp({
    instance,
    version,
    ground: () => ground,
    proxies: () => proxies,
    metricsAllow: () => metrics_allow,
    condition: () => condition,
    outbox: new Outbox(),
    enter: (reply) => {
      const leave = replies.enter(reply);
      return () => {
        leave();
        if (replies.size === 0) emptied?.();
      };
    },
  });
  const door: Door = {
    instance,
    handler,
    connections,
    limits: () => ground.config.limits,
    refused: metrics.refused,
  };

  /** The listeners a configuration asks for: those already open stay, the others are opened, or none is. */
  async function open(wanted: readonly Listener[], sockets: readonly number[] = []): Promise<readonly OpenListener[]> {
    const opened: OpenListener[] = [];
    try {
      const all: OpenListener[] = [];
      for (const [at, one] of wanted.entries()) {
        const old = listeners.find(
          (other) => other.config.port === one.port && other.config.host === one.host && !all.includes(other),
        );
        if (old === undefined) opened.push(await listen(one, door, sockets[at]));
        all.push(old ?? (opened.at(-1) as OpenListener));
      }
      return all;
    } catch (error) {
      await Promise.all(opened.map((one) => one.close(0)));
      throw error;
    }
  }

  function openCache(first: CacheConfig): AnswerCache {
    const config = (): CacheConfig => ground.config.cache ?? first;
    // Redis, where gateways share one; else beside the batches, where there are any.
    const shelf = (): Shelf | undefined => store.answers(() => config().store_bytes_max) ?? batching?.books.answers;
    // Connected from the start, so that the first who asks may find something.
    shelf();
    return new AnswerCache(config, {
      get: async (id) => await shelf()?.get(id),
      put: async (id, body, ttl_ms) => await shelf()?.put(id, body, ttl_ms),
    });
  }

  /** Loaded only where the configuration has batches: who has none pays for none. */
  async function openBatches(first: Config): Promise<void> {
    const { batch, database } = first;
    if (batch === undefined) return;
    const { openBatchingWhenever } = await import('./batch/whenever.ts');
    opening = await openBatchingWhenever({
      config: () => ground.config.batch ?? batch,
      database,
      body_idle_ms: () => ground.config.limits.body_idle_ms,
      answer_bytes_max: () => ground.config.cache?.store_bytes_max ?? 0,
      keep: (id, body) => ground.cache?.put(id, body),
      means: batchMeans(() => ground),
      opened: (opened) => {
        batching = opened;
        ground = groundOf(ground.config, store);
      },
    });
  }

  async function reload(next: Config): Promise<void> {
    refuseMoving(ground.config, next);
    for (const { handed_over, config: had } of listeners) {
      if (!handed_over || next.listen.some(({ host, port }) => host === had.host && port === had.port)) continue;
      throw new WrongSocket(
        `the socket that was handed over is ${had.host}:${had.port}, which "listen" no longer names`,
      );
    }
    const wanted = await open(next.listen);
    if (condition === 'draining') {
      await Promise.all(wanted.filter((one) => !listeners.includes(one)).map((one) => one.close(0)));
      throw new Error('a reload while draining');
    }
    const closing = listeners.filter((one) => !wanted.includes(one));
    listeners = wanted;
    const old = store;
    if (JSON.stringify(next.redis) !== JSON.stringify(ground.config.redis)) {
      store = openStore(next, report);
      void retire(old);
    }
    ground = groundOf(next, store);
    proxies = parseRanges(next.limits.trusted_proxies);
    metrics_allow = parseRanges(next.metrics_allow);
    log.level(next.log_level);
    for (const [at, one] of wanted.entries()) one.change(next.listen[at] ?? one.config);
    for (const one of closing) {
      leaving.add(one);
      void one.closed.then(() => leaving.delete(one));
      one.drain(LAST_IDLE_MS);
    }
    await surroundings.settle(next);
  }

  /** Resolves when no reply is under way and each has been accounted for. */
  async function ended(): Promise<void> {
    if (replies.size > 0) await new Promise<void>((resolve) => (emptied = resolve));
  }

  async function stop(idle_ms = LAST_IDLE_MS): Promise<void> {
    condition = 'draining';
    batching?.drain();
    log.info('draining', { in_flight: replies.size });
    surroundings.stop();
    for (const one of listeners) one.drain(idle_ms);
    const all = [...listeners, ...leaving];
    // Until the last connection has gone, since an idle one may bring another request.
    const quiet = Promise.all(all.map(({ closed }) => closed)).then(ended);
    await within(ground.config.limits.drain_ms, quiet);
    for (const reply of replies.all()) {
      reply.stop(
        new GatewayError('shutting_down', 'The gateway is shutting down. Try again shortly.', { retry_ms: 1_000 }),
      );
    }
    await within(LAST_WORDS_MS, ended());
    await Promise.all(all.map((one) => one.close(CUT_MS)));
    await opening?.stop();
    await fleet.stop();
    await store.close();
    log.info('stopped');
    log.flush();
  }

  try {
    listeners = await open(config.listen, sockets);
    const told = stopping === undefined ? [] : [stopping.aborted ? undefined : once(stopping, 'abort')];
    await Promise.race([surroundings.settle(config), ...told]);
    await openBatches(config);
  } catch (error) {
    await opening?.stop();
    await Promise.all(listeners.map((one) => one.close(0)));
    await store.close();
    throw error;
  }
  condition = 'ready';
  return {
    get listeners() {
      return listeners;
    },
    get kind() {
      return surroundings.kind;
    },
    get batching() {
      return batching;
    },
    fleet,
    reload,
    reloaded: (result) => metrics.reloaded(result),
    stop,
  };
}
