// What Prometheus reads, and the one door to prom-client. Every label's values come from the configuration, from the
// backends or from our own tables, never from what a client sent: a scanner of model names makes no new series.
//
// A counter that appears with its first event hides that event: Prometheus sees no rise from nothing to one. So where the
// labels are known beforehand, it stands at 0 from the start.
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { ERROR_CODES } from '../wire/errors.ts';
import type { Outcome } from '../types.ts';
import { openLive, type Live } from './live.ts';

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const TOKEN_SECONDS = [0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2];
const CANCEL_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1];

const CODES = [...ERROR_CODES, 'connections_max'].map((code) => ({ code }));
const DECISIONS = ['local', 'redis', 'share'].flatMap((source) => [
  ...['admitted', 'unavailable'].map((decision) => ({ scope: 'all', decision, source })),
  ...['ip', 'key'].flatMap((scope) => ['rate', 'parallel'].map((decision) => ({ scope, decision, source }))),
]);
/** How an attempt fails: below HTTP (fleet/fault.ts), by its status, or in the middle of its answer. */
const ATTEMPTS = ['connect', 'dns', 'tls', 'reset', 'stale', 'garbage', 'timeout', 'aborted', 'status', 'answer'];
/** As store/fault.ts tells them apart. */
const REDIS = ['connect', 'timeout', 'auth', 'readonly', 'oom', 'other'].map((kind) => ({ kind }));

/**
 * So many outcomes are counted at once: ten label sets looked up for one request between two others find nothing in the
 * processor's caches, and cost twice what they cost one after another.
 */
const GATHERED_MAX = 256;

/** `completed` and `failed` are for good; `yielded` to others, `waited` for an engine, and `retried` run again. */
const LINE_RESULTS = ['completed', 'failed', 'yielded', 'waited', 'retried'] as const;
export type LineResult = (typeof LINE_RESULTS)[number];

export type Metrics = ReturnType<typeof openMetrics>;

export function openMetrics(live: Live, version: string) {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  // Gauges under a counter's ending, each the sum of another: `promtool check metrics` complains of them.
  for (const name of ['handles', 'requests', 'resources']) registry.removeSingleMetric(`nodejs_active_${name}_total`);
  openLive(live, registry);
  const registers = [registry];
  /** `known`: the labels it has before anything has happened. */
  const counter = <L extends string>(
    name: string,
    help: string,
    labelNames: L[],
    known: () => readonly Record<L, string>[] = () => [],
  ): Counter<L> =>
    new Counter({
      name,
      help,
      labelNames,
      registers,
      collect() {
        for (const labels of known()) this.inc(labels, 0);
      },
    });
  const backends = (): string[] => [...live.backends()].map(({ name }) => name);
  const histogram = <L extends string>(name: string, help: string, labelNames: L[], buckets = SECONDS): Histogram<L> =>
    new Histogram({ name, help, labelNames, buckets, registers });

  new Gauge({ name: 'lanyard_build_info', help: 'The version that runs.', labelNames: ['version'], registers }).set(
    { version },
    1,
  );
  const loaded = new Gauge({
    name: 'lanyard_config_last_reload_successful',
    help: 'Whether the configuration file was taken when it was last read; 0: an older one is in use.',
    registers,
  });
  loaded.set(1);

  const accepted = counter('lanyard_accepted_total', 'Requests that arrived on a hot route.', []);
  const requests = counter('lanyard_requests_total', 'Requests that ended, by how.', [
    'model',
    'backend',
    'status',
    'end',
  ]);
  const errors = counter('lanyard_errors_total', 'Refusals and failures by code.', ['code'], () => CODES);
  const by_key = counter('lanyard_key_requests_total', 'Requests that ended, by whose they were.', [
    'key',
    'model',
    'end',
  ]);
  const tokens = counter('lanyard_tokens_total', 'Tokens in and out.', ['model', 'backend', 'key', 'direction']);
  const retries = counter('lanyard_retries_total', 'Attempts beyond the first.', ['model']);
  const aborts = counter('lanyard_stream_aborts_total', 'Streams that broke off after their first byte.', [
    'model',
    'backend',
  ]);
  const first = histogram('lanyard_time_to_first_token_seconds', 'Of streams, from arrival to the first byte.', [
    'model',
    'backend',
  ]);
  const each = histogram(
    'lanyard_time_per_output_token_seconds',
    'Of streams, after the first token.',
    ['model', 'backend'],
    TOKEN_SECONDS,
  );
  const duration = histogram('lanyard_request_duration_seconds', 'From arrival to the end.', ['model', 'backend']);
  const queue = histogram('lanyard_queue_wait_seconds', 'Waiting for a slot.', ['model']);
  const cancel = histogram(
    'lanyard_cancel_seconds',
    "From the client leaving to the backend's socket closed.",
    ['backend'],
    CANCEL_SECONDS,
  );

  const after = counter(
    'lanyard_tokens_after_disconnect_total',
    "Tokens that streams' pace would have made from the client leaving to the backend's socket closed.",
    ['backend'],
    () => backends().map((backend) => ({ backend })),
  );
  const begun = new Set<string>();
  const loads = new Histogram({
    name: 'lanyard_model_load_seconds',
    help: 'Calls waiting for a model to be loaded.',
    labelNames: ['backend'],
    buckets: SECONDS,
    registers,
    collect() {
      for (const backend of backends()) {
        if (begun.has(backend)) continue;
        begun.add(backend);
        this.zero({ backend });
      }
    },
  });

  const reloads = counter('lanyard_config_reloads_total', 'Reloads of the configuration.', ['result'], () => [
    { result: 'ok' },
    { result: 'refused' },
  ]);

  const refused = (code: string): void => errors.inc({ code });

  const cached = counter('lanyard_cache_requests_total', 'Requests looked for in the cache.', ['result'], () =>
    live.has().cache ? ['hit', 'miss'].map((result) => ({ result })) : [],
  );
  const collected = counter('lanyard_collected_requests_total', 'Requests that joined a batch.', ['mode'], () =>
    live.has().batch ? ['batch-sync', 'batch-async'].map((mode) => ({ mode })) : [],
  );
  const lines = counter(
    'lanyard_batch_lines_total',
    'Lines of batches on our own engines, by what became of them.',
    ['result'],
    () => (live.has().batch ? LINE_RESULTS.map((result) => ({ result })) : []),
  );
  const shards = counter('lanyard_upstream_batches_total', "What was done with batches at backends' own Batch API.", [
    'backend',
    'event',
  ]);

  const limiter = counter(
    'lanyard_limiter_decisions_total',
    'By scope, decision and where it was made.',
    ['scope', 'decision', 'source'],
    () => DECISIONS,
  );
  /** What is counted with every request is gathered, and told to prom-client when somebody asks, or it has become much. */
  const gathered: { outcome: Outcome; ended_at: number }[] = [];
  const admitted = new Map<string, number>();
  let arrived = 0;

  function settle(): void {
    accepted.inc(arrived);
    arrived = 0;
    for (const [source, count] of admitted) limiter.inc({ scope: 'all', decision: 'admitted', source }, count);
    admitted.clear();
    for (const { outcome, ended_at } of gathered.splice(0)) count(outcome, ended_at);
  }

  function count(outcome: Outcome, now: number): void {
    const { model, backend, key } = outcome;
    if (outcome.line === true) return spent(outcome);
    requests.inc({ model, backend, status: String(outcome.status), end: outcome.end });
    by_key.inc({ key, model, end: outcome.end });
    if (outcome.code !== '') refused(outcome.code);
    // What a batch answers, its caller does not wait for as for other answers; the cache's take no time.
    if (outcome.mode !== undefined) return;
    duration.observe({ model, backend }, (now - outcome.started_at) / 1000);
    queue.observe({ model }, outcome.queued_ms / 1000);
    retries.inc({ model }, outcome.retries);
    spent(outcome);
    if (outcome.cancel_ms !== undefined) {
      cancel.observe({ backend }, outcome.cancel_ms / 1000);
      after.inc({ backend }, outcome.cancel_ms * paceOf(outcome, now));
    }
    // The first byte of a whole answer is also its last: among the streams' it would say nothing of waiting for a word.
    if (!outcome.streamed || outcome.first_byte_at === undefined) return;
    first.observe({ model, backend }, (outcome.first_byte_at - outcome.started_at) / 1000);
    aborts.inc({ model, backend }, outcome.end === 'backend_failed' ? 1 : 0);
    if (outcome.tokens_out !== undefined && outcome.tokens_out > 1) {
      each.observe({ model, backend }, (now - outcome.first_byte_at) / 1000 / (outcome.tokens_out - 1));
    }
  }

  /** Of a line of a batch only this: how long it took is nobody's waiting. */
  function spent({ model, backend, key, tokens_in, tokens_out }: Outcome): void {
    if (tokens_in !== undefined) tokens.inc({ model, backend, key, direction: 'in' }, tokens_in);
    if (tokens_out !== undefined) tokens.inc({ model, backend, key, direction: 'out' }, tokens_out);
  }

  return {
    limiter,
    /** A call waited so long for a model to be loaded. */
    loaded(backend: string, waited_ms: number): void {
      begun.add(backend);
      loads.observe({ backend }, waited_ms / 1000);
    },
    upstream_errors: counter(
      'lanyard_upstream_errors_total',
      'Attempts that failed, by kind.',
      ['backend', 'kind'],
      () => backends().flatMap((backend) => ATTEMPTS.map((kind) => ({ backend, kind }))),
    ),
    stream_events_invalid: counter(
      'lanyard_stream_events_invalid_total',
      'Events that should tell usage, an end or an error and are not JSON, passed on unchanged.',
      ['backend'],
      () => backends().map((backend) => ({ backend })),
    ),
    /** A request that might have been in the cache. */
    cached: (result: 'hit' | 'miss'): void => cached.inc({ result }),
    /** A request that joins a batch. */
    collected: (mode: string): void => collected.inc({ mode }),
    /** A line of a batch on our own engines. */
    line: (result: LineResult): void => lines.inc({ result }),
    /** What became of a batch at another's Batch API, and of what was asked of it. */
    upstream: (event: string, backend: string, by = 1): void => shards.inc({ event, backend }, by),
    log_lost: counter('lanyard_account_failures_total', 'Outcomes that could not be written down.', []),
    redis_errors: counter('lanyard_redis_errors_total', 'Calls to Redis that failed, by kind.', ['kind'], () =>
      live.redis_up() === undefined ? [] : REDIS,
    ),

    accept(): void {
      arrived += 1;
    },

    /** The limits let a request pass; `source`: who decided. */
    admitted(source: string): void {
      admitted.set(source, (admitted.get(source) ?? 0) + 1);
    },

    reloaded(result: 'ok' | 'refused'): void {
      reloads.inc({ result });
      loaded.set(Number(result === 'ok'));
    },

    /** Whatever refuses: the line, a page, Node's parser. The code is one of our own table. */
    refused,

    /** One finished request, which nothing changes any more; `now` on the clock of `started_at`. */
    record(outcome: Outcome, now: number): void {
      gathered.push({ outcome, ended_at: now });
      if (gathered.length >= GATHERED_MAX) settle();
    },

    /** Prometheus text format 0.0.4. */
    async text(): Promise<{ type: string; body: string }> {
      settle();
      return { type: registry.contentType, body: await registry.metrics() };
    },
  };
}

/** A burst shows no pace: what came in less is taken to have come in this time. */
const PACE_MS_MIN = 1_000;

/** Tokens a millisecond of a stream, from its first byte to now; 0 where nothing came. */
function paceOf({ tokens_told, first_byte_at, cancel_ms = 0 }: Outcome, now: number): number {
  if (first_byte_at === undefined || tokens_told === 0) return 0;
  return tokens_told / Math.max(PACE_MS_MIN, now - cancel_ms - first_byte_at);
}
