// What is known of batches, and how each goes from one status to the next: always by one statement that names the status it
// comes from, so that of two who try only one succeeds.
import type { ExpressionBuilder, Kysely, Selectable, Updateable } from 'kysely';
import type { BatchStatus, BatchTable, Tables } from '../tables.ts';
import type { Page } from './files.ts';

export type Batch = Omit<Selectable<BatchTable>, 'seq'>;

/** A fault of a line, or of the file as a whole. */
export interface Fault {
  readonly code: string;
  readonly message: string;
  readonly param: string | null;
  readonly line: number | null;
}

export class Batches {
  readonly #db: Kysely<Tables>;

  constructor(db: Kysely<Tables>) {
    this.#db = db;
  }

  async add(batch: Batch): Promise<void> {
    await this.#db.insertInto('batches').values(batch).execute();
  }

  async one(owner: string, id: string): Promise<Batch | undefined> {
    return await this.#of(owner).where('id', '=', id).selectAll().executeTakeFirst();
  }

  /** For the gateway's own work, whoever's it is. */
  async any(id: string): Promise<Batch | undefined> {
    return await this.#db.selectFrom('batches').where('id', '=', id).selectAll().executeTakeFirst();
  }

  async asked(owner: string, idempotency_key: string): Promise<Batch | undefined> {
    return await this.#of(owner).where('idempotency_key', '=', idempotency_key).selectAll().executeTakeFirst();
  }

  /** Newest first; of every key where `owner` is undefined. */
  async list(
    owner: string | undefined,
    { limit, after }: Page,
    status: string | undefined,
  ): Promise<{ readonly rows: readonly Batch[]; readonly has_more: boolean }> {
    let query = this.#db
      .selectFrom('batches')
      .selectAll()
      .orderBy('seq', 'desc')
      .limit(limit + 1);
    let from = this.#db.selectFrom('batches').select('seq');
    if (owner !== undefined) {
      query = query.where('owner', '=', owner);
      from = from.where('owner', '=', owner);
    }
    if (status !== undefined) query = query.where('status', '=', status as BatchStatus);
    if (after !== undefined) query = query.where('seq', '<', from.where('id', '=', after));
    const rows = await query.execute();
    return { rows: rows.slice(0, limit), has_more: rows.length > limit };
  }

  async unfinished(owner: string): Promise<number> {
    const { count } = await this.#of(owner)
      .where('swept', '=', 0)
      .where('ended_at', 'is', null)
      .select(({ fn }) => fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow();
    return count;
  }

  /** Whether a batch that has not ended reads this file. */
  async needs(file: string): Promise<boolean> {
    const row = await this.#db
      .selectFrom('batches')
      .where('input_file', '=', file)
      // For the index: a batch that is swept has ended.
      .where('swept', '=', 0)
      .where('ended_at', 'is', null)
      .select('id')
      .limit(1)
      .executeTakeFirst();
    return row !== undefined;
  }

  async counts(): Promise<ReadonlyMap<BatchStatus, number>> {
    const rows = await this.#db
      .selectFrom('batches')
      .groupBy('status')
      .select(['status', ({ fn }) => fn.countAll<number>().as('count')])
      .execute();
    return new Map(rows.map(({ status, count }) => [status, count]));
  }

  /** What a key's batches add up to, as far back as they are kept. */
  async sums(owner: string | undefined): Promise<Sums> {
    let query = this.#db.selectFrom('batches').select(({ fn, eb }) => {
      const where = (test: ReturnType<typeof eb>, value: 'total' | 'window') =>
        eb.case().when(test).then(eb.ref(value)).end();
      const collected = eb('window', 'is not', null);
      const upstream = eb('upstream', 'is not', null);
      return [
        fn.min('created_at').as('since'),
        fn.countAll<number>().as('batches'),
        fn.sum<number | null>('completed').as('completed'),
        fn.sum<number | null>('failed').as('failed'),
        fn.sum<number | null>('tokens_in').as('tokens_in'),
        fn.sum<number | null>('tokens_out').as('tokens_out'),
        fn.sum<number | null>(where(collected, 'total')).as('collected'),
        fn.count<number>(where(collected, 'window')).distinct().as('windows'),
        fn.sum<number | null>(where(upstream, 'total')).as('upstream'),
        fn.count<number>(where(upstream, 'window')).distinct().as('upstream_windows'),
      ];
    });
    if (owner !== undefined) query = query.where('owner', '=', owner);
    const { since, ...sums } = await query.executeTakeFirstOrThrow();
    const numbers = Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum ?? 0]));
    return { ...(numbers as Omit<Sums, 'since'>), since: since ?? null };
  }

  /** Whether this very change was made now; `gateway`: only while that one is at it. */
  async turn(
    id: string,
    from: readonly BatchStatus[],
    change: Updateable<BatchTable>,
    gateway?: string,
  ): Promise<boolean> {
    let query = this.#db.updateTable('batches').set(change).where('id', '=', id).where('status', 'in', from);
    if (gateway !== undefined) query = query.where('held_by', '=', gateway);
    const { numUpdatedRows } = await query.executeTakeFirst();
    return numUpdatedRows > 0n;
  }

  /** The next one to validate, which nobody is at; who takes one is at no other. */
  async takeToValidate(gateway: string, except: readonly string[]): Promise<Batch | undefined> {
    let query = this.#db
      .selectFrom('batches')
      .where('status', '=', 'validating')
      .where('open', '=', 0)
      .where('window', 'is', null)
      .where(heldBy(gateway))
      .orderBy('seq')
      .limit(1)
      .selectAll();
    if (except.length > 0) query = query.where('id', 'not in', except);
    const next = await query.executeTakeFirst();
    return next === undefined ? undefined : await this.#hold(next, gateway);
  }

  /** The next one whose lines are all done, or whose files somebody began to write and did not end. */
  async takeToFinish(gateway: string, now: number, except: readonly string[]): Promise<Batch | undefined> {
    let query = this.#db
      .selectFrom('batches')
      .where('status', 'in', ['in_progress', 'finalizing', 'cancelling'])
      .where('open', '=', 0)
      .where((eb) => eb(eb('completed', '+', eb.ref('failed')), '>=', eb.ref('total')))
      .where(heldBy(gateway))
      .orderBy('seq')
      .limit(1)
      .selectAll();
    if (except.length > 0) query = query.where('id', 'not in', except);
    const next = await query.executeTakeFirst();
    if (next === undefined) return undefined;
    const held = await this.#hold(next, gateway);
    if (held === undefined || held.status !== 'in_progress') return held;
    const change = { status: 'finalizing', finalizing_at: now } as const;
    return (await this.turn(held.id, ['in_progress'], change)) ? { ...held, ...change } : undefined;
  }

  async #hold(batch: Batch, gateway: string): Promise<Batch | undefined> {
    const { numUpdatedRows } = await this.#db
      .updateTable('batches')
      .set({ held_by: gateway })
      .where('id', '=', batch.id)
      .where(heldBy(gateway))
      .where('status', '=', batch.status)
      .executeTakeFirst();
    return numUpdatedRows > 0n ? { ...batch, held_by: gateway } : undefined;
  }

  async letGo(id: string, gateway: string): Promise<void> {
    await this.#db
      .updateTable('batches')
      .set({ held_by: null })
      .where('id', '=', id)
      .where('held_by', '=', gateway)
      .execute();
  }

  async letGoOf(gateways: readonly string[]): Promise<void> {
    if (gateways.length === 0) return;
    await this.#db.updateTable('batches').set({ held_by: null }).where('held_by', 'in', gateways).execute();
  }

  /** Those whose lines may run, oldest first. */
  async running(): Promise<readonly Running[]> {
    const rows = await this.#db
      .selectFrom('batches')
      .where('status', '=', 'in_progress')
      .orderBy('seq')
      .select(['id', 'owner', 'endpoint', 'models', 'window', 'expires_at', 'open'])
      .execute();
    return rows.map(({ models, ...row }) => ({ ...row, models: JSON.parse(models ?? '[]') as string[] }));
  }

  /** Those that must end now, and have lines that have not: told to, or out of time. */
  async overdue(now: number): Promise<readonly Batch[]> {
    return await this.#db
      .selectFrom('batches')
      .where((eb) =>
        eb.or([
          eb('status', 'in', ['cancelling', 'finalizing']),
          eb.and([eb('status', '=', 'in_progress'), eb('expires_at', '<=', now)]),
        ]),
      )
      .where((eb) => eb(eb('completed', '+', eb.ref('failed')), '<', eb.ref('total')))
      .where('open', '=', 0)
      .selectAll()
      .execute();
  }

  /** Windows whose end has passed and whose gateway has not ended them. */
  async closeLate(before: number, now: number): Promise<readonly string[]> {
    const rows = await this.#db
      .updateTable('batches')
      .set((eb) => ({
        open: 0,
        // In one statement: one that is closed and still validates is looked at by nobody.
        status: 'in_progress',
        in_progress_at: eb.fn.coalesce('in_progress_at', eb.val(now)),
      }))
      .where('open', '=', 1)
      .where('status', 'in', ['validating', 'in_progress'])
      .where('closes_at', '<=', before)
      .returning('id')
      .execute();
    return rows.map(({ id }) => id);
  }

  /** Ended so long ago that nobody asks for a single line of theirs any more. */
  async toSweep(before: number, limit: number): Promise<readonly string[]> {
    const rows = await this.#db
      .selectFrom('batches')
      .where('ended_at', '<=', before)
      .where('swept', '=', 0)
      .select('id')
      .limit(limit)
      .execute();
    return rows.map(({ id }) => id);
  }

  async swept(ids: readonly string[]): Promise<void> {
    if (ids.length > 0) await this.#db.updateTable('batches').set({ swept: 1 }).where('id', 'in', ids).execute();
  }

  async forget(before: number): Promise<void> {
    await this.#db.deleteFrom('batches').where('ended_at', '<=', before).where('swept', '=', 1).execute();
  }

  #of(owner: string) {
    return this.#db.selectFrom('batches').where('owner', '=', owner);
  }
}

/** Nobody is at it; or this gateway was, and could not let go: the database was away, or it was cancelled at that moment. */
function heldBy(gateway: string) {
  return (eb: ExpressionBuilder<Tables, 'batches'>) => eb.or([eb('held_by', 'is', null), eb('held_by', '=', gateway)]);
}

export interface Sums {
  /** Of the oldest that is kept. */
  readonly since: number | null;
  readonly batches: number;
  readonly completed: number;
  readonly failed: number;
  readonly tokens_in: number;
  readonly tokens_out: number;
  /** Single requests that joined a batch, and the windows they came in. */
  readonly collected: number;
  readonly windows: number;
  /** Of these, those for another's Batch API. */
  readonly upstream: number;
  readonly upstream_windows: number;
}

/** What the runner needs to know of a batch. */
export type Running = Pick<Batch, 'id' | 'owner' | 'endpoint' | 'window' | 'expires_at' | 'open'> & {
  readonly models: readonly string[];
};
