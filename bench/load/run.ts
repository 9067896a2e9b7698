// A load of this folder as a program on the load's core, told what to do by one JSON argument, telling what it saw by one
// JSON line.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { LOAD_CORE } from '../machine.ts';

const run = promisify(execFile);

export async function runLoad<Told>(file: `./${string}.ts`, argument: unknown, seconds_max: number): Promise<Told> {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const args = ['-c', String(LOAD_CORE), process.execPath, path, JSON.stringify(argument)];
  const { stdout } = await run('taskset', args, { timeout: seconds_max * 1000, maxBuffer: 1 << 28 });
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Told;
}
