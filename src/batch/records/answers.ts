// Answers to give again, beside the batches: they outlive a restart, and are every gateway's of the database.
import type { Kysely } from 'kysely';
import { Together } from '../db/together.ts';
import type { AnswerTable, Tables } from '../tables.ts';

type Row = AnswerTable;

/** Written or removed at once. */
const STEP = 100;
const TOGETHER_BYTES_MAX = 4 << 20;
const WAITING_BYTES_MAX = 32 << 20;

export class Answers {
  readonly #db: Kysely<Tables>;
  readonly #bytes_max: () => number;
  readonly #writing: Together<Row, undefined>;
  /** Of answers that wait to be written. */
  #waiting_bytes = 0;

  constructor(db: Kysely<Tables>, bytes_max: () => number) {
    this.#db = db;
    this.#bytes_max = bytes_max;
    this.#writing = new Together<Row, undefined>({
      items_max: STEP,
      weight_max: TOGETHER_BYTES_MAX,
      weigh: ({ bytes }) => bytes,
      write: (rows) => this.#write(rows),
    });
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

  /** Nothing where they come faster than the disk takes them: an answer that is not kept is asked anew. */
  async put(id: string, body: Buffer, ttl_ms: number): Promise<void> {
    if (this.#waiting_bytes + body.length > WAITING_BYTES_MAX) return;
    this.#waiting_bytes += body.length;
    try {
      await this.#writing.add({ id, body, bytes: body.length, expires_at: Date.now() + ttl_ms });
    } finally {
      this.#waiting_bytes -= body.length;
    }
  }

  async #write(rows: readonly Row[]): Promise<readonly undefined[]> {
    // Each once, and in one order, so that two gateways do not wait for each other.
    const unique = new Map(rows.map((row) => [row.id, row]));
    await this.#db
      .insertInto('answers')
      .values([...unique.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1)))
      .onConflict((conflict) =>
        conflict.column('id').doUpdateSet((eb) => ({
          body: eb.ref('excluded.body'),
          bytes: eb.ref('excluded.bytes'),
          expires_at: eb.ref('excluded.expires_at'),
        })),
      )
      .execute();
    return rows.map(() => undefined);
  }

  /** What is too old goes, and of the rest the oldest until it fits. */
  async sweep(): Promise<void> {
    for (let removed = BigInt(STEP); removed > 0n;) {
      const old = this.#db.selectFrom('answers').where('expires_at', '<=', Date.now()).limit(STEP).select('id');
      const { numDeletedRows } = await this.#db.deleteFrom('answers').where('id', 'in', old).executeTakeFirstOrThrow();
      removed = numDeletedRows;
    }
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
