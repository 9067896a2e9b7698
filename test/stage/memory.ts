// How much memory a process has taken, as the kernel counts it.
import { readFileSync } from 'node:fs';

export interface Memory {
  /** The most it had since the beginning, in MiB. */
  readonly peak: () => number;
  /** What it had at the beginning, in MiB. */
  readonly before: number;
  stop(): void;
}

/** Of Linux; looked at ten times a second. */
export function watchMemory(pid: number): Memory {
  const now = (): number => {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return Number(kib) / 1024;
  };
  const before = now();
  let peak = before;
  const timer = setInterval(() => (peak = Math.max(peak, now())), 100);
  return { before, peak: () => (peak = Math.max(peak, now())), stop: () => clearInterval(timer) };
}
