// What the main thread and the worker that holds SQLite say to each other. Asks are answered in their order, so neither
// carries a number; several go in one message.

/** What SQLite stores. An integer comes and goes as number, and only when it is exact. */
export type Value = null | number | bigint | string | Uint8Array;

export type Ask =
  /** `inside`: of the open transaction; refused if that has ended by itself, as it does on a full disk. */
  | { readonly kind: 'query'; readonly sql: string; readonly parameters: readonly Value[]; readonly inside: boolean }
  | { readonly kind: 'begin'; readonly writes: boolean }
  | { readonly kind: 'commit' }
  | { readonly kind: 'rollback' }
  /** Begins a stream and answers with its first page. */
  | {
      readonly kind: 'stream';
      readonly stream: number;
      readonly sql: string;
      readonly parameters: readonly Value[];
      readonly inside: boolean;
      readonly rows_max: number;
    }
  /** The next page. A page with fewer rows than `rows_max` is the last one. */
  | { readonly kind: 'page'; readonly stream: number; readonly rows_max: number }
  | { readonly kind: 'leave'; readonly stream: number }
  | { readonly kind: 'close' };

/** A query's answer; `rows` have their values in the order of `columns`. */
export interface Answer {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Value[])[];
  /** Of a statement that gives no rows back. */
  readonly changes?: number;
}

export type Reply = Answer | { readonly failed: Failure };

export interface Failure {
  readonly message: string;
  /** SQLite's extended result code, where SQLite failed. */
  readonly errcode?: number;
}

/** The worker's first message. */
export type Opened = 'opened' | { readonly failed: Failure };

/** What the worker is started with: both paths absolute. */
export interface Files {
  readonly database: string;
  readonly lock: string;
}

/**
 * From this size on, bytes are handed over between the threads instead of copied once more; below it, handing over costs
 * more than the copy.
 */
const HANDED_OVER_BYTES_MIN = 16_384;

/** The buffers of what is large enough. Each value has one to itself: so node:sqlite gives them, and so `bind` does. */
export function handedOver(values: readonly Value[]): ArrayBuffer[] {
  const buffers: ArrayBuffer[] = [];
  for (const value of values)
    if (value instanceof Uint8Array && value.length >= HANDED_OVER_BYTES_MIN) buffers.push(value.buffer as ArrayBuffer);
  return buffers;
}
