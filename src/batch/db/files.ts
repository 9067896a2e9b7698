// SQLite's files, opened by the worker: the database, and beside it the lock that one gateway holds for its life.
//
// The lock is a database of its own with an open exclusive transaction, which is an fcntl lock on the file: the kernel lets go
// of it with the process however that ends, kill -9 and power loss included, so nothing is ever stale. `locking_mode =
// EXCLUSIVE` on the database itself would do the same, but then a stream could not read beside the writer, and no
// administrator could look or back up (sqlite3's `.backup`) while the gateway runs.
import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Files } from './messages.ts';

export interface OpenFiles {
  readonly database: DatabaseSync;
  readonly lock: DatabaseSync;
}

const BUSY_MS = 5000;
/** What the WAL is cut back to after a great transaction has made it grow. */
const WAL_BYTES_KEPT = 64 * 1024 * 1024;

/** @throws Error in an administrator's words */
export function openFiles({ database: path, lock: lock_path }: Files): OpenFiles {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const lock = hold(lock_path, path);
  try {
    return { database: openMain(path), lock };
  } catch (error) {
    lock.close();
    if (isOf(error, SQLITE_NOTADB, SQLITE_CORRUPT))
      throw new Error(`${path} is not a database, or is damaged: put a backup in its place, or move it away`, {
        cause: error,
      });
    throw new Error(`${path} cannot be opened: ${(error as Error).message}`, { cause: error });
  }
}

function hold(lock_path: string, path: string): DatabaseSync {
  let lock: DatabaseSync | undefined;
  try {
    makePrivate(lock_path);
    lock = new DatabaseSync(lock_path, { timeout: 0 });
    // Nothing is ever written: no journal beside it either.
    lock.exec('pragma journal_mode = memory; begin exclusive');
    return lock;
  } catch (error) {
    lock?.close();
    if (isOf(error, SQLITE_BUSY))
      throw new Error(`another gateway uses ${path}: several gateways need database: postgres://…`, { cause: error });
    throw new Error(`${lock_path} cannot be locked: ${(error as Error).message}`, { cause: error });
  }
}

function openMain(path: string): DatabaseSync {
  makePrivate(path);
  const database = new DatabaseSync(path, { timeout: BUSY_MS, enableForeignKeyConstraints: true });
  try {
    // auto_vacuum holds for a new file only, and makes `pragma incremental_vacuum(pages)` possible later.
    database.exec(`
      pragma auto_vacuum = incremental;
      pragma journal_mode = wal;
      pragma synchronous = full;
      pragma journal_size_limit = ${WAL_BYTES_KEPT};
    `);
    // Reads the header and the schema, which is where a file of another kind or a torn one shows.
    database.prepare('select count(*) from sqlite_schema').get();
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/**
 * 0600, which SQLite gives to the files beside it too. Never opens a file that is there: closing it would let go of the
 * process' fcntl locks on it (sqlite.org/howtocorrupt.html 2.2).
 */
function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    chmodSync(path, 0o600);
  }
}

const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

function isOf(error: unknown, ...codes: readonly number[]): boolean {
  const { errcode } = error as { errcode?: number };
  return errcode !== undefined && codes.includes(errcode & 0xff);
}
