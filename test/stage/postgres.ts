// A real PostgreSQL on a free port of the loopback, which a test may stop, kill and start again on the same data. It asks for a
// password as a production server does, and it syncs.
import { execFile, execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { freePort } from './ports.ts';
import { findProgram, startProgram, type Program } from './program.ts';

export interface PostgresServer {
  readonly port: number;
  /** With user and password, and a database of its own. */
  readonly url: string;
  readonly password: string;
  /** As an administrator restarts it: connections are ended, it is gone when this resolves. */
  halt(): Promise<void>;
  /** SIGKILL, as the kernel does when memory is short. Its children end by themselves: they are gone when this resolves. */
  kill(): Promise<void>;
  /** SIGSTOP for its postmaster: nobody gets a connection, those that are there go on. */
  freeze(): void;
  thaw(): void;
  /** After `halt` or `kill`, on the same data and port. */
  start(): Promise<void>;
  /** Asks on a connection of its own, as superuser. */
  psql(sql: string): Promise<Record<string, unknown>[]>;
  /** Ends it, and removes its data. */
  stop(): Promise<void>;
}

/** initdb syncs nothing of what it writes: a test's server does not outlive the machine. */
const INITDB = ['--no-sync', '--encoding=UTF8', '--locale=C', '--username=lanyard', '--auth=scram-sha-256'];

export async function startPostgres(options: { port?: number } = {}): Promise<PostgresServer> {
  const port = options.port ?? (await freePort());
  const password = 'p@ss/word:%41';
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-pg-'));
  const data = join(folder, 'data');
  const socket = join(folder, 's');
  const password_file = join(folder, 'password');
  const user = serverUser();
  mkdirSync(socket);
  writeFileSync(password_file, password, { mode: 0o600 });
  if (user !== undefined) for (const path of [folder, socket, password_file]) chownSync(path, user.uid, user.gid);
  const initdb = asUser(user, findServer('initdb'), [...INITDB, '--pgdata', data, '--pwfile', password_file]);
  await promisify(execFile)(initdb.file, initdb.args, { cwd: folder }).catch((error: unknown) => {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  });

  const url = (database: string): string =>
    `postgres://lanyard:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`;
  const settings = {
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: socket,
    max_connections: '40',
    shared_buffers: '16MB',
    logging_collector: 'off',
    // As a server that several gateways share would have it; fsync and synchronous_commit are on by default.
    log_min_messages: 'warning',
  };
  const args = ['-D', data, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])];
  const start = (): Promise<Program> => {
    const postgres = asUser(user, findServer('postgres'), args);
    return startProgram(postgres.file, postgres.args, () => answers(url('postgres')));
  };
  let server = await start();
  await ask(url('postgres'), 'create database lanyard');

  return {
    port,
    url: url('lanyard'),
    password,
    // Fast shutdown. (SIGTERM would wait for the clients.)
    halt: () => server.end('SIGINT'),
    // Its children have its stdout, so its end is seen when they have ended too.
    kill: () => server.end('SIGKILL'),
    freeze: () => server.signal('SIGSTOP'),
    thaw: () => server.signal('SIGCONT'),
    async start() {
      server = await start();
    },
    psql: (sql) => ask(url('lanyard'), sql),
    async stop() {
      await server.end('SIGINT');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function ask(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query(sql)).rows as Record<string, unknown>[];
  } finally {
    await client.end();
  }
}

async function answers(url: string): Promise<boolean> {
  return ask(url, 'select 1').then(
    () => true,
    () => false,
  );
}

interface User {
  readonly uid: number;
  readonly gid: number;
}

/** PostgreSQL refuses to run as root: there it is its package's user's, or nobody's. */
function serverUser(): User | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    try {
      const id = (of: string): number =>
        Number(execFileSync('id', [of, name], { stdio: ['ignore', 'pipe', 'ignore'] }));
      return { uid: id('-u'), gid: id('-g') };
    } catch {
      continue;
    }
  }
  throw new Error('PostgreSQL does not run as root, and there is neither a user postgres nor nobody');
}

/** setpriv becomes the program, so the process is the server's and signals reach it. It is of util-linux, as root is. */
function asUser(user: User | undefined, file: string, args: string[]): { file: string; args: string[] } {
  if (user === undefined) return { file, args };
  const who = [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups', '--'];
  return { file: findProgram('setpriv'), args: [...who, file, ...args] };
}

/** Debian and Homebrew keep a server's programs by its version, out of PATH. The newest. */
function findServer(name: string): string {
  for (const [folder, version] of [
    ['/usr/lib/postgresql', /^\d+$/],
    ['/opt/homebrew/opt', /^postgresql(@\d+)?$/],
    ['/usr/local/opt', /^postgresql(@\d+)?$/],
  ] as const) {
    if (!existsSync(folder)) continue;
    const versions = readdirSync(folder).filter((entry) => version.test(entry));
    const found = versions
      .sort((a, b) => Number(/\d+/.exec(b)?.[0] ?? 0) - Number(/\d+/.exec(a)?.[0] ?? 0))
      .map((entry) => join(folder, entry, 'bin', name))
      .find((file) => existsSync(file));
    if (found !== undefined) return found;
  }
  return findProgram(name);
}
