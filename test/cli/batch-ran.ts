// `lanyard batch` run as a function, in a folder of its own, with a clock that moves only while it waits.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { batch } from '../../src/cli/batch.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
export const KEY = 'sk-the-callers-own-0123456789abcdef';
/** Of `created_at` in makeBatch, a minute later. */
export const NOW_S = 1_790_000_060;

export interface Ran {
  readonly code: number;
  readonly lines: string[];
  readonly failed: string[];
  /** What was written to standard output as bytes. */
  readonly poured: string;
  /** What a terminal was written. */
  readonly drawn: string[];
  readonly pauses_ms: number[];
}

interface Options {
  readonly env?: Readonly<Record<string, string>>;
  readonly dir?: string;
  readonly stdin?: AsyncIterable<Uint8Array>;
  readonly stdout?: Writable;
  /** A terminal of so many columns. */
  readonly columns?: number;
  /** Called in place of each pause. */
  readonly paused?: (count: number, interrupt: () => void) => void | Promise<void>;
}

export async function ran(args: readonly string[], options: Options = {}): Promise<Ran> {
  const [lines, failed, drawn, pauses_ms]: [string[], string[], string[], number[]] = [[], [], [], []];
  let poured = '';
  let now_ms = NOW_S * 1000;
  let interrupt = (): void => undefined;
  const { columns, env = { LANYARD_KEY: KEY }, dir = newFolder() } = options;
  const stdout = new Writable({
    write(bytes: Buffer, _, done) {
      poured += bytes.toString();
      done();
    },
  });
  const code = await batch(args, (line) => void lines.push(line), env, {
    dir,
    stdin: options.stdin ?? of(''),
    stdout: options.stdout ?? stdout,
    fail: (line) => void failed.push(line),
    terminal:
      columns === undefined
        ? undefined
        : { columns: () => columns, write: (text) => void drawn.push(text), colour: false },
    now_ms: () => now_ms,
    async pause(ms, signal) {
      pauses_ms.push(ms);
      now_ms += ms;
      await options.paused?.(pauses_ms.length, interrupt);
      signal.throwIfAborted();
    },
    interrupts(stop) {
      interrupt = stop;
      return { [Symbol.dispose]: () => undefined };
    },
  });
  return { code, lines, failed, poured, drawn, pauses_ms };
}

export function newFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-batch-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A file of requests, of so many lines. */
export function requests(lines: number, url = '/v1/chat/completions', name = 'requests.jsonl'): string {
  const path = join(newFolder(), name);
  const all = Array.from({ length: lines }, (_, at) =>
    JSON.stringify({ custom_id: `r${at}`, method: 'POST', url, body: { model: 'qwen-coder', messages: [] } }),
  );
  writeFileSync(path, `${all.join('\n')}\n`);
  return path;
}

export async function* of(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
}

export interface Started {
  readonly child: ReturnType<typeof spawn>;
  readonly ended: Promise<{ code: number; stdout: string; stderr: string }>;
}

/** The real program. */
export function start(args: readonly string[], options: readonly string[] = []): Started {
  const child = spawn(process.execPath, [...options, MAIN, ...args], {
    cwd: newFolder(),
    env: { PATH: process.env['PATH'] },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (bytes: Buffer) => (said.stdout += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (said.stderr += bytes.toString()));
  onTestFinished(() => void child.kill('SIGKILL'));
  const ended = once(child, 'close').then(([code]) => ({ code: (code as number | null) ?? -1, ...said }));
  return { child, ended };
}

export function run(args: readonly string[], options: readonly string[] = []): Started['ended'] {
  return start(args, options).ended;
}
