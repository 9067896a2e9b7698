// What is written down: files, batches, their lines, batches at another's Batch API, and answers to give again. Times are
// milliseconds since 1970; ids are unguessable (ids.ts).
import type { Generated } from 'kysely';
import type { Endpoint } from '../types.ts';

export interface Tables {
  files: FileTable;
  parts: PartTable;
  batches: BatchTable;
  lines: LineTable;
  shards: ShardTable;
  answers: AnswerTable;
  gateways: GatewayTable;
}

export interface FileTable {
  /** In the order of their making. */
  seq: Generated<number>;
  id: string;
  /** The key that may see it. */
  owner: string;
  purpose: 'batch' | 'batch_output';
  filename: string;
  bytes: number;
  created_at: number;
  expires_at: number | null;
}

/** A file's bytes, where gateways have no disk in common. */
interface PartTable {
  file: string;
  n: number;
  bytes: Buffer;
  written_at: number;
}

export type BatchStatus =
  | 'validating'
  | 'failed'
  | 'in_progress'
  | 'finalizing'
  | 'completed'
  | 'expired'
  | 'cancelling'
  | 'cancelled';

export interface BatchTable {
  seq: Generated<number>;
  id: string;
  owner: string;
  endpoint: Endpoint;
  status: BatchStatus;
  /** JSON: the public names that its lines ask for, once they are known. */
  models: string | null;
  input_file: string | null;
  output_file: string | null;
  error_file: string | null;
  completion_window: string;
  created_at: number;
  in_progress_at: number | null;
  expires_at: number;
  finalizing_at: number | null;
  completed_at: number | null;
  failed_at: number | null;
  expired_at: number | null;
  cancelling_at: number | null;
  cancelled_at: number | null;
  /** When its files go; the usual age where it is null. */
  output_age_ms: number | null;
  total: number;
  completed: number;
  failed: number;
  tokens_in: number;
  tokens_out: number;
  tokens_cached: number;
  tokens_reasoning: number;
  /** JSON. */
  metadata: string | null;
  /** JSON: what is wrong with its lines. */
  errors: string | null;
  idempotency_key: string | null;
  /** SHA-256 of what was asked under that key. */
  asked: string | null;
  /** Collected from single requests: the window they came in, which may belong to batches of several keys. */
  window: string | null;
  /** Where the window's requests go; `null`: to our own engines. */
  upstream: string | null;
  window_ms: number | null;
  closes_at: number | null;
  /** 1: requests may still be added. */
  open: number;
  /** What it becomes once its files are written. */
  ends_as: 'completed' | 'expired' | 'cancelled';
  ended_at: number | null;
  /** 1: its lines are gone, and only its files tell. */
  swept: number;
  /** Which gateway is at it (validating, finalizing). */
  held_by: string | null;
}

/** One request of a batch. */
export interface LineTable {
  batch: string;
  n: number;
  custom_id: string;
  /** The public name. */
  model: string;
  /** `waiting` for a slot; `claimed` by a gateway; `sent` to another's Batch API; `done`, once. */
  state: 'waiting' | 'claimed' | 'sent' | 'done';
  /** A waiting client comes before a window, a window before a file. */
  rank: number;
  /** Not to be tried before. */
  not_before: number;
  claimed_by: string | null;
  shard: string | null;
  tries: number;
  /** Where the request's body stands in the input file. */
  at: number | null;
  bytes: number;
  /** Or the body itself. */
  body: Buffer | null;
  /** What is asked and by whom, as a digest: a repeated request finds its line by it. */
  item: string | null;
  /** Under which its answer is kept for others who ask the same. */
  answer: string | null;
  /** 1: the client that waited has had its answer. */
  told: number;
  /** 1: it goes to the output file; 0: to the error file. */
  ok: number | null;
  /** The line of that file. */
  result: Buffer | null;
}

/** A batch at another's Batch API: lines of one model. */
export interface ShardTable {
  id: string;
  backend: string;
  /** The model's name there. */
  name: string;
  endpoint: Endpoint;
  /** Next to do: `upload` the lines, `create` the batch, `poll` it, `fetch` its results, `clean` up after it. */
  state: 'upload' | 'create' | 'poll' | 'fetch' | 'clean' | 'done';
  lines: number;
  /** 1: a client waits for one of its lines. */
  urgent: number;
  file: string | null;
  batch: string | null;
  /** JSON: what stands in the file, by place. */
  layout: string | null;
  /** JSON: what became of it there, and its files. */
  verdict: string | null;
  /** Of its end there: 0 nobody wants it, 1 it is to be cancelled, 2 that is being asked for, 3 it has been. */
  cancel: number;
  due_at: number;
  pause_ms: number;
  /** Of this step. */
  tries: number;
  /** Since when this step fails. */
  failing_at: number | null;
  created_at: number;
  held_by: string | null;
}

/** An answer given again. */
export interface AnswerTable {
  id: string;
  body: Buffer;
  bytes: number;
  expires_at: number;
}

/** The gateways at this database: each counts on, and one whose count stands still is gone, whatever the clocks say. */
interface GatewayTable {
  id: string;
  beat: number;
}
