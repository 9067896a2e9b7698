// A whole gateway in this process, on a free port, with a log that can be read back; stopped when the test ends.
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import type { Probing } from '../../src/fleet/fleet.ts';
import { startGateway, type Gateway } from '../../src/gateway.ts';
import { openLog } from '../../src/ops/log.ts';
import type { Config } from '../../src/types.ts';

export const KEY = 'sk-test-master-key-of-the-stage-0123456789';

/** No test waits for its own clients' idle connections. */
const IDLE_MS = 1;

export interface Stage extends Gateway {
  readonly url: string;
  readonly port: number;
  /** The finished requests so far, as the log has them. */
  outcomes(): readonly Record<string, unknown>[];
  readonly logged: () => string;
  /** The sum of the samples of `/metrics` with this name and these labels, whatever others they have; 0 when there is none. */
  readonly metric: (name: string, labels?: Readonly<Record<string, string>>) => Promise<number>;
  /** `fetch` with the master key and a JSON body. */
  readonly ask: (path: string, body?: unknown, init?: RequestInit) => Promise<Response>;
}

interface Options {
  /** What `listen` would say; one port, any free one, unless given. */
  readonly listen?: string;
  /** Where engines are looked for when the text names no backends. */
  readonly ports?: readonly number[];
  readonly look_every_ms?: number;
  readonly probing?: Partial<Probing>;
  readonly window_ms?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** `text` is `lanyard.yaml` without `listen` and the master key; the per-IP limit is off unless it says otherwise. */
export async function openGateway(text: string, options: Options = {}): Promise<Stage> {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-stage-'));
  const file = join(dir, 'log');
  const config = stageConfig(text, options);
  // Opened here: a test may be over before a path given to the log would be.
  const log = openLog(config.log_level, openSync(file, 'a'));
  const gateway = await startGateway({
    config,
    version: 'test',
    log,
    ports: options.ports ?? [],
    ...(options.look_every_ms === undefined ? {} : { look_every_ms: options.look_every_ms }),
    ...(options.probing === undefined ? {} : { probing: options.probing }),
    ...(options.window_ms === undefined ? {} : { window_ms: options.window_ms }),
  });
  let stopped: Promise<void> | undefined;
  const stop = (idle_ms = IDLE_MS): Promise<void> => (stopped ??= gateway.stop(idle_ms));
  onTestFinished(async () => {
    await stop();
    rmSync(dir, { recursive: true, force: true });
  });
  const port = gateway.listeners[0]?.address.port ?? 0;
  const url = `http://127.0.0.1:${port}`;
  const logged = (): string => {
    log.flush();
    return readFileSync(file, 'utf8');
  };
  // A getter read through a spread would be read once.
  return {
    get listeners() {
      return gateway.listeners;
    },
    get kind() {
      return gateway.kind;
    },
    fleet: gateway.fleet,
    batching: gateway.batching,
    reload: (next) => gateway.reload(next),
    reloaded: (result) => gateway.reloaded(result),
    stop,
    url,
    port,
    logged,
    outcomes: () =>
      logged()
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .filter((line) => line['msg'] === 'request'),
    async metric(name, labels = {}) {
      const text = await (await fetch(`${url}/metrics`)).text();
      let sum = 0;
      for (const line of text.split('\n')) {
        const sample = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
        if (sample?.[1] !== name) continue;
        const had = Object.fromEntries(
          [...(sample[2] ?? '').matchAll(/(\w+)="([^"]*)"/g)].map(([, key, value]) => [key, value]),
        );
        if (Object.entries(labels).every(([key, value]) => had[key] === value)) sum += Number(sample[3]);
      }
      return sum;
    },
    ask: (path, body, init = {}) =>
      fetch(`${url}${path}`, {
        ...(body === undefined ? {} : { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body) }),
        ...init,
        headers: {
          authorization: `Bearer ${KEY}`,
          'content-type': 'application/json',
          ...(init.headers as Record<string, string>),
        },
      }),
  };
}

export function stageConfig(text: string, { listen = '[{ port: 0 }]', env = {} }: Options = {}): Config {
  const limits = /^limits:/m.test(text) ? '' : 'limits: { ip: off }\n';
  return parseConfig(`listen: ${listen}\n${limits}${text}`, 'stage.yaml', { LITELLM_MASTER_KEY: KEY, ...env });
}
