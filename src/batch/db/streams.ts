// The worker's open streams: results that are read page by page. Outside of a transaction each has a connection of its own,
// which only reads: so it sees one state from its first row to its last, and neither waits for transactions nor sees into them.
// While it stands, the WAL cannot be cut back behind it.
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { Answer, Ask } from './messages.ts';
import { bound, prepare, rowsOf } from './statements.ts';

interface Stream {
  readonly columns: readonly string[];
  readonly rows: ReturnType<StatementSync['iterate']>;
  /** Its own connection; undefined within a transaction. */
  readonly reader: DatabaseSync | undefined;
}

export class Streams {
  readonly #database: DatabaseSync;
  readonly #path: string;
  readonly #open = new Map<number, Stream>();

  constructor(database: DatabaseSync, path: string) {
    this.#database = database;
    this.#path = path;
  }

  begin({ stream, sql, parameters, inside, rows_max }: Extract<Ask, { kind: 'stream' }>): Answer {
    const reader = inside ? undefined : new DatabaseSync(this.#path, { readOnly: true, timeout: 5000 });
    try {
      // Prepared for itself: the same text may be run while it is half read.
      const { statement, columns } = prepare(reader ?? this.#database, sql);
      if (columns.length === 0) throw new Error('only what gives rows can be streamed');
      this.#open.set(stream, { columns, rows: statement.iterate(...bound(parameters)), reader });
    } catch (error) {
      reader?.close();
      throw error;
    }
    return this.page(stream, rows_max);
  }

  page(stream: number, rows_max: number): Answer {
    const open = this.#open.get(stream);
    if (open === undefined) throw new Error('the stream has ended with its transaction');
    const rows: unknown[] = [];
    try {
      while (rows.length < rows_max) {
        const { done, value } = open.rows.next();
        if (done === true) break;
        rows.push(value);
      }
    } catch (error) {
      this.leave(stream);
      throw error;
    }
    if (rows.length < rows_max) this.leave(stream);
    return { columns: open.columns, rows: rowsOf(rows) };
  }

  /** Nothing, where it has ended. */
  leave(stream: number): void {
    const open = this.#open.get(stream);
    if (open === undefined) return;
    this.#open.delete(stream);
    // Its statement is reset, which ends its reading of the database.
    open.rows.return?.();
    open.reader?.close();
  }

  leaveInside(): void {
    for (const [stream, { reader }] of this.#open) if (reader === undefined) this.leave(stream);
  }

  leaveAll(): void {
    for (const stream of this.#open.keys()) this.leave(stream);
  }
}
