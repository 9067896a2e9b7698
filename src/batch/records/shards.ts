// What is known of batches at another's Batch API: which step is next, and when. One gateway is at one of them at a time, and
// what it writes down counts only while it still is.
import type { Kysely, Selectable, Updateable } from 'kysely';
import type { ShardTable, Tables } from '../tables.ts';

export type Shard = Selectable<ShardTable>;
export type ShardChange = Updateable<ShardTable>;

/** Another gateway took this one for gone, and the shard over. */
export class LostShard extends Error {
  override readonly name = 'LostShard';
}

export class Shards {
  readonly #db: Kysely<Tables>;

  constructor(db: Kysely<Tables>) {
    this.#db = db;
  }

  async add(shard: Shard, db: Kysely<Tables> = this.#db): Promise<void> {
    await db.insertInto('shards').values(shard).execute();
  }

  async one(id: string): Promise<Shard | undefined> {
    return await this.#db.selectFrom('shards').where('id', '=', id).selectAll().executeTakeFirst();
  }

  /**
   * The next one that is due in one of these states; who has a waiting client comes first. `working`: those that this gateway is
   * at; others that are its own it once could not let go.
   */
  async take(
    gateway: string,
    states: readonly Shard['state'][],
    urgent: readonly number[],
    working: readonly string[],
    now: number,
  ): Promise<Shard | undefined> {
    let next = this.#db
      .selectFrom('shards')
      .where('state', 'in', states)
      .where('urgent', 'in', urgent)
      .where((eb) => eb.or([eb('due_at', '<=', now), eb('cancel', '=', 1)]))
      .where((eb) => eb.or([eb('held_by', 'is', null), eb('held_by', '=', gateway)]))
      .orderBy('urgent', 'desc')
      .orderBy('due_at')
      .limit(1)
      .select(['id', 'held_by']);
    if (working.length > 0) next = next.where('id', 'not in', working);
    const found = await next.executeTakeFirst();
    if (found === undefined) return undefined;
    // Of two who found it, the second finds it held.
    return await this.#db
      .updateTable('shards')
      .set({ held_by: gateway })
      .where('id', '=', found.id)
      .where('held_by', found.held_by === null ? 'is' : '=', found.held_by)
      .returningAll()
      .executeTakeFirst();
  }

  /** @throws LostShard */
  async change(id: string, gateway: string, change: ShardChange, db: Kysely<Tables> = this.#db): Promise<void> {
    const { numUpdatedRows } = await db
      .updateTable('shards')
      .set(change)
      .where('id', '=', id)
      .where('held_by', '=', gateway)
      .executeTakeFirst();
    if (numUpdatedRows === 0n) throw new LostShard(id);
  }

  /** It is to be cancelled there. */
  async cancel(id: string): Promise<void> {
    await this.#db
      .updateTable('shards')
      .set({ cancel: 1 })
      .where('id', '=', id)
      .where('state', '=', 'poll')
      .where('cancel', '=', 0)
      .execute();
  }

  /** Whether others of this model are at the service now. */
  async beside({ id, backend, name }: Shard): Promise<boolean> {
    const row = await this.#db
      .selectFrom('shards')
      .where('backend', '=', backend)
      .where('name', '=', name)
      .where('state', '=', 'poll')
      .where('id', '!=', id)
      .select('id')
      .limit(1)
      .executeTakeFirst();
    return row !== undefined;
  }

  async letGoOf(gateways: readonly string[]): Promise<void> {
    if (gateways.length === 0) return;
    await this.#db.updateTable('shards').set({ held_by: null }).where('held_by', 'in', gateways).execute();
  }

  async forget(before: number): Promise<void> {
    await this.#db.deleteFrom('shards').where('state', '=', 'done').where('created_at', '<=', before).execute();
  }
}
