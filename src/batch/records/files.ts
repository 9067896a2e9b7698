// What is known of files; their bytes are elsewhere (contents.ts). Every look is by owner: another key's file is not there.
import type { Kysely, Selectable } from 'kysely';
import type { FileTable, Tables } from '../tables.ts';

export type StoredFile = Omit<Selectable<FileTable>, 'seq'>;

export interface Page {
  readonly limit: number;
  /** The id behind which it begins. */
  readonly after: string | undefined;
}

export class Files {
  readonly #db: Kysely<Tables>;

  constructor(db: Kysely<Tables>) {
    this.#db = db;
  }

  async add(file: StoredFile): Promise<void> {
    await this.#db.insertInto('files').values(file).execute();
  }

  /** Also one that has expired is gone. */
  async one(owner: string, id: string, now: number): Promise<StoredFile | undefined> {
    return await this.#living(owner, now).where('id', '=', id).selectAll().executeTakeFirst();
  }

  async list(
    owner: string,
    { limit, after }: Page,
    order: 'asc' | 'desc',
    purpose: string | undefined,
    now: number,
  ): Promise<{ readonly rows: readonly StoredFile[]; readonly has_more: boolean }> {
    let query = this.#living(owner, now)
      .selectAll()
      .orderBy('seq', order)
      .limit(limit + 1);
    if (purpose !== undefined) query = query.where('purpose', '=', purpose as FileTable['purpose']);
    if (after !== undefined) {
      const seq = this.#db.selectFrom('files').where('id', '=', after).where('owner', '=', owner).select('seq');
      query = query.where('seq', order === 'asc' ? '>' : '<', seq);
    }
    const rows = await query.execute();
    return { rows: rows.slice(0, limit), has_more: rows.length > limit };
  }

  /** Whether there was one. */
  async remove(owner: string, id: string): Promise<boolean> {
    const gone = await this.#db.deleteFrom('files').where('owner', '=', owner).where('id', '=', id).executeTakeFirst();
    return gone.numDeletedRows > 0n;
  }

  /** Files of this key, and bytes of all. */
  async held(owner: string): Promise<{ readonly files: number; readonly bytes: number }> {
    const { files, bytes } = await this.#db
      .selectFrom('files')
      .select(({ fn, eb }) => [
        fn.coalesce(fn.sum<number>('bytes'), eb.lit(0)).as('bytes'),
        fn.coalesce(fn.sum<number>(eb.case().when('owner', '=', owner).then(1).else(0).end()), eb.lit(0)).as('files'),
      ])
      .executeTakeFirstOrThrow();
    return { files, bytes };
  }

  /** Too old, and no batch that has not ended reads them. */
  async expired(now: number, limit: number): Promise<readonly string[]> {
    const rows = await this.#db
      .selectFrom('files')
      .where('expires_at', '<=', now)
      .where((eb) =>
        eb.not(
          eb.exists(
            eb
              .selectFrom('batches')
              .whereRef('batches.input_file', '=', 'files.id')
              .where('batches.swept', '=', 0)
              .where('batches.ended_at', 'is', null)
              .select('batches.id'),
          ),
        ),
      )
      .select('id')
      .limit(limit)
      .execute();
    return rows.map(({ id }) => id);
  }

  async forget(ids: readonly string[]): Promise<void> {
    if (ids.length > 0) await this.#db.deleteFrom('files').where('id', 'in', ids).execute();
  }

  async known(ids: readonly string[]): Promise<ReadonlySet<string>> {
    const known = new Set<string>();
    for (let at = 0; at < ids.length; at += ASKED_MAX) {
      const some = ids.slice(at, at + ASKED_MAX);
      const rows = await this.#db.selectFrom('files').where('id', 'in', some).select('id').execute();
      for (const { id } of rows) known.add(id);
    }
    return known;
  }

  #living(owner: string, now: number) {
    return this.#db
      .selectFrom('files')
      .where('owner', '=', owner)
      .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]));
  }
}

/** Names in one question. */
const ASKED_MAX = 500;
