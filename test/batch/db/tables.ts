// A table with a column of each kind, for the tests of both databases.
import type { Generated, Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';
import { columnTypes } from '../../../src/batch/db/migrate.ts';
import type { DialectName } from '../../../src/batch/db/open.ts';

export interface Tables {
  things: {
    id: Generated<number>;
    name: string | null;
    bytes: Uint8Array | null;
    number: number | bigint | null;
  };
}

export function migrationsOf(dialect: DialectName): Record<string, Migration> {
  const types = columnTypes(dialect);
  return {
    '001-things': {
      async up(kysely: Kysely<unknown>) {
        await kysely.schema
          .createTable('things')
          .addColumn('id', types.int, types.rising)
          .addColumn('name', 'text', (column) => column.unique())
          .addColumn('bytes', types.blob)
          .addColumn('number', types.int)
          .execute();
      },
    },
  };
}
