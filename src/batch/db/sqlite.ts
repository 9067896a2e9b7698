// SQLite as Kysely's dialect: one connection, in a worker (link.ts), with turns for transactions (turns.ts).
import {
  CompiledQuery,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  type TransactionSettings,
} from 'kysely';
import { bind, type Link } from './link.ts';
import type { Answer, Value } from './messages.ts';
import { Turns } from './turns.ts';

/** Kysely's `destroy` leaves the link open: whoever opened it closes it. */
export function sqliteDialect(link: Link): Dialect {
  return {
    createAdapter: () => new Adapter(),
    createDriver: () => sqliteDriver(link),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  };
}

class Adapter extends SqliteAdapter {
  /** Of one connection Kysely would give turns itself, and let a stream hold it from its first row to its last. */
  override get supportsMultipleConnections(): boolean {
    return true;
  }

  /** SQLite has it, whatever Kysely's own adapter says: a migration that fails leaves nothing behind. */
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

function sqliteDriver(link: Link): Driver {
  const turns = new Turns();
  return {
    init: async () => {},
    acquireConnection: async () => new Connection(link, turns),
    beginTransaction: (connection, settings) => (connection as Connection).begin(settings),
    commitTransaction: (connection) => (connection as Connection).commit(),
    rollbackTransaction: (connection) => (connection as Connection).rollback(),
    savepoint: (connection, name) => run(connection, `savepoint ${quoted(name)}`),
    rollbackToSavepoint: (connection, name) => run(connection, `rollback to ${quoted(name)}`),
    releaseSavepoint: (connection, name) => run(connection, `release ${quoted(name)}`),
    releaseConnection: (connection) => (connection as Connection).release(),
    destroy: async () => {},
  };
}

async function run(connection: DatabaseConnection, sql: string): Promise<void> {
  await connection.executeQuery(CompiledQuery.raw(sql));
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** What Kysely has for the time of a query or of a transaction. All of them are the worker's one connection. */
class Connection implements DatabaseConnection {
  readonly #link: Link;
  readonly #turns: Turns;
  #inside = false;

  constructor(link: Link, turns: Turns) {
    this.#link = link;
    this.#turns = turns;
  }

  async begin({ accessMode }: TransactionSettings): Promise<void> {
    await this.#turns.hold();
    try {
      await this.#link.ask({ kind: 'begin', writes: accessMode !== 'read only' });
      this.#inside = true;
    } catch (error) {
      this.#turns.release();
      throw error;
    }
  }

  /** When it fails, the transaction is still to be rolled back. */
  async commit(): Promise<void> {
    await this.#link.ask({ kind: 'commit' });
    this.#leave();
  }

  async rollback(): Promise<void> {
    try {
      await this.#link.ask({ kind: 'rollback' });
    } finally {
      this.#leave();
    }
  }

  async release(): Promise<void> {
    if (this.#inside) await this.rollback();
  }

  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    const inside = this.#inside;
    // Before its turn comes: a parameter that is refused is this caller's fault alone.
    const query = { kind: 'query', sql, parameters: parameters.map(bind), inside } as const;
    const ask = (): Promise<Answer> => this.#link.ask(query);
    const answer = inside ? await ask() : await this.#turns.pass(ask);
    if (answer.changes === undefined) return { rows: objectsOf<R>(answer) };
    return { rows: [], numAffectedRows: BigInt(answer.changes) };
  }

  /** Outside of a transaction it reads what is committed, whoever has a transaction open. */
  async *streamQuery<R>({ sql, parameters }: CompiledQuery, rows_max: number): AsyncGenerator<QueryResult<R>, void> {
    const stream = this.#link.nextStream();
    try {
      let answer = await this.#link.ask({
        kind: 'stream',
        stream,
        sql,
        parameters: parameters.map(bind),
        inside: this.#inside,
        rows_max,
      });
      while (answer.rows.length > 0) {
        yield { rows: objectsOf<R>(answer) };
        if (answer.rows.length < rows_max) return;
        answer = await this.#link.ask({ kind: 'page', stream, rows_max });
      }
    } finally {
      await this.#link.ask({ kind: 'leave', stream });
    }
  }

  #leave(): void {
    if (!this.#inside) return;
    this.#inside = false;
    this.#turns.release();
  }
}

function objectsOf<R>({ columns, rows }: Answer): R[] {
  return rows.map((values) => {
    const row: Record<string, unknown> = {};
    for (const [index, column] of columns.entries()) row[column] = callers(values[index]);
    return row as R;
  });
}

/** Bytes as a Buffer over the same memory, as pg gives them. */
function callers(value: Value | undefined): unknown {
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : value;
}
