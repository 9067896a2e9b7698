// A real redis-server on a free port, which a test may kill, freeze, thaw and restart on the same port. It keeps nothing
// on disk: after a restart it is empty.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './ports.ts';
import { findProgram, startProgram, type Program } from './program.ts';

export interface RedisServer {
  readonly pid: number;
  readonly port: number;
  /** With the password, where there is one. */
  readonly url: string;
  /** As after a crash: connections are reset, memory is lost. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay, nothing answers. */
  freeze(): void;
  thaw(): void;
  /** Starts it again, empty, after `kill`. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export async function startRedis(options: { port?: number; password?: string } = {}): Promise<RedisServer> {
  const port = options.port ?? (await freePort());
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-redis-'));
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder];
  if (options.password !== undefined) args.push('--requirepass', options.password);
  const start = (): Promise<Program> => startProgram(findProgram('redis-server'), args, () => answersPing(port));
  let server = await start();

  return {
    get pid() {
      return server.pid;
    },
    port,
    url: `redis://${options.password === undefined ? '' : `:${options.password}@`}127.0.0.1:${port}`,
    kill: () => server.end('SIGKILL'),
    freeze: () => server.signal('SIGSTOP'),
    thaw: () => server.signal('SIGCONT'),
    async restart() {
      await server.end('SIGKILL');
      server = await start();
    },
    async stop() {
      await server.end('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** An inline PING; a server that asks for a password first serves too. */
function answersPing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
    socket.setTimeout(1000, () => socket.destroy());
    socket.once('data', (reply) => {
      resolve(/^(?:\+PONG|-NOAUTH)/.test(reply.toString()));
      socket.destroy();
    });
    socket.once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
  });
}
