// Which gateways live: each counts on, and one whose count has stood still for a while, by the watch of who looks, is gone.
import type { Kysely } from 'kysely';
import type { Tables } from '../tables.ts';

/** So long a count may stand still: several times what it takes to count on. */
const GONE_MS = 10_000;

export class Gateways {
  readonly #db: Kysely<Tables>;
  readonly #own: string;
  readonly #gone_ms: number;
  readonly #seen = new Map<string, { readonly beat: number; readonly at: number }>();

  constructor(db: Kysely<Tables>, own: string, gone_ms = GONE_MS) {
    this.#db = db;
    this.#own = own;
    this.#gone_ms = gone_ms;
  }

  /** Counts on. Whether others took this one for gone, and have what it had claimed. */
  async beat(): Promise<boolean> {
    const { numUpdatedRows } = await this.#db
      .updateTable('gateways')
      .set(({ eb }) => ({ beat: eb('beat', '+', 1) }))
      .where('id', '=', this.#own)
      .executeTakeFirst();
    if (numUpdatedRows > 0n) return false;
    await this.#db.insertInto('gateways').values({ id: this.#own, beat: 1 }).execute();
    return true;
  }

  /** Those that are gone; `now` on a clock that only runs. */
  async gone(now: number): Promise<readonly string[]> {
    const gone: string[] = [];
    for (const { id, beat } of await this.#db.selectFrom('gateways').selectAll().execute()) {
      const seen = this.#seen.get(id);
      if (seen?.beat !== beat) this.#seen.set(id, { beat, at: now });
      else if (id !== this.#own && now - seen.at > this.#gone_ms) gone.push(id);
    }
    return gone;
  }

  async others(): Promise<readonly string[]> {
    const rows = await this.#db.selectFrom('gateways').where('id', '!=', this.#own).select('id').execute();
    return rows.map(({ id }) => id);
  }

  async forget(ids: readonly string[]): Promise<void> {
    if (ids.length > 0) await this.#db.deleteFrom('gateways').where('id', 'in', ids).execute();
    for (const id of ids) this.#seen.delete(id);
  }
}
