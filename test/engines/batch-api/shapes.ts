// The nouns of OpenAI's Files and Batch API as it sends them, and what a test may tell the fake of it to do.

/** openai-node 7.55.0, resources/files.d.ts. */
export interface FileObject {
  readonly id: string;
  readonly object: 'file';
  readonly bytes: number;
  readonly created_at: number;
  readonly expires_at: number;
  readonly filename: string;
  readonly purpose: 'batch' | 'batch_output';
  readonly status: 'processed';
  readonly status_details: null;
}

type Status =
  | 'validating'
  | 'failed'
  | 'in_progress'
  | 'finalizing'
  | 'completed'
  | 'expired'
  | 'cancelling'
  | 'cancelled';

/** The states that a batch leaves by being polled. */
export type Passing = Extract<Status, 'validating' | 'in_progress' | 'finalizing' | 'cancelling'>;

export interface BatchError {
  readonly code: string;
  readonly message: string;
  readonly param: string | null;
  /** From 1; null where it is the whole file. */
  readonly line: number | null;
}

export interface BatchUsage {
  readonly input_tokens: number;
  readonly input_tokens_details: { readonly cached_tokens: number };
  readonly output_tokens: number;
  readonly output_tokens_details: { readonly reasoning_tokens: number };
  readonly total_tokens: number;
}

export interface Counts {
  readonly total: number;
  readonly completed: number;
  readonly failed: number;
}

/** openai-node 7.55.0, resources/batches.d.ts, with null where nothing is set. Times in seconds. */
export interface Batch {
  readonly id: string;
  readonly object: 'batch';
  readonly endpoint: string;
  readonly model: string | null;
  readonly errors: { readonly object: 'list'; readonly data: readonly BatchError[] } | null;
  readonly input_file_id: string;
  readonly completion_window: '24h';
  readonly status: Status;
  readonly output_file_id: string | null;
  readonly error_file_id: string | null;
  readonly created_at: number;
  readonly in_progress_at: number | null;
  readonly expires_at: number;
  readonly finalizing_at: number | null;
  readonly completed_at: number | null;
  readonly failed_at: number | null;
  readonly expired_at: number | null;
  readonly cancelling_at: number | null;
  readonly cancelled_at: number | null;
  readonly request_counts: Counts;
  readonly usage: BatchUsage | null;
  readonly metadata: Readonly<Record<string, string>> | null;
}

/** One request, of a batch's line or sent directly. */
export interface Asked {
  /** Undefined where it was sent directly. */
  readonly custom_id: string | undefined;
  readonly endpoint: string;
  readonly model: string;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface Answered {
  readonly status: number;
  readonly body: unknown;
}

/** `unanswered` never ends: its batch can only expire or be cancelled. Undefined is the usual answer. */
export type Answer = (asked: Asked) => Answered | 'unanswered' | undefined;

/** How a batch will end. */
export type Verdict =
  | 'completed'
  | 'completed_without_files'
  /** Completed without files, and their ids are '' and not null. */
  | { readonly ids: '' }
  | { readonly failed: readonly BatchError[] }
  /** Only so many lines were answered, the first of the file. */
  | { readonly expired: number }
  /** By somebody else, on OpenAI's own page. A caller's cancel keeps to the number as well. */
  | { readonly cancelled: number };

export type Route =
  | 'upload'
  | 'list_files'
  | 'retrieve_file'
  | 'content'
  | 'delete'
  | 'create'
  | 'list'
  | 'poll'
  | 'cancel'
  | 'direct'
  | 'models';

export type Fault =
  | { readonly status: number; readonly body?: unknown; readonly headers?: Readonly<Record<string, string>> }
  /** The connection is broken, and nothing was done. */
  | { readonly reset: true }
  /** It is done, and the connection is broken before the answer. */
  | { readonly reset_after: true }
  /** It waits until `release()`, then goes on; nothing is done for a caller who has left by then. */
  | { readonly held: true }
  /** It is done, and the answer waits until `release()`. */
  | { readonly held_after: true };

export interface Upload {
  readonly id: string;
  readonly filename: string;
  readonly purpose: string;
  readonly bytes: number;
  /** Lines by their line feeds; the last one needs none. */
  readonly line_count: number;
  /** `performance.now()` of when it was whole. */
  readonly at: number;
}

export interface Direct extends Omit<Asked, 'custom_id'> {
  /** The body as it came. */
  readonly raw: string;
}

/** "Enqueued token limit reached": the batch failed, and the same one may pass later. */
export function token_limit_exceeded(model: string, limit: number, organization = 'org-test'): Verdict {
  const message = `Enqueued token limit reached for ${model} in organization ${organization}. Limit: ${limit} enqueued tokens. Please try again once some in_progress batches have been completed.`;
  return { failed: [{ code: 'token_limit_exceeded', message, param: null, line: null }] };
}

/** Of one object, as the API reads a JSON body and a line. */
export function is_object(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
