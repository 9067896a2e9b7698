// What is known of lines that are at another's Batch API: each belongs to one shard, and only what that shard brings is its end.
import type { Kysely } from 'kysely';
import type { Claimed, Place } from './lines.ts';
import type { Tables } from '../tables.ts';

/** Waiting lines that may go together. */
export interface Source {
  readonly batch: string;
  readonly model: string;
  /** `first`: those that were never refused with others; `again`: those that were. */
  readonly which: 'all' | 'first' | 'again';
}

export type SentLine = Pick<Claimed, 'batch' | 'n' | 'custom_id' | 'at' | 'bytes' | 'tries' | 'rank'>;

export interface Room {
  readonly lines: number;
  /** Left of the file, and what a line takes beside its own bytes. */
  readonly bytes: number;
  readonly line_bytes: number;
  /** The first line is taken, however large it is. */
  readonly any: boolean;
}

/** What one claim took; `full`: there was no room for the next line. */
export interface Taken {
  readonly lines: number;
  readonly bytes: number;
  readonly urgent: boolean;
  readonly full: boolean;
}

const SENT = ['batch', 'n', 'custom_id', 'at', 'bytes', 'tries', 'rank'] as const;

export class Sent {
  readonly #db: Kysely<Tables>;
  readonly #shared: boolean;

  /** `shared`: other gateways claim lines of the same database. */
  constructor(db: Kysely<Tables>, shared: boolean) {
    this.#db = db;
    this.#shared = shared;
  }

  /** Whether these batches are the caller's alone to gather from, until its transaction ends. */
  async alone(db: Kysely<Tables>, batches: readonly string[]): Promise<boolean> {
    const ids = [...new Set(batches)];
    const rows = await db.selectFrom('batches').where('id', 'in', ids).forUpdate().skipLocked().select('id').execute();
    return rows.length === ids.length;
  }

  /** Waiting lines into a shard, as many as there is room for; within the caller's transaction. */
  async take(db: Kysely<Tables>, shard: string, source: Source, room: Room, now: number): Promise<Taken> {
    const { batch, model, which } = source;
    let next = db
      .selectFrom('lines')
      .where('batch', '=', batch)
      .where('model', '=', model)
      .where('state', '=', 'waiting')
      .where('not_before', '<=', now)
      .orderBy('n')
      .limit(room.lines)
      .select(['n', 'bytes', 'rank']);
    if (which !== 'all') next = next.where('tries', which === 'first' ? '=' : '>', 0);
    // Lines that another gateway is taking at this moment are not waited for.
    if (this.#shared) next = next.forUpdate().skipLocked();
    const rows = await next.execute();
    const ns: number[] = [];
    let bytes = 0;
    let urgent = false;
    for (const row of rows) {
      const size = row.bytes + room.line_bytes;
      if (bytes + size > room.bytes && !(room.any && ns.length === 0)) break;
      bytes += size;
      urgent ||= row.rank === 0;
      ns.push(row.n);
    }
    if (ns.length > 0) {
      await db
        .updateTable('lines')
        .set({ state: 'sent', shard })
        .where('batch', '=', batch)
        .where('n', 'in', ns)
        .where('state', '=', 'waiting')
        .execute();
    }
    return { lines: ns.length, bytes, urgent, full: ns.length < rows.length };
  }

  /** In the order of the shard's file, from behind `after` on. */
  async page(shard: string, after: Place | undefined, limit: number): Promise<readonly SentLine[]> {
    let query = this.#of(shard).orderBy('batch').orderBy('n').limit(limit).select(SENT);
    if (after !== undefined) {
      const { batch, n } = after;
      query = query.where((eb) => eb.or([eb('batch', '>', batch), eb.and([eb('batch', '=', batch), eb('n', '>', n)])]));
    }
    return await query.execute();
  }

  /** Some that have no end yet: of one batch, or those that clients wait for. */
  async undone(
    shard: string,
    limit: number,
    { batch, waited }: { readonly batch?: string; readonly waited?: boolean } = {},
  ): Promise<readonly SentLine[]> {
    let query = this.#of(shard).limit(limit).select(SENT);
    if (batch !== undefined) query = query.where('batch', '=', batch);
    if (waited === true) query = query.where('rank', '=', 0);
    return await query.execute();
  }

  async any(shard: string): Promise<boolean> {
    return (await this.undone(shard, 1)).length > 0;
  }

  /** Of these places, those whose end this shard is to bring. */
  async find(shard: string, places: readonly Place[]): Promise<readonly SentLine[]> {
    const by = new Map<string, number[]>();
    for (const { batch, n } of places) by.set(batch, [...(by.get(batch) ?? []), n]);
    const found: SentLine[] = [];
    for (const [batch, ns] of by) {
      const rows = await this.#db
        .selectFrom('lines')
        .where('batch', '=', batch)
        .where('n', 'in', ns)
        .select([...SENT, 'shard', 'state'])
        .execute();
      // Not asked for: of two indexes the database might take the one with all of the shard's lines.
      found.push(...rows.filter((row) => row.shard === shard && row.state === 'sent'));
    }
    return found;
  }

  /** Back to waiting: all, or from one place of the file on; `tried` counts one try more. */
  async giveBack(shard: string, not_before: number, tried: boolean, from?: Place): Promise<void> {
    let query = this.#db
      .updateTable('lines')
      .set(({ eb }) => ({
        state: 'waiting',
        shard: null,
        not_before,
        ...(tried ? { tries: eb('tries', '+', 1) } : {}),
      }))
      .where('shard', '=', shard)
      .where('state', '=', 'sent');
    if (from !== undefined) {
      const { batch, n } = from;
      query = query.where((eb) =>
        eb.or([eb('batch', '>', batch), eb.and([eb('batch', '=', batch), eb('n', '>=', n)])]),
      );
    }
    await query.execute();
  }

  /** Those that may not be tried again. */
  async worn(shard: string, tries: number, limit: number): Promise<readonly SentLine[]> {
    return await this.#of(shard).where('tries', '>=', tries).limit(limit).select(SENT).execute();
  }

  /** The shards that lines of a batch are in. */
  async shardsOf(batch: string): Promise<readonly string[]> {
    const rows = await this.#db
      .selectFrom('lines')
      .where('batch', '=', batch)
      .where('state', '=', 'sent')
      .groupBy('shard')
      .select('shard')
      .execute();
    return rows.flatMap(({ shard }) => shard ?? []);
  }

  /** Whether a batch that is not being cancelled wants lines of it. */
  async wanted(shard: string): Promise<boolean> {
    const row = await this.#db
      .selectFrom('lines')
      .innerJoin('batches', 'batches.id', 'lines.batch')
      .where('lines.shard', '=', shard)
      .where('lines.state', '=', 'sent')
      .where('batches.status', '!=', 'cancelling')
      .select('lines.n')
      .limit(1)
      .executeTakeFirst();
    return row !== undefined;
  }

  #of(shard: string) {
    return this.#db.selectFrom('lines').where('shard', '=', shard).where('state', '=', 'sent');
  }
}
