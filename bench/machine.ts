// What the machine tells of itself and of a process: its processor time, its memory. The gateway under test has core 1 to
// itself; load and mock share core 0. Linux only: the readings are /proc's.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';

export const LOAD_CORE = 0;
export const GATEWAY_CORE = 1;

/** Why nothing can be measured here; undefined when it can. */
export function unfit(): string | undefined {
  if (process.platform !== 'linux') return 'the bench reads /proc and pins processes to cores: it needs Linux';
  if (availableParallelism() < 2) return 'the bench needs two cores: one for the gateway, one for load and mock';
  return undefined;
}

/** The process, its children, and every thread of them; what they start later inherits it. */
export function pin(pid: number, core: number): void {
  for (const one of family(pid)) {
    try {
      execFileSync('taskset', ['-acp', String(core), String(one)], { stdio: 'pipe' });
    } catch (error) {
      // One that has ended since it was listed needs no core.
      if (existsSync(`/proc/${one}`)) throw error;
    }
  }
}

/**
 * Milliseconds of processor time the process, its children and their threads of now have used so far. The scheduler's own
 * count, of nanoseconds: `stat` tells ticks of 10 ms, which is more than many a request takes.
 */
export function cpuMs(pid: number): number {
  let ns = 0;
  for (const one of family(pid)) {
    for (const thread of threads(one)) {
      ns += Number(read(`/proc/${one}/task/${thread}/schedstat`)?.split(' ')[0] ?? 0);
    }
  }
  return ns / 1e6;
}

/** Resident memory of the process and its children, in KB. */
export function rssKb(pid: number): number {
  return sumOf(pid, 'VmRSS');
}

/** The most that was resident since `forgetPeak`, in KB. */
export function peakKb(pid: number): number {
  return sumOf(pid, 'VmHWM');
}

export function forgetPeak(pid: number): void {
  for (const one of family(pid)) writeFileSync(`/proc/${one}/clear_refs`, '5');
}

/** The process itself, first, and all below it. */
function family(pid: number): number[] {
  const all = [pid];
  for (const one of all) {
    for (const thread of threads(one)) {
      const children = read(`/proc/${one}/task/${thread}/children`)?.trim() ?? '';
      if (children !== '') all.push(...children.split(' ').map(Number));
    }
  }
  return all;
}

function threads(pid: number): string[] {
  return existsSync(`/proc/${pid}/task`) ? readdirSync(`/proc/${pid}/task`) : [];
}

function sumOf(pid: number, name: string): number {
  let kb = 0;
  for (const one of family(pid)) {
    kb += Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(read(`/proc/${one}/status`) ?? '')?.[1] ?? 0);
  }
  return kb;
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** For the report. */
export function describeMachine(): Readonly<Record<string, string>> {
  return {
    processor: `${cpus()[0]?.model ?? 'unknown'}, ${cpus().length} cores`,
    memory: `${Math.round(totalmem() / 1024 ** 3)} GiB`,
    kernel: `Linux ${release()}`,
    node: process.versions.node,
  };
}
