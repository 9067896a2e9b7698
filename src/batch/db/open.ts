// The gateway's database: SQLite in a file, or PostgreSQL where several gateways share one. What stands above speaks Kysely and
// knows neither. Nothing of it, Kysely included, is loaded before it is opened.
import { join, resolve } from 'node:path';
import type { Kysely, sql } from 'kysely';
import { checkUrl, describe } from './address.ts';

export interface Database<Tables> {
  readonly kysely: Kysely<Tables>;
  /** Kysely's tag for what its builder has no words for; here so that nobody loads Kysely for it. */
  readonly sql: typeof sql;
  readonly dialect: DialectName;
  /** For logs: the file, or host and database. Never user or password. */
  readonly where: string;
  /** For migrations: a Kysely with one connection and no time limits, for the time of `work`. */
  unhurried<T>(work: (kysely: Kysely<Tables>) => Promise<T>): Promise<T>;
  /** After what was asked is answered. A transaction that is open then is lost. */
  close(): Promise<void>;
}

export type DialectName = 'sqlite' | 'postgres';

export type DatabaseEvent =
  /** A connection that nobody used at the time broke; the next query has another one. */
  { readonly type: 'connection_lost'; readonly error: Error };

export interface DatabaseOptions {
  /** `postgres://` or `postgresql://`; undefined: SQLite. */
  readonly url?: string | undefined;
  /** Holds `lanyard.db` and `lanyard.lock`; made where it is missing. Not used with a URL. */
  readonly folder: string;
  readonly log?: ((event: DatabaseEvent) => void) | undefined;
}

/**
 * SQLite is open when this resolves. PostgreSQL is connected to by the first query, since it may be away at the start: its
 * faults are that query's.
 * @throws DatabaseError where another gateway has the file, or it is no database; Error for a URL that is none
 */
export async function openDatabase<Tables>({ url, folder, log }: DatabaseOptions): Promise<Database<Tables>> {
  if (url === undefined) return openSqlite(resolve(folder));
  checkUrl(url);
  return openPostgres(url, log);
}

async function openSqlite<Tables>(folder: string): Promise<Database<Tables>> {
  const [{ Kysely, sql }, { Link }, { sqliteDialect }] = await Promise.all([
    import('kysely'),
    import('./link.ts'),
    import('./sqlite.ts'),
  ]);
  const where = join(folder, 'lanyard.db');
  const link = await Link.open({ database: where, lock: join(folder, 'lanyard.lock') });
  const kysely = new Kysely<Tables>({ dialect: sqliteDialect(link) });
  return {
    kysely,
    sql,
    dialect: 'sqlite',
    where,
    unhurried: (work) => work(kysely),
    async close() {
      await kysely.destroy();
      await link.close();
    },
  };
}

async function openPostgres<Tables>(url: string, log: DatabaseOptions['log']): Promise<Database<Tables>> {
  const [{ Kysely, sql }, { postgresDialect }] = await Promise.all([import('kysely'), import('./postgres.ts')]);
  const lost = (error: Error): void => log?.({ type: 'connection_lost', error });
  const open = (unhurried: boolean): Kysely<Tables> =>
    new Kysely<Tables>({ dialect: postgresDialect({ url, lost, unhurried }) });
  const kysely = open(false);
  return {
    kysely,
    sql,
    dialect: 'postgres',
    where: describe(url),
    async unhurried(work) {
      const own = open(true);
      try {
        return await work(own);
      } finally {
        await own.destroy();
      }
    },
    close: () => kysely.destroy(),
  };
}
