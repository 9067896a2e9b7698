// What is SQLite's alone: its files, the one gateway that may have them, and its one connection.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { faultOf } from '../../../src/batch/db/fault.ts';
import { migrate } from '../../../src/batch/db/migrate.ts';
import { openDatabase, type Database } from '../../../src/batch/db/open.ts';
import { migrationsOf, type Tables } from './tables.ts';

const HOLDER = fileURLToPath(new URL('holder.ts', import.meta.url));

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-sqlite-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return join(folder, 'data');
}

async function open(folder = newFolder()): Promise<Database<Tables>> {
  const db = await openDatabase<Tables>({ folder });
  onTestFinished(() => db.close());
  await migrate(db, migrationsOf('sqlite'));
  return db;
}

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

async function pragma(db: Database<Tables>, name: string): Promise<unknown> {
  const { rows } = await db.sql<Record<string, unknown>>`pragma ${db.sql.raw(name)}`.execute(db.kysely);
  return Object.values(rows[0] ?? {})[0];
}

test('makes folder and files for nobody else, and writes so that a commit survives', async () => {
  const folder = newFolder();
  const db = await open(folder);
  const modes = readdirSync(folder).map((name) => [name, (statSync(join(folder, name)).mode & 0o777).toString(8)]);
  expect(Object.fromEntries(modes)).toEqual({
    'lanyard.db': '600',
    'lanyard.db-shm': '600',
    'lanyard.db-wal': '600',
    'lanyard.lock': '600',
  });
  expect((statSync(folder).mode & 0o777).toString(8)).toBe('700');
  const pragmas = ['journal_mode', 'synchronous', 'foreign_keys', 'busy_timeout', 'auto_vacuum'];
  expect(await Promise.all(pragmas.map((name) => pragma(db, name)))).toEqual(['wal', 2, 1, 5000, 2]);
});

test('keeps what is written for the next one', async () => {
  const folder = newFolder();
  const first = await openDatabase<Tables>({ folder });
  await migrate(first, migrationsOf('sqlite'));
  await first.kysely.insertInto('things').values({ name: 'a' }).execute();
  await first.close();
  expect(readdirSync(folder).sort()).toEqual(['lanyard.db', 'lanyard.lock']);
  const second = await open(folder);
  expect(await second.kysely.selectFrom('things').select('name').execute()).toEqual([{ name: 'a' }]);
});

function hold(folder: string, how = 'hold'): { child: ChildProcess; line: () => Promise<string> } {
  const child = spawn(process.execPath, [HOLDER, folder, how], { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  return { child, line: async () => String((await once(child.stdout as NodeJS.ReadableStream, 'data'))[0]).trim() };
}

test('one gateway at a time has the file, and kill -9 leaves it to the next with all that was written', async () => {
  const folder = newFolder();
  const first = hold(folder);
  expect(await first.line()).toBe('open');
  const told = `another gateway uses ${join(folder, 'lanyard.db')}: several gateways need database: postgres://…`;
  expect(await failure(openDatabase({ folder }))).toMatchObject({ message: told });
  expect(await hold(folder).line()).toBe(told);
  // Those who were refused have taken nothing from it.
  first.child.stdin?.write('\n');
  expect(await first.line()).toBe('written');
  expect(await failure(openDatabase({ folder }))).toMatchObject({ message: told });

  first.child.kill('SIGKILL');
  await once(first.child, 'exit');
  const db = await open(folder);
  expect(await db.kysely.selectFrom('things').select('name').execute()).toEqual([{ name: 'written' }]);
  expect(await failure(openDatabase({ folder }))).toMatchObject({ message: told });
});

test('a process that forgets to close it ends all the same', async () => {
  const { child, line } = hold(newFolder(), 'forget');
  expect(await line()).toBe('open');
  expect(await once(child, 'exit')).toEqual([0, null]);
});

test.for([
  ['another file', (file: string) => writeFileSync(file, 'x'.repeat(5000))],
  ['a torn one', (file: string) => truncateSync(file, 700)],
  ['one with its first page lost', (file: string) => writeFileSync(file, Buffer.alloc(8192), { flag: 'r+' })],
] as const)('is refused with what to do: %s', async ([, harm]) => {
  const folder = newFolder();
  const first = await openDatabase<Tables>({ folder });
  await migrate(first, migrationsOf('sqlite'));
  await first.close();
  const file = join(folder, 'lanyard.db');
  harm(file);
  expect(await failure(openDatabase({ folder }))).toMatchObject({
    message: `${file} is not a database, or is damaged: put a backup in its place, or move it away`,
  });
  // And the lock is free: whoever moves it away may start.
  rmSync(file);
  await open(folder);
});

test('a file that cannot be opened is named', async () => {
  const folder = newFolder();
  mkdirSync(join(folder, 'lanyard.db'), { recursive: true });
  const message = expect.stringMatching(/lanyard\.db cannot be opened: unable to open/) as string;
  expect(await failure(openDatabase({ folder }))).toMatchObject({ message });
});

test('a full disk: full, the transaction is gone as a whole, and it goes on when there is room', async () => {
  const db = await open();
  const pages = Number(await pragma(db, 'page_count'));
  await pragma(db, `max_page_count = ${pages + 20}`);
  const bytes = Buffer.alloc(200_000);
  const failed = db.kysely.transaction().execute(async (trx) => {
    await trx.insertInto('things').values({ name: 'small' }).execute();
    await trx.insertInto('things').values({ bytes }).execute();
  });
  expect(faultOf(await failure(failed))).toBe('full');
  expect(await db.kysely.selectFrom('things').selectAll().execute()).toEqual([]);
  await pragma(db, 'max_page_count = 1000000');
  await db.kysely.insertInto('things').values({ bytes }).execute();
});

test('nothing is written outside of a transaction that SQLite has ended', async () => {
  const db = await open();
  const failed = db.kysely.transaction().execute(async (trx) => {
    await trx.insertInto('things').values({ name: 'first' }).execute();
    // As SQLite does by itself after some errors.
    await failure(db.sql`insert or rollback into things (id) values (1)`.execute(trx));
    await trx.insertInto('things').values({ name: 'last' }).execute();
  });
  expect(await failure(failed)).toMatchObject({ message: 'the transaction has been rolled back by an error in it' });
  expect(await db.kysely.selectFrom('things').selectAll().execute()).toEqual([]);
});

test('a transaction is not begun by hand, where everybody would be in it', async () => {
  const db = await open();
  expect(await failure(db.sql`begin`.execute(db.kysely))).toMatchObject({
    message: 'a transaction is begun with transaction(), so that nobody else gets into it',
  });
  await db.kysely.transaction().execute((trx) => trx.insertInto('things').values({ name: 'a' }).execute());
});

test.for([[true], [new Date(0)], [{}]])('refuses a parameter that it does not store: %s', async ([value]) => {
  const db = await open();
  const beside = db.kysely.insertInto('things').values({ name: 'beside' }).execute();
  expect(await failure(db.sql`select ${value}`.execute(db.kysely))).toBeInstanceOf(TypeError);
  // One that waits for its turn as well, behind a transaction.
  const inside = Promise.withResolvers<void>();
  const transaction = db.kysely.transaction().execute(() => inside.promise);
  const waiting = failure(db.sql`select ${value}`.execute(db.kysely));
  const bytes = Buffer.alloc(50_000, 'b');
  const behind = db.kysely.insertInto('things').values({ bytes }).returning('bytes').executeTakeFirstOrThrow();
  inside.resolve();
  expect(await waiting).toBeInstanceOf(TypeError);
  expect((await behind).bytes).toEqual(bytes);
  await Promise.all([beside, transaction]);
});

test('sees what a changed table looks like, and keeps few of very many statements', async () => {
  const db = await open();
  const read = db.kysely.selectFrom('things').selectAll();
  await db.kysely.insertInto('things').values({ name: 'a' }).execute();
  expect(Object.keys((await read.executeTakeFirst()) ?? {})).toEqual(['id', 'name', 'bytes', 'number']);
  await db.kysely.schema.alterTable('things').addColumn('more', 'text').execute();
  expect(Object.keys((await read.executeTakeFirst()) ?? {})).toEqual(['id', 'name', 'bytes', 'number', 'more']);
  const texts = Array.from({ length: 500 }, (_, index) => index);
  const asked = texts.map((index) =>
    db.sql<{ x: number }>`select ${db.sql.raw(String(index))} as x`.execute(db.kysely),
  );
  expect((await Promise.all(asked)).map(({ rows }) => rows[0]?.x)).toEqual(texts);
});

test('gives the disk back what is deleted, when asked', async () => {
  const db = await open();
  await db.kysely
    .insertInto('things')
    .values({ bytes: Buffer.alloc(2_000_000) })
    .execute();
  const full = Number(await pragma(db, 'page_count'));
  await db.kysely.deleteFrom('things').execute();
  await pragma(db, 'incremental_vacuum(100)');
  expect(full - Number(await pragma(db, 'page_count'))).toBe(100);
});

test('answers what was asked before it is closed, and nothing after', async () => {
  const db = await openDatabase<Tables>({ folder: newFolder() });
  await migrate(db, migrationsOf('sqlite'));
  const asked = Array.from({ length: 50 }, (_, number) =>
    db.kysely.insertInto('things').values({ number }).returning('number').executeTakeFirstOrThrow(),
  );
  const stream = db.kysely.selectFrom('things').select('id').stream(1);
  await Promise.all(asked.slice(0, 1));
  await stream.next();
  await db.close();
  expect((await Promise.all(asked)).map(({ number }) => number)).toEqual(Array.from({ length: 50 }, (_, n) => n));
  expect(await failure(db.kysely.selectFrom('things').select('id').execute())).toBeInstanceOf(Error);
});
