// Lines of single requests, found by what was asked: for a client's next try, and for others who ask the same.
import type { Kysely } from 'kysely';
import { byBatch, type Line, type Place } from './lines.ts';
import type { Tables } from '../tables.ts';

export class Items {
  readonly #db: Kysely<Tables>;

  constructor(db: Kysely<Tables>) {
    this.#db = db;
  }

  /** The latest line of this item; `untold`: whose client has not had its answer. */
  async latest(item: string, untold: boolean): Promise<Line | undefined> {
    let query = this.#db.selectFrom('lines').innerJoin('batches', 'batches.id', 'lines.batch').where('item', '=', item);
    if (untold) query = query.where('told', '=', 0);
    return await query
      .orderBy('batches.seq', 'desc')
      .orderBy('n', 'desc')
      .limit(1)
      .selectAll('lines')
      .executeTakeFirst();
  }

  /** The line of an item that begins so. */
  async named(name: string): Promise<Line | undefined> {
    // Items are hexadecimal digits, and all of them come before a `g`.
    return await this.#db
      .selectFrom('lines')
      .where('item', '>=', name)
      .where('item', '<', `${name}g`)
      .limit(1)
      .selectAll()
      .executeTakeFirst();
  }

  /** Of these, the answers that others may be given too, and under what. */
  async answers(places: readonly Place[]): Promise<readonly { readonly answer: string; readonly result: Buffer }[]> {
    const found: { answer: string; result: Buffer }[] = [];
    for (const [batch, ns] of byBatch(places)) {
      const rows = await this.#db
        .selectFrom('lines')
        .where('batch', '=', batch)
        .where('n', 'in', ns)
        .where('ok', '=', 1)
        .where('answer', 'is not', null)
        .select(['answer', 'result'])
        .execute();
      for (const { answer, result } of rows) if (answer !== null && result !== null) found.push({ answer, result });
    }
    return found;
  }

  async told(places: readonly Place[]): Promise<void> {
    for (const [batch, ns] of byBatch(places)) {
      await this.#db.updateTable('lines').set({ told: 1 }).where('batch', '=', batch).where('n', 'in', ns).execute();
    }
  }
}
