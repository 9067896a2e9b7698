// The gateway itself, when it runs on this machine: found at the first listener of the file, asked for its figures.
import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import { about, type Finding } from './finding.ts';
import { ask, Unanswered, type Told } from './ask.ts';
import { sum } from '../fleet/engines/read.ts';
import { isLoopback } from '../wire/address.ts';
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
  if (!(await isHere(name))) {
    const found = 'it listens on an address that is not here, so nothing was tested through it';
    return { findings: [said.note(found, 'Ask on the machine where it runs.')], gateway: undefined };
  }
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
      return { findings: [said.warn(found, 'Start it (`npm start`), and ask again.')], gateway: undefined };
    }
    const remedy = 'If it hangs, its log says why; `kill -TERM` lets its streams finish.';
    return {
      findings: [said.fail(`its port is taken, and gives no answer (${error.code})`, remedy)],
      gateway: undefined,
    };
  }
}

/**
 * Its own metrics, which loopback may read without a key. At another address of this machine it asks for the master key; who
 * asks for one at loopback is no gateway, and gets none. `url` is of a gateway that was found here.
 */
export async function readMetrics(url: URL, key: string | undefined): Promise<string | undefined> {
  const question = { url: new URL('/metrics', url), wait_ms: WAIT_MS };
  let told = await ask(question).catch(() => undefined);
  const wants_key = (told?.status === 401 || told?.status === 403) && !isLoopback(bare(url.hostname));
  if (wants_key && key !== undefined) {
    told = await ask({ ...question, headers: { authorization: `Bearer ${key}` } }).catch(() => undefined);
  }
  return told?.status === 200 ? told.text : undefined;
}

/** Whether a program on this machine could listen there. What listens elsewhere is a stranger's, and is told no key. */
async function isHere(host: string): Promise<boolean> {
  const address = await lookup(host).then(
    (found) => found.address,
    () => undefined,
  );
  if (address === undefined) return false;
  const own = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  return isLoopback(address) || own.some((one) => one.address === address);
}

/** Without the brackets that an IPv6 address has in a URL. */
function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '');
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
