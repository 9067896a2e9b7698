// What is PostgreSQL's alone: it is somewhere else, it goes and comes back, and others are in it too.
import { execFileSync } from 'node:child_process';
import { chownSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { DatabaseError, faultOf } from '../../../src/batch/db/fault.ts';
import { migrate } from '../../../src/batch/db/migrate.ts';
import { openDatabase, type Database, type DatabaseEvent } from '../../../src/batch/db/open.ts';
import { startPostgres, type PostgresServer } from '../../stage/postgres.ts';
import { freePort } from '../../stage/ports.ts';
import { migrationsOf, type Tables } from './tables.ts';

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres();
});
beforeEach(() => server.psql('drop schema public cascade; create schema public'));
afterAll(() => server?.stop());

async function open(url = server.url, log?: (event: DatabaseEvent) => void): Promise<Database<Tables>> {
  const db = await openDatabase<Tables>({ url, folder: '/nowhere', log });
  onTestFinished(() => db.close());
  return db;
}

async function openWithTables(log?: (event: DatabaseEvent) => void): Promise<Database<Tables>> {
  const db = await open(server.url, log);
  await migrate(db, migrationsOf('postgres'));
  return db;
}

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );
const fault = async (promise: Promise<unknown>): Promise<string> => faultOf(await failure(promise));
const ask = (db: Database<Tables>): Promise<unknown> => db.kysely.selectFrom('things').selectAll().execute();

test('one that cannot be reached is gone, and is there when it is', async () => {
  const port = await freePort();
  const db = await open(server.url.replace(`:${server.port}/`, `:${port}/`));
  expect(await fault(ask(db))).toBe('gone');
  expect(await fault(migrate(db, migrationsOf('postgres')))).toBe('gone');
  expect(await fault(db.kysely.transaction().execute(async () => 1))).toBe('gone');
  const nowhere = await open('postgres://user:secret@database.invalid/x');
  expect(await fault(ask(nowhere))).toBe('gone');
});

test('a wrong password is told without it', async () => {
  const db = await open(server.url.replace(encodeURIComponent(server.password), 'wrong-one'));
  const error = (await failure(ask(db))) as Error;
  expect(faultOf(error)).toBe('other');
  expect(error.message).toBe('password authentication failed for user "lanyard"');
  expect(JSON.stringify(error)).not.toContain('wrong-one');
  expect(db.where).toBe(`127.0.0.1:${server.port}/lanyard`);
});

test.for(['halt', 'kill'] as const)('comes back after a restart (%s)', async (end) => {
  const lost: DatabaseEvent[] = [];
  const seen = Promise.withResolvers<void>();
  const db = await openWithTables((event) => {
    lost.push(event);
    seen.resolve();
  });
  await db.kysely.insertInto('things').values({ name: 'before' }).execute();
  const inside = Promise.withResolvers<void>();
  const leave = Promise.withResolvers<void>();
  // Idle in its transaction when its connection breaks, which is nobody's query to fail.
  const transaction = failure(
    db.kysely.transaction().execute(async (trx) => {
      await trx.insertInto('things').values({ name: 'lost' }).execute();
      inside.resolve();
      await leave.promise;
      await trx.insertInto('things').values({ name: 'lost too' }).execute();
    }),
  );
  await inside.promise;
  const running = failure(db.sql`select pg_sleep(60)`.execute(db.kysely));
  const streaming = db.kysely.selectFrom('things').select('id').stream(1);
  await streaming.next();
  // Two that nobody uses.
  await Promise.all([ask(db), ask(db)]);

  await server[end]();
  await seen.promise;
  expect(faultOf(await running)).toBe('gone');
  expect(await fault(Array.fromAsync(streaming))).toBe('gone');
  expect(await fault(ask(db))).toBe('gone');
  leave.resolve();
  expect(faultOf(await transaction)).toBe('gone');

  await server.start();
  expect(await db.kysely.selectFrom('things').select('name').execute()).toEqual([{ name: 'before' }]);
  await Promise.all(Array.from({ length: 20 }, () => ask(db)));
  expect(new Set(lost.map(({ type }) => type))).toEqual(new Set(['connection_lost']));
});

test('two that wait for each other: conflict for one of them', async () => {
  const db = await openWithTables();
  await db.kysely
    .insertInto('things')
    .values([{ name: 'a' }, { name: 'b' }])
    .execute();
  const has_first = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
  const take = (mine: 0 | 1, names: readonly [string, string]): Promise<unknown> =>
    db.kysely.transaction().execute(async (trx) => {
      await trx.updateTable('things').set({ number: 1 }).where('name', '=', names[0]).execute();
      has_first[mine].resolve();
      await has_first[mine === 0 ? 1 : 0].promise;
      await trx.updateTable('things').set({ number: 2 }).where('name', '=', names[1]).execute();
    });
  const ends = await Promise.allSettled([take(0, ['a', 'b']), take(1, ['b', 'a'])]);
  const failed = ends.filter((end) => end.status === 'rejected').map(({ reason }) => faultOf(reason));
  expect(failed).toEqual(['conflict']);
});

test('two that cannot have been one after the other: conflict', async () => {
  const db = await openWithTables();
  await db.kysely.insertInto('things').values({ name: 'a', number: 0 }).execute();
  const serial = db.kysely.transaction().setIsolationLevel('serializable');
  const failed = serial.execute(async (trx) => {
    await trx.selectFrom('things').selectAll().execute();
    await db.kysely.updateTable('things').set({ number: 1 }).execute();
    await trx.updateTable('things').set({ number: 2 }).execute();
  });
  expect(await fault(failed)).toBe('conflict');
});

test('uses ten connections at most, by its name, and they are durable', async () => {
  await server.psql('alter role lanyard set synchronous_commit = off');
  onTestFinished(async () => void (await server.psql('alter role lanyard reset synchronous_commit')));
  const db = await openWithTables();
  const settings = db.sql<{ commit: string; limit: string; pid: number }>`
    select current_setting('synchronous_commit') as commit, current_setting('statement_timeout') as limit,
      pg_backend_pid() as pid, pg_sleep(0.05)`;
  const all = await Promise.all(Array.from({ length: 30 }, () => settings.execute(db.kysely)));
  const rows = all.flatMap(({ rows }) => rows);
  expect(rows.every(({ commit, limit }) => commit === 'on' && limit === '1min')).toBe(true);
  const named = await server.psql(`select pid from pg_stat_activity where application_name = 'lanyard'`);
  expect(named).toHaveLength(10);
  expect(new Set(named.map(({ pid }) => pid))).toEqual(new Set(rows.map(({ pid }) => pid)));
});

test('what an administrator wants beyond that stays', async () => {
  await server.psql('alter role lanyard set synchronous_commit = remote_apply');
  onTestFinished(async () => void (await server.psql('alter role lanyard reset synchronous_commit')));
  const db = await open();
  expect((await db.sql`show synchronous_commit`.execute(db.kysely)).rows).toEqual([
    { synchronous_commit: 'remote_apply' },
  ]);
});

test('a server without room for one more is gone', async () => {
  await server.psql(`create role few login password 'few' connection limit 0`);
  onTestFinished(async () => void (await server.psql('drop role few')));
  const db = await open(`postgres://few:few@127.0.0.1:${server.port}/lanyard`);
  expect(await fault(ask(db))).toBe('gone');
});

test('one that only reads is gone, and its connections are not used again', async () => {
  await migrate(await open(), migrationsOf('postgres'));
  await server.psql(`
    create role standby superuser login password 'standby';
    alter role standby set default_transaction_read_only = on`);
  onTestFinished(async () => void (await server.psql('drop role standby')));
  const db = await open(`postgres://standby:standby@127.0.0.1:${server.port}/lanyard`);
  const add = (): Promise<unknown> => db.kysely.insertInto('things').values({ name: null }).execute();
  expect(await fault(add())).toBe('gone');
  await server.psql('alter role standby reset default_transaction_read_only');
  // As after a fail-over: what the old connection leads to would still only read.
  await add();
});

test('gateways that start at once migrate once', async () => {
  const all = await Promise.all(Array.from({ length: 4 }, () => open()));
  const ran = await Promise.all(all.map((db) => migrate(db, migrationsOf('postgres'))));
  expect(ran.flat()).toEqual(['001-things']);
  await Promise.all(all.map(ask));
});

test('a migration has no time limit, and its connection is closed behind it', async () => {
  const db = await open();
  const limits = await db.unhurried(async (kysely) => (await db.sql`show statement_timeout`.execute(kysely)).rows);
  expect(limits).toEqual([{ statement_timeout: '0' }]);
  expect(await server.psql(`select pid from pg_stat_activity where application_name = 'lanyard'`)).toEqual([]);
});

test.for(['require', 'verify-full'])('sslmode=%s is not satisfied with less', async (mode) => {
  const db = await open(`${server.url}?sslmode=${mode}`);
  expect(await failure(ask(db))).toMatchObject({ message: 'The server does not support SSL connections' });
});

test('with TLS it is asked who it is: sslmode=require does not speak to anybody', async () => {
  const [{ data_directory: data } = {}] = await server.psql('show data_directory');
  const certificate = join(String(data), 'server.crt');
  const key = join(String(data), 'server.key');
  const subject = ['-subj', '/CN=database', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key];
  execFileSync('openssl', [...made, '-out', certificate, ...subject], { stdio: 'ignore' });
  const { uid, gid } = statSync(String(data));
  for (const file of [certificate, key]) chownSync(file, uid, gid);
  await server.psql('alter system set ssl = on');
  onTestFinished(async () => void (await server.psql('alter system reset ssl')));
  await server.halt();
  await server.start();

  const unknown = await open(`${server.url}?sslmode=require`);
  expect(await failure(ask(unknown))).toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
  const known = await open(`${server.url}?sslmode=require&sslrootcert=${encodeURIComponent(certificate)}`);
  const tls = known.sql`select ssl from pg_stat_ssl where pid = pg_backend_pid()`;
  expect((await tls.execute(known.kysely)).rows).toEqual([{ ssl: true }]);
  const by_name = server.url.replace('127.0.0.1', 'localhost');
  const another = await open(`${by_name}?sslmode=require&sslrootcert=${encodeURIComponent(certificate)}`);
  expect(await failure(ask(another))).toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  const anybody = await open(`${server.url}?sslmode=no-verify`);
  expect((await tls.execute(anybody.kysely)).rows).toEqual([{ ssl: true }]);
});

test.for(['mysql://localhost/x', 'lanyard.db', 'postgres://user:secret@:x:/'])('%s is refused at once', async (url) => {
  const error = (await failure(openDatabase({ url, folder: '/nowhere' }))) as Error;
  expect(error.message).toMatch(/^(?:the database is a URL postgres|the URL of the database cannot be parsed)/);
  expect(error).not.toBeInstanceOf(DatabaseError);
  expect(JSON.stringify(error) + error.message).not.toContain('secret');
});
