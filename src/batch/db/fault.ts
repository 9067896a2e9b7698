// What can be wrong with the database, in our words, whichever it is. PostgreSQL's classes are of its manual's appendix A,
// SQLite's of sqlite.org/rescode.html; Node's and pg's own errors for a lost line have no SQLSTATE.

/**
 * - `gone`: the database cannot be reached, is starting or going down, or has no connection left: try again later. Whether
 *   what was asked has happened is not known.
 * - `conflict`: another transaction was in the way: nothing has happened, try again at once.
 * - `full`: no space left: nothing has happened.
 * - `unique`: a row with this key is there.
 * - `other`: a bug, or a matter for the administrator (permissions, a wrong password, a corrupt file).
 */
export type DatabaseFault = 'gone' | 'conflict' | 'full' | 'unique' | 'other';

/** Said by us or by SQLite. Its message names files, tables and columns, never a value. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError';
  readonly fault: DatabaseFault;

  constructor(message: string, fault: DatabaseFault = 'other', options?: ErrorOptions) {
    super(message, options);
    this.fault = fault;
  }
}

/** The fault of anything thrown by a query, a transaction, `openDatabase` or `migrate`. */
export function faultOf(error: unknown): DatabaseFault {
  if (error instanceof DatabaseError) return error.fault;
  if (!(error instanceof Error)) return 'other';
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  // A Unix socket that is not there. (A certificate's file that is not there has the same code.)
  if (code === 'ENOENT') return 'syscall' in error && error.syscall === 'connect' ? 'gone' : 'other';
  const known = CODES.find(([pattern]) => pattern.test(code));
  if (known !== undefined) return known[1];
  // Only what has no SQLSTATE is judged by its words.
  return code === '' && LOST.test(error.message) ? 'gone' : 'other';
}

/** SQLite's extended result codes; those that are not here are told by their primary code, the low byte. */
export function faultOfSqlite(errcode: number): DatabaseFault {
  if (UNIQUE_ERRCODES.has(errcode)) return 'unique';
  if (FULL_ERRCODES.has(errcode) || (errcode & 0xff) === SQLITE_FULL) return 'full';
  return BUSY_ERRCODES.has(errcode & 0xff) ? 'conflict' : 'other';
}

const SQLITE_FULL = 13;
/** SQLITE_BUSY, SQLITE_LOCKED: somebody with a tool of theirs holds the file for longer than busy_timeout. */
const BUSY_ERRCODES = new Set([5, 6]);
/** SQLITE_CONSTRAINT_PRIMARYKEY, _UNIQUE, _ROWID. */
const UNIQUE_ERRCODES = new Set([1555, 2067, 2579]);
/** SQLITE_IOERR_SHMSIZE: the file beside the WAL could not grow. */
const FULL_ERRCODES = new Set([4874]);

/**
 * 08: connection; 57P01 to 57P03, 57P05: shut down, crashed, starting, idle too long; 25P03: idle in a transaction too long;
 * 53300: too many connections; 25006: only reads, so it has become a standby. 40001: serialisation; 40P01: deadlock; 55P03:
 * a lock was not to be had. 53100: disk full. 23505: unique.
 */
const CODES: readonly (readonly [RegExp, DatabaseFault])[] = [
  [/^(?:08...|57P0[1235]|25P03|53300|25006)$/, 'gone'],
  [/^(?:40001|40P01|55P03)$/, 'conflict'],
  [/^(?:53100|ENOSPC|EDQUOT)$/, 'full'],
  [/^23505$/, 'unique'],
  [
    /^(?:ECONN(?:REFUSED|RESET|ABORTED)|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|EHOSTDOWN)$/,
    'gone',
  ],
];

/** pg's and pg-pool's texts (8.23.1, 3.x), which have no code. */
const LOST =
  /^(?:Connection terminated|timeout exceeded when trying to connect|timeout expired|Query read timeout|Client (?:has encountered a connection error|was closed) and is not queryable|There was an error establishing an SSL connection)/;
