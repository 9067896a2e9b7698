// A program of this folder, on the load's core unless it is itself what is measured: told what to do by one JSON argument,
// telling what it saw by one JSON line.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { LOAD_CORE } from '../machine.ts';

interface Load<Told> {
  /** Rejects when it fails, or takes longer than it may. */
  readonly told: Promise<Told>;
  /** Asks one that can to tell now what it has seen. */
  stop(): void;
}

export function startLoad<Told>(
  file: `./${string}.ts`,
  argument: unknown,
  seconds_max: number,
  core = LOAD_CORE,
): Load<Told> {
  const path = fileURLToPath(new URL(file, import.meta.url));
  // taskset becomes the program: a signal reaches it.
  const args = ['-c', String(core), process.execPath, path, JSON.stringify(argument)];
  const options = { timeout: seconds_max * 1000, killSignal: 'SIGKILL', maxBuffer: 1 << 28 } as const;
  let stop = (): void => undefined;
  const told = new Promise<Told>((resolve, reject) => {
    const child = execFile('taskset', args, options, (error, stdout, stderr) => {
      if (error === null) resolve(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Told);
      else reject(new Error(`${file} failed: ${/^\w*Error: .*$/m.exec(stderr)?.[0] ?? error.message}`));
    });
    stop = () => void child.kill('SIGTERM');
  });
  return { told, stop: () => stop() };
}

export function runLoad<Told>(
  file: `./${string}.ts`,
  argument: unknown,
  seconds_max: number,
  core = LOAD_CORE,
): Promise<Told> {
  return startLoad<Told>(file, argument, seconds_max, core).told;
}
