// A process that has the database open, for tests of what happens beside it and after it: says "open", or why not; on a line
// of stdin writes a row and says so. `forget` ends without closing.
import { once } from 'node:events';
import { migrate } from '../../../src/batch/db/migrate.ts';
import { openDatabase } from '../../../src/batch/db/open.ts';
import { migrationsOf, type Tables } from './tables.ts';

const [folder = '', how] = process.argv.slice(2);
try {
  const db = await openDatabase<Tables>({ folder });
  await migrate(db, migrationsOf('sqlite'));
  console.log('open');
  if (how !== 'forget') {
    await once(process.stdin, 'data');
    await db.kysely.insertInto('things').values({ name: 'written' }).execute();
    console.log('written');
    await once(process.stdin, 'data');
  }
} catch (error) {
  console.log((error as Error).message);
}
