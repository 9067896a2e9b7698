// A batch as the gateway tells it (OpenAI's Batch object, and what Lanyard adds), read once into precise types. Whatever is
// missing or strange becomes "not known": a newer gateway must not stop an older command.
import { clean } from './text.ts';
import { isRecord, type Json } from '../../wire/record.ts';

export const STATUSES = [
  'validating',
  'in_progress',
  'finalizing',
  'completed',
  'failed',
  'expired',
  'cancelling',
  'cancelled',
] as const;

const TIMES = [
  'created_at',
  'in_progress_at',
  'finalizing_at',
  'completed_at',
  'failed_at',
  'expired_at',
  'cancelling_at',
  'cancelled_at',
  'expires_at',
] as const;

export interface Batch {
  readonly id: string;
  /** One of STATUSES, or a newer one. */
  readonly status: string;
  readonly endpoint: string;
  readonly model: string;
  /** Empty where there is none, as is every text here. */
  readonly input_file_id: string;
  readonly output_file_id: string;
  readonly error_file_id: string;
  readonly completion_window: string;
  readonly counts: { readonly total: number; readonly completed: number; readonly failed: number };
  readonly tokens: { readonly input: number; readonly output: number; readonly total: number } | undefined;
  /** Unix time in seconds. */
  readonly times: Readonly<Partial<Record<(typeof TIMES)[number], number>>>;
  readonly errors: readonly { readonly code: string; readonly message: string; readonly line: number | undefined }[];
  readonly metadata: Readonly<Record<string, string>>;
  /** Whose it is; told only where all are listed. */
  readonly owner: string;
  /** How long requests of the same kind are gathered into it, and until when. */
  readonly collation: { readonly window_ms: number; readonly closes_at: number | undefined } | undefined;
  /** As it came, without its copy of itself. */
  readonly told: Json;
}

/** `undefined` for what is no batch. */
export function readBatch(value: unknown): Batch | undefined {
  if (!isRecord(value) || typeof value['id'] !== 'string' || value['id'] === '') return undefined;
  const { batch: _copy, ...told } = value;
  const counts = recordOf(told['request_counts']);
  const usage = told['usage'];
  return {
    id: clean(value['id']),
    status: textOf(told['status']) || 'unknown',
    endpoint: textOf(told['endpoint']),
    model: textOf(told['model']),
    input_file_id: textOf(told['input_file_id']),
    output_file_id: textOf(told['output_file_id']),
    error_file_id: textOf(told['error_file_id']),
    completion_window: textOf(told['completion_window']),
    counts: {
      total: countOf(counts['total']),
      completed: countOf(counts['completed']),
      failed: countOf(counts['failed']),
    },
    tokens: isRecord(usage)
      ? {
          input: countOf(usage['input_tokens']),
          output: countOf(usage['output_tokens']),
          total: countOf(usage['total_tokens']),
        }
      : undefined,
    times: Object.fromEntries(TIMES.flatMap((name) => (isTime(told[name]) ? [[name, told[name]]] : []))),
    errors: listOf(recordOf(told['errors'])['data']).flatMap((error) =>
      isRecord(error)
        ? [
            {
              code: textOf(error['code']),
              message: textOf(error['message']),
              line: typeof error['line'] === 'number' ? error['line'] : undefined,
            },
          ]
        : [],
    ),
    metadata: Object.fromEntries(
      Object.entries(recordOf(told['metadata'])).map(([key, text]) => [clean(key), textOf(text)]),
    ),
    owner: textOf(told['owner']),
    collation: collationOf(told['collation']),
    told,
  };
}

/** Nothing more happens to it. */
export function hasEnded({ status }: Batch): boolean {
  return status === 'completed' || status === 'failed' || status === 'expired' || status === 'cancelled';
}

/** All that was wanted of it is there. */
export function isWhole({ status, counts }: Batch): boolean {
  return status === 'completed' && counts.failed === 0;
}

/** How many there are of each status: of all that are known, and of any other that was told. */
export function countsOf(batches: readonly Batch[]): Record<string, number> {
  const counts: Record<string, number> = Object.fromEntries(STATUSES.map((status) => [status, 0]));
  for (const { status } of batches) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

function collationOf(value: unknown): Batch['collation'] {
  if (!isRecord(value) || typeof value['window_ms'] !== 'number') return undefined;
  const closes_at = value['closes_at'];
  return { window_ms: value['window_ms'], closes_at: isTime(closes_at) ? closes_at : undefined };
}

function recordOf(value: unknown): Json {
  return isRecord(value) ? value : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? clean(value) : '';
}

function countOf(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

/** The last second that a Date can tell. */
const SECONDS_MAX = 8.64e12;

function isTime(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value <= SECONDS_MAX;
}
