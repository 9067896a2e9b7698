// The tables as the code wants them. Each migration is a name (they run in the names' order) and a function; in one transaction
// all that are missing, or none. Two gateways that start at once: PostgreSQL's advisory lock lets one after the other (Kysely's
// PostgresAdapter), SQLite has one gateway.
import type { ColumnDefinitionBuilder, Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';
import { DatabaseError } from './fault.ts';
import type { Database, DialectName } from './open.ts';

/** What Kysely writes down: which have run. */
interface Executed {
  readonly kysely_migration: { readonly name: string };
}

/**
 * @returns the names of those that ran now
 * @throws DatabaseError where the database is newer than `migrations`; else what the database said (`faultOf`)
 */
export function migrate<Tables>(
  db: Database<Tables>,
  migrations: Readonly<Record<string, Migration>>,
): Promise<readonly string[]> {
  return db.unhurried(async (kysely) => {
    const { Migrator } = await import('kysely/migration');
    const provider = { getMigrations: async () => ({ ...migrations }) };
    const { error, results = [] } = await new Migrator({ db: kysely, provider }).migrateToLatest();
    if (error === undefined) return results.map(({ migrationName }) => migrationName);
    if (isDisorder(error)) await refuseNewer(kysely, db.where, migrations);
    throw error;
  });
}

/** Kysely's own finding, before it has run anything: no error of the database has this word. */
function isDisorder(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('corrupted migrations');
}

async function refuseNewer<Tables>(
  kysely: Kysely<Tables>,
  where: string,
  migrations: Readonly<Record<string, Migration>>,
): Promise<void> {
  const executed = await (kysely as unknown as Kysely<Executed>)
    .selectFrom('kysely_migration')
    .select('name')
    .execute();
  const unknown = executed.map(({ name }) => name).find((name) => migrations[name] === undefined);
  if (unknown === undefined) return;
  throw new DatabaseError(
    `${where} has been used by a newer version of lanyard (${unknown}): use that version, or a backup`,
  );
}

/** A migration's words for column types, which the databases have different ones for. */
export interface ColumnTypes {
  /** Any bytes, read as Buffer. */
  readonly blob: 'blob' | 'bytea';
  /** A whole number, read as number; reading one beyond 2^53 throws. */
  readonly int: 'integer' | 'bigint';
  /** `addColumn('id', types.int, types.rising)`: the primary key, given by the database, rising, never again; with gaps. */
  readonly rising: (column: ColumnDefinitionBuilder) => ColumnDefinitionBuilder;
}

export function columnTypes(dialect: DialectName): ColumnTypes {
  if (dialect === 'sqlite')
    return { blob: 'blob', int: 'integer', rising: (column) => column.primaryKey().autoIncrement() };
  return { blob: 'bytea', int: 'bigint', rising: (column) => column.primaryKey().generatedByDefaultAsIdentity() };
}
