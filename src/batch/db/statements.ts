// The worker's statements: prepared once, kept while they are in use.
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Answer, Value } from './messages.ts';

interface Kept {
  readonly statement: StatementSync;
  /** Their names; none of a statement that gives no rows. */
  readonly columns: readonly string[];
}

/** A gateway has some dozens; a query with a list of any length has a text for each. */
const KEPT_MAX = 200;
/** After one of these, what was prepared may have other columns; and pragmas are to run each time, to their end. */
const NOT_KEPT = /^\s*(?:create|alter|drop|pragma|vacuum|attach|detach)\b/i;

export class Statements {
  readonly #database: DatabaseSync;
  /** The least recently used first. */
  readonly #kept = new Map<string, Kept>();

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  run(sql: string, parameters: readonly Value[]): Answer {
    const { statement, columns } = this.#prepared(sql);
    if (columns.length > 0) return { columns, rows: rowsOf(statement.all(...bound(parameters))) };
    if (NOT_KEPT.test(sql) && parameters.length === 0) {
      // `run` takes one step, and an incremental vacuum takes one for each page.
      this.#database.exec(sql);
      return { columns, rows: [], changes: 0 };
    }
    return { columns, rows: [], changes: Number(statement.run(...bound(parameters)).changes) };
  }

  #prepared(sql: string): Kept {
    const known = this.#kept.get(sql);
    if (known !== undefined) {
      this.#kept.delete(sql);
      this.#kept.set(sql, known);
      return known;
    }
    const fresh = prepare(this.#database, sql);
    if (NOT_KEPT.test(sql)) {
      this.#kept.clear();
      return fresh;
    }
    this.#kept.set(sql, fresh);
    if (this.#kept.size > KEPT_MAX) this.#kept.delete(this.#kept.keys().next().value as string);
    return fresh;
  }
}

export function prepare(database: DatabaseSync, sql: string): Kept {
  const statement = database.prepare(sql);
  const columns = statement.columns().map(({ name }) => name);
  statement.setReturnArrays(true);
  return { statement, columns };
}

/** node:sqlite binds a number beyond 32 bits as REAL, which an expression or a column without a type would keep. */
export function bound(parameters: readonly Value[]): Value[] {
  return parameters.map((value) => (Number.isSafeInteger(value) ? BigInt(value as number) : value));
}

/** @types/node does not know of `setReturnArrays` here. */
export function rowsOf(rows: readonly unknown[]): readonly (readonly Value[])[] {
  return rows as readonly (readonly Value[])[];
}
