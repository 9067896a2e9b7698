// PostgreSQL as Kysely's dialect: a pool of pg's, with every limit written here, and what Kysely and pg leave open about
// connections that break.
import { PostgresDialect, type Dialect, type PostgresPool } from 'kysely';
import pg from 'pg';
import { withVerifiedTls } from './address.ts';
import { Cursor } from './cursor.ts';
import { faultOf } from './fault.ts';
import { typesOf } from './types.ts';

export interface PostgresOptions {
  readonly url: string;
  /** Told of a connection that broke while nobody used it. */
  readonly lost: (error: Error) => void;
  /** For migrations: one connection, and no time limit on what it does. */
  readonly unhurried?: boolean;
}

const CONNECTIONS_MAX = 10;
/** Also how long a query waits for one of the pool's connections. */
const CONNECT_MS = 5000;
const STATEMENT_MS = 60_000;
/** A peer that vanished sends no FIN: later than its own limit on the statement, its answer is not waited for. */
const ANSWER_MS = STATEMENT_MS + 5000;
/** Between the statements of a transaction, or the pages of a stream, which has one. */
const IDLE_IN_TRANSACTION_MS = 300_000;
const IDLE_MS = 60_000;
const KEEP_ALIVE_AFTER_MS = 10_000;

/**
 * Connects when it is first asked something. Kysely's `destroy` closes it, if it was asked anything.
 */
export function postgresDialect({ url, lost, unhurried = false }: PostgresOptions): Dialect {
  const pool = new pg.Pool({
    connectionString: withVerifiedTls(url),
    application_name: 'lanyard',
    max: unhurried ? 1 : CONNECTIONS_MAX,
    connectionTimeoutMillis: CONNECT_MS,
    idleTimeoutMillis: IDLE_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_AFTER_MS,
    ...(unhurried ? {} : { query_timeout: ANSWER_MS }),
    types: typesOf(pg.types),
  });
  pool.on('error', lost);
  // While a connection is lent out, the pool does not listen, and an event 'error' that nobody hears ends the process. Whoever
  // has it learns from the next query.
  pool.on('connect', (client) => client.on('error', () => {}));
  return new PostgresDialect({ pool: lending(pool, unhurried), cursor: Cursor });
}

/**
 * Sent as a query and not as parameters of the connection, which PgBouncer refuses. Only a synchronous_commit that loses what
 * was acknowledged is changed: an administrator may have chosen more than 'on'.
 */
async function setSession(client: pg.PoolClient, unhurried: boolean): Promise<void> {
  const statement_ms = unhurried ? 0 : STATEMENT_MS;
  await client.query(`
    select set_config('statement_timeout', '${statement_ms}', false),
      set_config('idle_in_transaction_session_timeout', '${unhurried ? 0 : IDLE_IN_TRANSACTION_MS}', false),
      case when current_setting('synchronous_commit') = 'off' then set_config('synchronous_commit', 'on', false) end`);
}

/**
 * pg's pool as Kysely wants it, except that a connection that is of no use any more is not given back: one whose answer never
 * came still waits for it (pg 8.23.1, `query_timeout`), and one to what has become a standby stays there after a fail-over.
 */
function lending(pool: pg.Pool, unhurried: boolean): PostgresPool {
  const known = new WeakSet<pg.PoolClient>();
  const connect = async (): Promise<pg.PoolClient> => {
    const client = await pool.connect();
    if (known.has(client)) return client;
    try {
      await setSession(client, unhurried);
    } catch (error) {
      client.release(true);
      throw error;
    }
    known.add(client);
    return client;
  };
  return {
    options: pool.options,
    end: () => pool.end(),
    async connect() {
      const client = await connect();
      let useless = false;
      return {
        query: (text: unknown, values?: unknown) => {
          if (text instanceof Cursor) return text.on(client);
          return client.query(text as string, values as unknown[]).catch((error: unknown) => {
            useless ||= faultOf(error) === 'gone';
            throw error;
          });
        },
        release: (destroy) => client.release(destroy === true || useless),
      } as Awaited<ReturnType<PostgresPool['connect']>>;
    },
  };
}
