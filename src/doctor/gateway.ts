// The gateway itself, when it runs on this machine: found at the first listener of the file, asked for its figures.
import { about, type Finding } from './finding.ts';
import { ask, Unanswered, type Told } from './ask.ts';
import { sum } from './engines.ts';
import type { Config } from '../types.ts';

export interface Gateway {
  /** Where it is spoken to directly, past nginx. */
  readonly url: URL;
  /** Its own, made anew at each start. */
  readonly instance: string;
  /** Its figures, where we may read them. */
  readonly metrics: string | undefined;
}

export interface GatewayNews {
  readonly findings: readonly Finding[];
  readonly gateway: Gateway | undefined;
}

const WAIT_MS = 2_000;

export async function findGateway(config: Config, version: string, key: string | undefined): Promise<GatewayNews> {
  const listener = config.listen[0];
  if (listener === undefined || listener.port === 0) {
    const said = about('gateway.running', '');
    return {
      findings: [said.skipped('the file lets the system choose the port (port: 0), so it cannot be found')],
      gateway: undefined,
    };
  }
  const name = HERE[listener.host] ?? listener.host;
  const url = new URL(`http://${name.includes(':') ? `[${name}]` : name}:${listener.port}`);
  const said = about('gateway.running', url.host);
  try {
    const health = await ask({ url: new URL('/health', url), wait_ms: WAIT_MS });
    const instance = instanceOf(health);
    if (instance === undefined) {
      return {
        findings: [said.fail('something else listens on its port', 'Stop that, or change `listen` (or PORT).')],
        gateway: undefined,
      };
    }
    const running = versionIn(health.text);
    const findings = [
      running === version
        ? said.ok(`version ${running}`)
        : said.note(`version ${running} runs, this is ${version}`, 'Restart it to run what is installed.'),
    ];
    const metrics = await readMetrics(url, key);
    if (metrics !== undefined) findings.push(...state(metrics, url.host));
    return { findings, gateway: { url, instance, metrics } };
  } catch (error) {
    if (!(error instanceof Unanswered)) throw error;
    if (error.code === 'ECONNREFUSED') {
      const found = 'it is not running here, so nothing was tested through it';
      return { findings: [said.note(found, 'Start it (`npm start`), and ask again.')], gateway: undefined };
    }
    const remedy = 'If it hangs, its log says why; `kill -TERM` lets its streams finish.';
    return {
      findings: [said.fail(`its port is taken, and gives no answer (${error.code})`, remedy)],
      gateway: undefined,
    };
  }
}

/** Its own metrics; open to this machine, or to the master key where the listener is another address. */
export async function readMetrics(url: URL, key: string | undefined): Promise<string | undefined> {
  const headers: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` };
  const told = await ask({ url: new URL('/metrics', url), headers, wait_ms: WAIT_MS }).catch(() => undefined);
  return told?.status === 200 ? told.text : undefined;
}

/** Which gateway process said this; `undefined` when none did. */
export function instanceOf({ headers }: Told): string | undefined {
  const instance = headers['x-lanyard-instance'];
  return typeof instance === 'string' ? instance : undefined;
}

/** How many files the running gateway may open. */
export function filesOf(gateway: Gateway | undefined): number | undefined {
  return gateway?.metrics === undefined ? undefined : sum(gateway.metrics, ['process_max_fds']);
}

function state(metrics: string, subject: string): Finding[] {
  const found: Finding[] = [];
  const reloads = about('gateway.reload', subject);
  const refused = sum(metrics, ['lanyard_config_reloads_total'], 'result="refused"') ?? 0;
  if (refused > 0) {
    found.push(
      reloads.note(
        'has refused a changed configuration since its start',
        'If the file is right now, send it SIGHUP and look at its log.',
      ),
    );
  }
  const redis = sum(metrics, ['lanyard_redis_up']);
  if (redis === 0) {
    found.push(
      about('gateway.redis', subject).fail(
        'counts by itself: it has lost Redis',
        'See what is said of Redis below; the gateway comes back to it by itself.',
      ),
    );
  }
  for (const sample of metrics.matchAll(/^lanyard_backend_up\{backend="([^"]*)"\} 0$/gm)) {
    found.push(
      about('gateway.backend', sample[1] ?? '').warn(
        'the running gateway sends it nothing now',
        'See what is said of this backend; the gateway tries it again every second.',
      ),
    );
  }
  return found;
}

function versionIn(text: string): string {
  return /"version"\s*:\s*"([^"]{1,40})"/.exec(text)?.[1] ?? 'unknown';
}

const HERE: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1', localhost: '127.0.0.1' };
