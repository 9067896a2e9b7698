// What is known of lines: claimed by one gateway at a time, done once. Of two results for one line the first stands, so a line
// that ran twice, by a gateway thought dead, is still told once.
import type { Kysely, Selectable } from 'kysely';
import type { Database } from '../db/open.ts';
import type { LineTable, Tables } from '../tables.ts';

export type Line = Selectable<LineTable>;
/** What a line is found by. */
export type Place = Pick<Line, 'batch' | 'n'>;
/** What running it takes. */
export type Claimed = Pick<Line, 'batch' | 'n' | 'custom_id' | 'model' | 'at' | 'bytes' | 'tries' | 'rank'>;

/** How one line ended. */
export interface Result extends Place {
  readonly ok: boolean;
  /** The line of the output or error file, without its end. */
  readonly text: Buffer;
  readonly tokens?: Tokens | undefined;
}

export interface Tokens {
  readonly in: number;
  readonly out: number;
  readonly cached: number;
  readonly reasoning: number;
}

/** Rows of one statement: SQLite takes 32,766 values in one. */
const ROWS_MAX = 500;
/** Of results, which are longer. */
const FINISHED_MAX = 100;
const CLAIMED = ['batch', 'n', 'custom_id', 'model', 'at', 'bytes', 'tries', 'rank'] as const;

export class Lines {
  readonly #database: Database<Tables>;
  readonly #db: Kysely<Tables>;
  /** Other gateways claim lines of the same database. */
  readonly #shared: boolean;

  constructor(database: Database<Tables>) {
    this.#database = database;
    this.#db = database.kysely;
    this.#shared = database.dialect === 'postgres';
  }

  async add(lines: readonly Line[], db: Kysely<Tables> = this.#db): Promise<void> {
    for (let at = 0; at < lines.length; at += ROWS_MAX) {
      await db
        .insertInto('lines')
        .values(lines.slice(at, at + ROWS_MAX))
        .execute();
    }
  }

  /** All of a batch's, where they could not all be written, or are needed no more. */
  async removeOf(batch: string): Promise<void> {
    // Some at a time: others write between.
    for (let removed = 1n; removed > 0n;) {
      const some = this.#db.selectFrom('lines').where('batch', '=', batch).limit(ROWS_MAX).select('n');
      const { numDeletedRows } = await this.#db
        .deleteFrom('lines')
        .where('batch', '=', batch)
        .where('n', 'in', some)
        .executeTakeFirstOrThrow();
      removed = numDeletedRows;
    }
  }

  /** Takes up to `limit` waiting lines of one model for this gateway. */
  async claim(batch: string, model: string, limit: number, gateway: string, now: number): Promise<readonly Claimed[]> {
    // On its own, before the update: PostgreSQL would choose the lines anew for each row it looks at.
    const rows = await this.#db
      .with('next', (db) => {
        const next = db
          .selectFrom('lines')
          .where('batch', '=', batch)
          .where('model', '=', model)
          .where('state', '=', 'waiting')
          .where('not_before', '<=', now)
          .orderBy('n')
          .limit(limit)
          .select('n');
        // Lines that another gateway is taking at this moment are not waited for.
        return this.#shared ? next.forUpdate().skipLocked() : next;
      })
      .updateTable('lines')
      .set({ state: 'claimed', claimed_by: gateway })
      .where('batch', '=', batch)
      // Nothing more, or SQLite would go through all that wait.
      .where('n', 'in', (eb) => eb.selectFrom('next').select('n'))
      .returning(CLAIMED)
      .execute();
    return rows.toSorted((a, b) => a.n - b.n);
  }

  /** Whether there will be any to claim, and when: the earliest `not_before` of its waiting lines. */
  async nextDue(batch: string, model: string): Promise<number | undefined> {
    const { due } = await this.#db
      .selectFrom('lines')
      .where('batch', '=', batch)
      .where('model', '=', model)
      .where('state', '=', 'waiting')
      .select(({ fn }) => fn.min('not_before').as('due'))
      .executeTakeFirstOrThrow();
    return due ?? undefined;
  }

  /** Back to waiting, until a time; `tried` counts one try more. */
  async giveBack(places: readonly Place[], gateway: string, not_before: number, tried: boolean): Promise<void> {
    for (const [batch, ns] of byBatch(places)) {
      await this.#db
        .updateTable('lines')
        .set(({ eb }) => ({
          state: 'waiting',
          claimed_by: null,
          not_before,
          ...(tried ? { tries: eb('tries', '+', 1) } : {}),
        }))
        .where('batch', '=', batch)
        .where('n', 'in', ns)
        .where('state', '=', 'claimed')
        .where('claimed_by', '=', gateway)
        .execute();
    }
  }

  /** What gateways that are gone had claimed. */
  async giveBackOf(gateways: readonly string[]): Promise<void> {
    if (gateways.length === 0) return;
    await this.#db
      .updateTable('lines')
      .set({ state: 'waiting', claimed_by: null })
      .where('state', '=', 'claimed')
      .where('claimed_by', 'in', gateways)
      .execute();
  }

  /** Writes results down together, and counts them; which of them were the first of their line. */
  async finish(results: readonly Result[]): Promise<readonly boolean[]> {
    // In one order everywhere: two gateways that lock the same rows the other way round would wait for each other.
    const order = results.map((_, at) => at).sort((a, b) => compare(results[a]!, results[b]!));
    return await this.#db.transaction().execute(async (db) => {
      const first = results.map(() => false);
      const sums = new Map<string, Sum>();
      for (let from = 0; from < order.length; from += FINISHED_MAX) {
        const some = order.slice(from, from + FINISHED_MAX);
        const changed = await this.#end(
          db,
          some.map((at) => results[at]!),
        );
        for (const at of some) {
          const { batch, n, ok, tokens } = results[at]!;
          // Of two results of one line within a group the first stands.
          first[at] = changed.delete(`${batch} ${n}`);
          if (!first[at]) continue;
          const sum = sums.get(batch) ?? { completed: 0, failed: 0, in: 0, out: 0, cached: 0, reasoning: 0 };
          sums.set(batch, sum);
          sum[ok ? 'completed' : 'failed'] += 1;
          for (const kind of ['in', 'out', 'cached', 'reasoning'] as const) sum[kind] += tokens?.[kind] ?? 0;
        }
      }
      for (const [batch, sum] of sums) {
        await db
          .updateTable('batches')
          .set(({ eb }) => ({
            completed: eb('completed', '+', sum.completed),
            failed: eb('failed', '+', sum.failed),
            tokens_in: eb('tokens_in', '+', sum.in),
            tokens_out: eb('tokens_out', '+', sum.out),
            tokens_cached: eb('tokens_cached', '+', sum.cached),
            tokens_reasoning: eb('tokens_reasoning', '+', sum.reasoning),
          }))
          .where('id', '=', batch)
          .execute();
      }
      return first;
    });
  }

  /** Many rows with one statement; which of them had not ended before. */
  async #end(db: Kysely<Tables>, results: readonly Result[]): Promise<Set<string>> {
    const { sql, dialect } = this.#database;
    const blob = sql.raw(dialect === 'postgres' ? 'bytea' : 'blob');
    const unique = new Map(results.toReversed().map((result) => [`${result.batch} ${result.n}`, result]));
    const rows = [...unique.values()].map(
      ({ batch, n, ok, text }) =>
        sql`(cast(${batch} as text), cast(${n} as bigint), cast(${Number(ok)} as bigint), cast(${text} as ${blob}))`,
    );
    const { rows: changed } = await sql<Place>`
      with ended (batch, n, ok, result) as (values ${sql.join(rows)})
      update lines set state = 'done', ok = ended.ok, result = ended.result, body = null, claimed_by = null
      from ended
      where lines.batch = ended.batch and lines.n = ended.n and lines.state <> 'done'
      returning lines.batch as batch, lines.n as n`.execute(db);
    return new Set(changed.map(({ batch, n }) => `${batch} ${n}`));
  }

  /** Lines of a batch that are not done, some at a time: of those in these states. */
  async undone(batch: string, states: readonly Line['state'][], limit: number): Promise<readonly Claimed[]> {
    return await this.#db
      .selectFrom('lines')
      .where('batch', '=', batch)
      .where('state', 'in', states)
      // In no order: to keep that of the file SQLite would go through all that are done.
      .limit(limit)
      .select(CLAIMED)
      .execute();
  }

  /** What this gateway has claimed. */
  async claimedBy(gateway: string): Promise<readonly Place[]> {
    return await this.#db
      .selectFrom('lines')
      .where('state', '=', 'claimed')
      .where('claimed_by', '=', gateway)
      .select(['batch', 'n'])
      .execute();
  }

  /** The results of a batch in the order of its lines, some at a time. */
  async *results(batch: string, ok: boolean): AsyncGenerator<Buffer> {
    for (let after = -1; ;) {
      const rows = await this.#db
        .selectFrom('lines')
        .where('batch', '=', batch)
        .where('state', '=', 'done')
        .where('ok', '=', Number(ok))
        .where('n', '>', after)
        .orderBy('n')
        .limit(READ_MAX)
        .select(['n', 'result'])
        .execute();
      for (const { result } of rows) if (result !== null) yield result;
      const last = rows.at(-1);
      if (last === undefined) return;
      after = last.n;
    }
  }

  /** The body of a line that has it with it: collected, not uploaded. */
  async body({ batch, n }: Place): Promise<Buffer | undefined> {
    const row = await this.#db
      .selectFrom('lines')
      .where('batch', '=', batch)
      .where('n', '=', n)
      .select('body')
      .executeTakeFirst();
    return row?.body ?? undefined;
  }

  async one({ batch, n }: Place): Promise<Line | undefined> {
    return await this.#db
      .selectFrom('lines')
      .where('batch', '=', batch)
      .where('n', '=', n)
      .selectAll()
      .executeTakeFirst();
  }

  /** Of these, those that are done. */
  async done(places: readonly Place[]): Promise<readonly Line[]> {
    const found: Line[] = [];
    for (const [batch, ns] of byBatch(places)) {
      const rows = await this.#db
        .selectFrom('lines')
        .where('batch', '=', batch)
        .where('n', 'in', ns)
        .where('state', '=', 'done')
        .selectAll()
        .execute();
      found.push(...rows);
    }
    return found;
  }
}

interface Sum extends Tokens {
  completed: number;
  failed: number;
  in: number;
  out: number;
  cached: number;
  reasoning: number;
}

/** A result may be as long as an answer: few at a time. */
const READ_MAX = 50;

function compare(a: Place, b: Place): number {
  return a.batch === b.batch ? a.n - b.n : a.batch < b.batch ? -1 : 1;
}

/** The lines of each batch, for one question about them. */
export function byBatch(places: readonly Place[]): ReadonlyMap<string, number[]> {
  const map = new Map<string, number[]>();
  for (const { batch, n } of places) {
    const ns = map.get(batch);
    if (ns === undefined) map.set(batch, [n]);
    else ns.push(n);
  }
  return map;
}
