// Answers to give again, beside the batches: they outlive a restart, and are every gateway's of the database.
import type { Kysely } from 'kysely';
import type { Tables } from '../tables.ts';

/** Removed at once where there are too many. */
const STEP = 100;

export class Answers {
  readonly #db: Kysely<Tables>;
  readonly #bytes_max: () => number;

  constructor(db: Kysely<Tables>, bytes_max: () => number) {
    this.#db = db;
    this.#bytes_max = bytes_max;
  }

  async get(id: string): Promise<Buffer | undefined> {
    const row = await this.#db
      .selectFrom('answers')
      .where('id', '=', id)
      .where('expires_at', '>', Date.now())
      .select('body')
      .executeTakeFirst();
    return row?.body;
  }

  async put(id: string, body: Buffer, ttl_ms: number): Promise<void> {
    const row = { body, bytes: body.length, expires_at: Date.now() + ttl_ms };
    await this.#db
      .insertInto('answers')
      .values({ id, ...row })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
      .execute();
  }

  /** What is too old goes, and of the rest the oldest until it fits. */
  async sweep(): Promise<void> {
    await this.#db.deleteFrom('answers').where('expires_at', '<=', Date.now()).execute();
    for (;;) {
      const { bytes } = await this.#db
        .selectFrom('answers')
        .select(({ fn }) => fn.sum<number | null>('bytes').as('bytes'))
        .executeTakeFirstOrThrow();
      if ((bytes ?? 0) <= this.#bytes_max()) return;
      const oldest = this.#db.selectFrom('answers').orderBy('expires_at').limit(STEP).select('id');
      await this.#db.deleteFrom('answers').where('id', 'in', oldest).execute();
    }
  }
}
