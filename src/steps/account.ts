// What happened? One log line and the metrics of one finished request, once. It never throws: what has been answered
// cannot be taken back.
import type { Log } from '../ops/log.ts';
import type { Metrics } from '../ops/metrics.ts';
import type { Outcome } from '../types.ts';

export function account(outcome: Outcome, log: Log, metrics: Metrics): void {
  try {
    const now = performance.now();
    metrics.record(outcome, now);
    const first = outcome.first_byte_at;
    log.info(outcome.line === true ? 'line' : 'request', {
      id: outcome.id,
      endpoint: outcome.endpoint,
      key: outcome.key,
      model: outcome.model,
      backend: outcome.backend,
      streamed: outcome.streamed,
      status: outcome.status,
      end: outcome.end,
      code: outcome.code || undefined,
      cause: outcome.cause || undefined,
      retries: outcome.retries || undefined,
      shared: outcome.shared || undefined,
      tokens_in: outcome.tokens_in,
      tokens_out: outcome.tokens_out,
      queued_ms: rounded(outcome.queued_ms),
      load_ms: outcome.load_ms === 0 ? undefined : rounded(outcome.load_ms),
      first_byte_ms: first === undefined ? undefined : rounded(first - outcome.started_at),
      total_ms: rounded(now - outcome.started_at),
    });
  } catch {
    metrics.log_lost.inc();
  }
}

function rounded(ms: number): number {
  return Math.round(ms * 10) / 10;
}
