// The real program, `node src/main.ts`, in a folder of its own with its own configuration and `.env`, as a user starts it.
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export interface Lanyard {
  readonly dir: string;
  readonly pid: number;
  /** Where the first listener is; the banner says it. */
  readonly port: number;
  readonly url: string;
  stdout(): string;
  stderr(): string;
  /** The log's lines so far; only whole JSON lines of standard error. */
  log(): Record<string, unknown>[];
  signal(name: NodeJS.Signals): void;
  /** Writes config/lanyard.yaml anew. */
  configure(yaml: string): void;
  /** The exit code; -1 when a signal ended it. */
  readonly exit: Promise<number>;
}

interface Options {
  readonly yaml: string;
  readonly env?: Readonly<Record<string, string>>;
  /** The text of `.env`; none unless given. */
  readonly dotenv?: string;
  readonly args?: readonly string[];
  /** A folder that is there already, from an earlier start. */
  readonly dir?: string;
  /** Open sockets, handed over as systemd does. */
  readonly sockets?: readonly number[];
}

/** Starts it without waiting for anything. */
export function runLanyard({
  yaml,
  env = {},
  dotenv,
  args = ['serve'],
  dir = newDir(),
  sockets = [],
}: Options): Omit<Lanyard, 'port' | 'url'> {
  mkdirSync(join(dir, 'config'), { recursive: true });
  const configure = (text: string): void => writeFileSync(join(dir, 'config', 'lanyard.yaml'), text);
  configure(yaml);
  if (dotenv !== undefined) writeFileSync(join(dir, '.env'), dotenv, { mode: 0o600 });
  // Nothing of the machine's own settings may decide here.
  const command = [process.execPath, MAIN, ...args];
  // The process must be told its own id, which only it knows: the shell tells it and then becomes it.
  const [file = '', ...rest] =
    sockets.length === 0 ? command : ['sh', '-c', 'LISTEN_PID=$$ exec "$0" "$@"', ...command];
  const child = spawn(file, rest, {
    cwd: dir,
    env: {
      PATH: process.env['PATH'] ?? '',
      ...(sockets.length === 0 ? {} : { LISTEN_FDS: String(sockets.length) }),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe', ...sockets],
  }) as ChildProcessByStdio<null, Readable, Readable>;
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (bytes: Buffer) => (stdout += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (stderr += bytes.toString()));
  const exit = new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? -1)));
  const endWithUs = (): void => void child.kill('SIGKILL');
  process.once('exit', endWithUs);
  void exit.then(() => process.off('exit', endWithUs));
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await exit;
  });
  return {
    dir,
    pid: child.pid ?? 0,
    stdout: () => stdout,
    stderr: () => stderr,
    log: () =>
      stderr
        .split('\n')
        .slice(0, -1)
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    signal: (name) => void child.kill(name),
    configure,
    exit,
  };
}

/** Starts it and waits until it says where it listens. */
export async function startLanyard(options: Options): Promise<Lanyard> {
  const started = runLanyard(options);
  let ended = false;
  void started.exit.then(() => (ended = true));
  const deadline = performance.now() + 15_000;
  for (;;) {
    // The last line of the banner follows `try it`.
    const port = /listening {2}http:\/\/\S+?:(\d+) [\s\S]*try it\n.+\n/.exec(started.stdout())?.[1];
    if (port !== undefined) return { ...started, port: Number(port), url: `http://127.0.0.1:${port}` };
    if (ended || performance.now() > deadline)
      throw new Error(`not started:\n${started.stdout()}\n${started.stderr()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function newDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-start-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export function fileIn(dir: string, name: string): string {
  return readFileSync(join(dir, name), 'utf8');
}
