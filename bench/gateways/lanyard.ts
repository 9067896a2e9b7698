// Lanyard from this clone, as a user starts it: a key with limits of its own, the limit by address, a model under another
// name than the engine's, metrics, and the log on, into a file. The limits are there and are looked up; they are too high
// to refuse.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/stage/ports.ts';
import { startProgram } from '../../test/stage/program.ts';
import { GATEWAY_CORE, pin } from '../machine.ts';
import { ENGINE_MODEL, KEY, MODEL, type Gateway, type Running, type StartOptions } from './gateway.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** More than any machine sends. */
const LIMIT = '{ requests: 1000000/s, burst: 1000000, parallel: 100000 }';

interface LanyardOptions extends StartOptions {
  /** How many gateways share the Redis. */
  readonly gateways?: number;
  /** More keys, each with its limits as the configuration writes them. */
  readonly keys?: Readonly<Record<string, string>>;
  /** What the engine is given at once. */
  readonly slots?: number;
  /** With batches, and one more engine, for them: `NIGHT_MODEL` is on it. */
  readonly night?: { readonly url: string; readonly slots: number };
}

/** The model of the batches. */
export const NIGHT_MODEL = 'bench-night';

export const lanyard = {
  name: 'lanyard',
  look: () => ({ version: commit() }),
  async start(engine: string, options: LanyardOptions = {}): Promise<Running> {
    const { imports = [], redis, gateways = 1, keys = {}, slots = 100_000, night } = options;
    const port = await freePort();
    const dir = mkdtempSync(join(tmpdir(), 'lanyard-bench-'));
    mkdirSync(join(dir, 'config'));
    writeFileSync(
      join(dir, 'config', 'lanyard.yaml'),
      `listen: [{ port: ${port} }]
auth: { keys: [${Object.entries({ [KEY]: LIMIT, ...keys })
        .map(keyOf)
        .join(', ')}] }
limits: { ip: ${LIMIT}, connections_max: 20000 }
backends:
  mock: { engine: openai, url: "${engine}", slots: ${slots} }
${night === undefined ? '' : `  night: { engine: openai, url: "${night.url}", slots: ${night.slots} }`}
models:
  ${MODEL}: [mock/${ENGINE_MODEL}]
${night === undefined ? '' : `  ${NIGHT_MODEL}: [night/${ENGINE_MODEL}]\nbatch: { collate: { window_ms: 1s } }`}
${redis === undefined ? '' : `redis: { url: "${redis}", gateways: ${gateways} }`}
`,
    );
    // The master key, which it would otherwise make and keep in `.env`.
    writeFileSync(join(dir, '.env'), `LITELLM_MASTER_KEY=${KEY}-master\n`, { mode: 0o600 });
    const modules = imports.flatMap((file) => ['--import', file]);
    const command = [process.execPath, '--max-semi-space-size=16', ...modules, join(ROOT, 'src', 'main.ts'), 'serve'];
    // A log that this process had to read would take the load's core.
    const script = 'cd "$1" && shift && exec "$@" 2>log';
    const program = await startProgram('sh', ['-c', script, 'sh', dir, ...command], async (output) =>
      output.includes('try it'),
    );
    pin(program.pid, GATEWAY_CORE);
    const url = `http://127.0.0.1:${port}`;
    return {
      url,
      base: `${url}/v1`,
      headers: { authorization: `Bearer ${KEY}` },
      pid: program.pid,
      async stop() {
        await program.end('SIGKILL');
        rmSync(dir, { recursive: true, force: true });
      },
    };
  },
} satisfies Gateway;

function keyOf([key, limits]: [string, string], n: number): string {
  return `{ name: bench-${n}, hash: "sha256:${createHash('sha256').update(key).digest('hex')}", limits: ${limits} }`;
}

/** `1a2b3c4d`, with a plus where files are changed. */
export function commit(): string {
  const git = (...args: string[]): string => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim();
  try {
    return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain', '--', 'src') === '' ? '' : '+'}`;
  } catch {
    return 'unknown';
  }
}
