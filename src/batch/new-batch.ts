// A batch as it begins.
import type { AskedBatch } from './ask.ts';
import { batchId } from './ids.ts';
import type { Batch } from './records/batches.ts';

/** OpenAI's only completion window. */
const WINDOW = { name: '24h', ms: 86_400_000 } as const;

/** A batch that begins with nothing known of its lines. */
export function newBatch(
  owner: string,
  { input_file_id, endpoint, metadata, output_age_ms }: AskedBatch,
  under: Pick<Batch, 'idempotency_key' | 'asked'>,
  now: number,
): Batch {
  return {
    id: batchId(),
    owner,
    endpoint,
    status: 'validating',
    models: null,
    input_file: input_file_id,
    output_file: null,
    error_file: null,
    completion_window: WINDOW.name,
    created_at: now,
    in_progress_at: null,
    expires_at: now + WINDOW.ms,
    finalizing_at: null,
    completed_at: null,
    failed_at: null,
    expired_at: null,
    cancelling_at: null,
    cancelled_at: null,
    output_age_ms,
    total: 0,
    completed: 0,
    failed: 0,
    tokens_in: 0,
    tokens_out: 0,
    tokens_cached: 0,
    tokens_reasoning: 0,
    metadata: metadata === undefined ? null : JSON.stringify(metadata),
    errors: null,
    ...under,
    window: null,
    upstream: null,
    window_ms: null,
    closes_at: null,
    open: 0,
    ends_as: 'completed',
    ended_at: null,
    swept: 0,
    held_by: null,
  };
}
