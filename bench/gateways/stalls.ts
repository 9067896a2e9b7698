// How long the event loop of a gateway that runs on Node.js stood still at most, asked of the process itself.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

export interface Stalls {
  /** For the gateway's `imports`. */
  readonly module: string;
  /** Milliseconds, since it was asked the last time. @throws Error when the process does not answer. */
  longest(pid: number): Promise<number>;
  close(): void;
}

const ANSWER_MS_MAX = 5_000;

export function watchStalls(): Stalls {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-bench-stalls-'));
  const file = join(dir, 'stalls');
  writeFileSync(file, '');
  const module = new URL('stall-watch.ts', import.meta.url);
  module.searchParams.set('to', file);
  let asked = 0;
  return {
    module: module.href,
    async longest(pid) {
      process.kill(pid, 'SIGUSR2');
      asked += 1;
      const deadline = performance.now() + ANSWER_MS_MAX;
      for (;;) {
        const lines = readFileSync(file, 'utf8').split('\n');
        if (lines.length > asked) return Number(lines[asked - 1]);
        if (performance.now() > deadline) throw new Error('the gateway does not tell of its event loop');
        await pause(5);
      }
    },
    close: () => rmSync(dir, { recursive: true, force: true }),
  };
}
