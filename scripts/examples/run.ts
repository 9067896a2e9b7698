// One run of one example: a process, what it prints as it comes, and its end.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { ROOT } from './toolchains.ts';

const RUN_MS = 60_000;
const PATIENCE_MS = 20_000;

export interface Run {
  readonly stdout: string;
  readonly stderr: string;
  /** The exit status; undefined when it had to be killed after RUN_MS. */
  readonly ended: Promise<number | undefined>;
  /** Resolves once it has printed this. Rejects when it ends without, or within PATIENCE_MS has not. */
  until(text: string): Promise<void>;
}

export function start([program = '', ...args]: readonly string[], env: Readonly<Record<string, string>>): Run {
  // A process group of its own: a shell's children are to end with it.
  const child = spawn(program, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const printed = { stdout: '', stderr: '' };
  let look = (): void => undefined;
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      printed[name] += text;
      look();
    });
  }
  const timer = setTimeout(() => killGroup(child.pid), RUN_MS);
  const closed = once(child, 'close').then(
    () => child.exitCode ?? undefined,
    // It could not be started.
    (error: Error) => void (printed.stderr += error.message),
  );
  const ended = closed.finally(() => clearTimeout(timer));
  return {
    get stdout() {
      return printed.stdout;
    },
    get stderr() {
      return printed.stderr;
    },
    ended,
    until: (text) =>
      new Promise((resolve, reject) => {
        const fail = (): void => reject(new Error(`did not print ${JSON.stringify(text)} in time`));
        const patience = setTimeout(fail, PATIENCE_MS);
        void ended.then(() => (clearTimeout(patience), fail()));
        look = () => {
          if (!`${printed.stdout}\n${printed.stderr}`.includes(text)) return;
          clearTimeout(patience);
          resolve();
        };
        look();
      }),
  };
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}
