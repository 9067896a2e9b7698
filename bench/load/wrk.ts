// Closed load by wrk: so many connections, each with one request under way. What it saw is told by its own script, in JSON.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '../../test/stage/program.ts';
import type { Door } from '../gateways/gateway.ts';
import { LOAD_CORE } from '../machine.ts';

export interface Closed {
  readonly requests: number;
  readonly seconds: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

const run = promisify(execFile);

/** @throws Error when an answer was not a 200, or a connection failed: the figures would be of something else. */
export async function closedLoad(
  door: Door,
  body: string,
  { connections, seconds }: { connections: number; seconds: number },
): Promise<Closed> {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-wrk-'));
  try {
    const script = join(dir, 'chat.lua');
    writeFileSync(script, scriptOf(door, body));
    const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', script];
    const wrk = [findProgram('wrk'), ...args, `${door.base}/chat/completions`];
    const { stdout } = await run('taskset', ['-c', String(LOAD_CORE), ...wrk], { timeout: (seconds + 30) * 1000 });
    const told = JSON.parse(/^\{.*\}$/m.exec(stdout)?.[0] ?? 'null') as (Closed & { failed: number }) | null;
    if (told === null) throw new Error(`wrk told nothing:\n${stdout}`);
    if (told.failed > 0)
      throw new Error(`${told.failed} of ${told.requests} requests failed at ${door.base}:\n${stdout}`);
    return told;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function scriptOf({ headers }: Door, body: string): string {
  const all = Object.entries({ ...headers, 'content-type': 'application/json' });
  return `wrk.method = "POST"
wrk.body = ${JSON.stringify(body)}
${all.map(([name, value]) => `wrk.headers[${JSON.stringify(name)}] = ${JSON.stringify(value)}`).join('\n')}
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"seconds":%.6f,"p50":%.6f,"p99":%.6f,"failed":%d}\\n', summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    e.connect + e.read + e.write + e.status + e.timeout))
end
`;
}
