// A result of PostgreSQL's read page by page, for Kysely's `stream`: pg-cursor's part, with a cursor of SQL's.
import type { PoolClient } from 'pg';

/** One name will do: Kysely lets nothing else into a transaction while a stream of it is open. */
const NAME = 'lanyard_stream';

/** Within a transaction it is that one's; else it has one of its own, which ends with it. */
export class Cursor<T> {
  readonly #sql: string;
  readonly #parameters: readonly unknown[];
  #client: PoolClient | undefined;
  #state: 'fresh' | 'open' | 'closed' = 'fresh';
  #owns_transaction = false;

  constructor(sql: string, parameters: readonly unknown[]) {
    this.#sql = sql;
    this.#parameters = parameters;
  }

  on(client: PoolClient): this {
    this.#client = client;
    return this;
  }

  /** No rows: the end. */
  async read(rows_max: number): Promise<T[]> {
    if (this.#state === 'fresh') await this.#open();
    const { rows } = await this.#query(`fetch forward ${rows_max} from ${NAME}`);
    return rows as T[];
  }

  /** Never throws: a connection that broke is found out by whoever has it next. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return;
    const opened = this.#state === 'open';
    this.#state = 'closed';
    try {
      // Also after an error, where it rolls back.
      if (this.#owns_transaction) await this.#query('commit');
      else if (opened && this.#client?.getTransactionStatus() === 'T') await this.#query(`close ${NAME}`);
    } catch {}
  }

  async #open(): Promise<void> {
    if (this.#client?.getTransactionStatus() === 'I') {
      await this.#query('begin read only');
      this.#owns_transaction = true;
    }
    await this.#query(`declare ${NAME} no scroll cursor for ${this.#sql}`, this.#parameters);
    this.#state = 'open';
  }

  async #query(sql: string, parameters: readonly unknown[] = []): Promise<{ rows: unknown[] }> {
    if (this.#client === undefined) throw new Error('a cursor is used by query()');
    return this.#client.query(sql, [...parameters]);
  }
}
