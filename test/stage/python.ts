// The official Python SDK of .cache/python in one process that does a script's steps when it is told to, one after the other.
// `node scripts/setup.ts` puts the SDK there; where it could not, tests are skipped, and say so.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const PYTHON = fileURLToPath(new URL('../../.cache/python/bin/python', import.meta.url));
export const MISSING = existsSync(PYTHON)
  ? ''
  : ' (skipped: no .cache/python; `node scripts/setup.ts` makes it where python3 can)';

export interface Python {
  /** What came of it. Rejects when the process ends before. */
  readonly step: (name: string, args?: Readonly<Record<string, unknown>>) => Promise<unknown>;
  readonly stop: () => Promise<void>;
}

/** The script reads a line `{"step", …}` for each step, and prints a line of JSON. */
export function startPython(script: string): Python {
  const child = spawn(PYTHON, [script], {
    env: { PATH: process.env['PATH'], PYTHONIOENCODING: 'utf-8' },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdin.on('error', () => {});
  const waiting: PromiseWithResolvers<unknown>[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.resolve(JSON.parse(line)));
  const ended = once(child, 'close');
  child.once('close', () => {
    for (const { reject } of waiting.splice(0)) reject(new Error(`Python ended: ${stderr}`));
  });
  const endWithUs = (): void => void child.kill('SIGKILL');
  process.once('exit', endWithUs);
  child.once('close', () => process.off('exit', endWithUs));
  return {
    step(name, args = {}) {
      const told = Promise.withResolvers<unknown>();
      waiting.push(told);
      child.stdin.write(`${JSON.stringify({ ...args, step: name })}\n`);
      return told.promise;
    },
    async stop() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
