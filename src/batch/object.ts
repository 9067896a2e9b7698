// Files, batches and lists of them as OpenAI's clients read them.
import type { Batch, Fault } from './records/batches.ts';
import type { StoredFile } from './records/files.ts';

/** Shapes: OpenAI's reference for the Files API, and openai-node 7.55's types. */
export function fileObject({ id, bytes, created_at, expires_at, filename, purpose }: StoredFile): object {
  return {
    id,
    object: 'file',
    bytes,
    created_at: seconds(created_at),
    expires_at: seconds(expires_at),
    filename,
    purpose,
    status: 'processed',
    status_details: null,
  };
}

/**
 * Flat, as OpenAI has it; and once more as its own member `batch`, where readers of the original service look for it. `owner` is
 * for who may see those of all keys.
 */
export function batchObject(batch: Batch, owner = false): object {
  const models = JSON.parse(batch.models ?? '[]') as string[];
  const flat = {
    id: batch.id,
    object: 'batch',
    endpoint: `/v1/${batch.endpoint}`,
    model: models.length === 1 ? models[0] : null,
    errors: batch.errors === null ? null : { object: 'list', data: JSON.parse(batch.errors) as Fault[] },
    input_file_id: batch.input_file ?? '',
    completion_window: batch.completion_window,
    status: batch.status,
    output_file_id: batch.output_file,
    error_file_id: batch.error_file,
    created_at: seconds(batch.created_at),
    in_progress_at: seconds(batch.in_progress_at),
    expires_at: seconds(batch.expires_at),
    finalizing_at: seconds(batch.finalizing_at),
    completed_at: seconds(batch.completed_at),
    failed_at: seconds(batch.failed_at),
    expired_at: seconds(batch.expired_at),
    cancelling_at: seconds(batch.cancelling_at),
    cancelled_at: seconds(batch.cancelled_at),
    request_counts: { total: batch.total, completed: batch.completed, failed: batch.failed },
    usage: usageOf(batch),
    metadata: batch.metadata === null ? null : (JSON.parse(batch.metadata) as Record<string, string>),
    ...(batch.window_ms === null
      ? {}
      : { collation: { window_ms: batch.window_ms, closes_at: seconds(batch.closes_at), open: batch.open === 1 } }),
    ...(owner ? { owner: batch.owner } : {}),
  };
  return { ...flat, batch: flat };
}

export function listOf(objects: readonly object[], ids: readonly string[], has_more: boolean): object {
  return { object: 'list', data: objects, first_id: ids[0] ?? null, last_id: ids.at(-1) ?? null, has_more };
}

function usageOf(batch: Batch): object {
  const { tokens_in, tokens_out, tokens_cached, tokens_reasoning } = batch;
  return {
    input_tokens: tokens_in,
    input_tokens_details: { cached_tokens: tokens_cached },
    output_tokens: tokens_out,
    output_tokens_details: { reasoning_tokens: tokens_reasoning },
    total_tokens: tokens_in + tokens_out,
  };
}

function seconds(ms: number | null): number | null {
  return ms === null ? null : Math.floor(ms / 1000);
}
