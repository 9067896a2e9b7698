// What nginx' configuration says of the way to the gateway: limits that only show after a minute or in a large body, and that
// no quick question from outside can find.
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { about, few, type Finding } from './finding.ts';
import { parseNginx, type Directive } from './nginx-conf.ts';
import type { Config } from '../types.ts';

export interface NginxNews {
  readonly findings: readonly Finding[];
  /** The certificates it serves. */
  readonly certificates: readonly string[];
}

const RUN_MS = 4_000;
const OUTPUT_BYTES_MAX = 16 << 20;
const PLACES = ['/usr/sbin/nginx', '/usr/local/sbin/nginx', '/usr/bin/nginx', '/opt/homebrew/bin/nginx'];

/** What the nginx of this machine has read; `undefined` where there is none. Rejects when it may not be known, or has a fault. */
export type Dump = () => Promise<string | undefined>;

/** `file`: what `nginx -T` printed, or an nginx.conf; `-` is standard input. Without, this machine's nginx is asked. */
export async function nginx(config: Config, file: string | undefined, dump: Dump): Promise<NginxNews> {
  const said = about('nginx.configuration', file ?? 'nginx -T');
  const elsewhere =
    'Where nginx runs, as root: `nginx -T > FILE`, then here `--nginx FILE` (or `| lanyard doctor --nginx -`).';
  let text: string;
  try {
    const read = file === undefined ? await dump() : readFileSync(file === '-' ? 0 : file, 'utf8');
    if (read === undefined)
      return only(said.skipped('no nginx on this machine: its timeouts were not looked at', elsewhere));
    text = read;
  } catch (error) {
    const why = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : '';
    if (file !== undefined) return only(said.fail(`cannot be read${why}`, elsewhere));
    return only(said.skipped(`this user may not read nginx' configuration, or it has a fault${why}`, elsewhere));
  }
  let tree: readonly Directive[];
  try {
    tree = parseNginx(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return only(said.fail(`cannot be understood: ${error.message}`, '`nginx -t` says where.'));
  }
  const routes = routesTo(
    tree,
    config.listen.map(({ port }) => port),
  );
  if (routes.length === 0) {
    const found = `it has no proxy_pass to the gateway (port ${config.listen.map(({ port }) => port).join(', ')})`;
    return only(
      file === undefined
        ? said.skipped(found, elsewhere)
        : said.fail(found, 'Put the gateway into `upstream` and `proxy_pass`, as our nginx.conf does.'),
    );
  }
  const certificates = routes.flatMap(({ chain }) => own(chain, 'ssl_certificate').map(([path = '']) => path));
  return {
    findings: RULES.flatMap((rule) => applied(rule, routes, config.limits)),
    certificates: [...new Set(certificates)],
  };
}

/** A location that passes on to the gateway: from the main context down to itself. */
interface Route {
  /** `443 /`. */
  readonly name: string;
  readonly chain: readonly (readonly Directive[])[];
}

/** What is wrong with a setting, and how bad that is. */
interface Wrong {
  readonly level: 'note' | 'warn' | 'fail';
  readonly what: string;
}

interface Rule {
  readonly setting: string;
  /** Of its effective value in this location. */
  readonly wrong: (chain: Route['chain'], limits: Config['limits']) => Wrong | undefined;
  readonly remedy: (limits: Config['limits']) => string;
}

const RULES: readonly Rule[] = [
  {
    setting: 'proxy_read_timeout',
    wrong: (chain, { first_byte_ms }) => {
      const wait_ms = timeOf(value(chain, 'proxy_read_timeout') ?? '60s');
      if (wait_ms >= first_byte_ms) return undefined;
      const waits = `the gateway waits ${first_byte_ms / 1000} s`;
      return { level: 'warn', what: `ends unstreamed answers after ${wait_ms / 1000} s of silence; ${waits}` };
    },
    remedy: ({ first_byte_ms }) => `\`proxy_read_timeout ${Math.max(3600, Math.ceil(first_byte_ms / 1000))}s;\``,
  },
  {
    setting: 'client_max_body_size',
    wrong: (chain, { body_bytes_max }) => {
      const most = sizeOf(value(chain, 'client_max_body_size') ?? '1m');
      if (most === 0 || most >= body_bytes_max) return undefined;
      const kib = (bytes: number): string => `${Math.round(bytes / 1024)} KiB`;
      return { level: 'fail', what: `takes bodies of ${kib(most)}; the gateway takes ${kib(body_bytes_max)}` };
    },
    remedy: ({ body_bytes_max }) => `\`client_max_body_size ${largerBody(body_bytes_max)};\``,
  },
  {
    setting: 'proxy_buffering',
    wrong: (chain) => {
      if (!on(chain, 'proxy_buffering', true)) return undefined;
      const deaf = value(chain, 'proxy_ignore_headers', /^X-Accel-Buffering$/i) !== undefined;
      // nginx 1.22 passes HTTP/1.1 chunks on as they come all the same; HTTP/1.0 it collects, and newer ones promise nothing.
      return deaf
        ? {
            level: 'warn',
            what: 'may hold streams back: proxy_ignore_headers X-Accel-Buffering keeps the gateway from saying no',
          }
        : { level: 'note', what: "is on; streams pass all the same, by the gateway's X-Accel-Buffering" };
    },
    remedy: () => '`proxy_buffering off;`, and no X-Accel-Buffering in proxy_ignore_headers.',
  },
  {
    setting: 'X-Forwarded-For',
    wrong: (chain) => {
      const sent = headers(chain).get('x-forwarded-for');
      if (sent === undefined)
        return { level: 'fail', what: "is not set: the caller's own is passed on, and its real address is lost" };
      if (!/\$(?:proxy_add_x_forwarded_for|http_x_forwarded_for)/.test(sent)) return undefined;
      return {
        level: 'warn',
        what: 'is appended to what the caller claims: within trusted_proxies it can choose its address',
      };
    },
    remedy: () =>
      '`proxy_set_header X-Forwarded-For $remote_addr;` (one proxy_set_header in a location drops all above it).',
  },
  {
    setting: 'proxy_next_upstream',
    wrong: (chain) => {
      if (value(chain, 'proxy_next_upstream') === 'off') return undefined;
      return { level: 'warn', what: 'lets nginx send a call twice; the gateway retries what may be retried' };
    },
    remedy: () => '`proxy_next_upstream off;`',
  },
  {
    setting: 'proxy_http_version',
    // 1.1 is the default since nginx 1.29.7, and which nginx it is does not stand in its configuration.
    wrong: (chain) => {
      if ((value(chain, 'proxy_http_version') ?? '1.0') !== '1.0') return undefined;
      return {
        level: 'warn',
        what: 'is 1.0 (before nginx 1.29.7 by default): an answer that breaks off looks like a whole one',
      };
    },
    remedy: () => '`proxy_http_version 1.1; proxy_set_header Connection "";`',
  },
  {
    setting: 'proxy_ignore_client_abort',
    wrong: (chain) => {
      if (!on(chain, 'proxy_ignore_client_abort', false)) return undefined;
      return { level: 'fail', what: 'keeps engines working for callers who have left' };
    },
    remedy: () => '`proxy_ignore_client_abort off;` (the default)',
  },
];

function applied({ setting, wrong, remedy }: Rule, routes: readonly Route[], limits: Config['limits']): Finding[] {
  const said = about(`nginx.${setting}`, '');
  const judged = routes.map(({ name, chain }) => ({ name, wrong: wrong(chain, limits) }));
  const groups = Map.groupBy(judged, (one) => one.wrong?.what);
  return [...groups.values()].map((members) => {
    const where = few(members.map(({ name }) => name));
    const [first] = members;
    if (first?.wrong === undefined) return said.ok(`as it should be (${where})`);
    return said[first.wrong.level](`${first.wrong.what} (${where})`, remedy(limits));
  });
}

/** The locations that lead to one of the ports, without the exact ones: those are pages of their own (`= /health`). */
function routesTo(tree: readonly Directive[], ports: readonly number[]): Route[] {
  const http = blocks(tree, 'http')[0];
  if (http === undefined) return [];
  const leads = (target: string): boolean => ports.some((port) => new RegExp(`:${port}(?:$|/)`).test(target));
  const upstreams = http
    .filter(
      ({ name, block }) =>
        name === 'upstream' && block?.some((one) => one.name === 'server' && leads(one.args[0] ?? '')),
    )
    .map(({ args }) => args[0] ?? '');
  const ours = (target: string): boolean =>
    leads(target) || upstreams.some((name) => target === `http://${name}` || target.startsWith(`http://${name}/`));
  const routes: Route[] = [];
  const walk = (chain: readonly (readonly Directive[])[], name: string): void => {
    for (const { name: kind, args, block } of chain.at(-1) ?? []) {
      if (block === undefined || kind !== 'location' || args[0] === '=') continue;
      const deeper = [...chain, block];
      const label = `${name} ${args.join(' ')}`;
      if (block.some((one) => one.name === 'proxy_pass' && ours(one.args[0] ?? '')))
        routes.push({ name: label, chain: deeper });
      walk(deeper, label);
    }
  };
  for (const server of blocks(http, 'server')) {
    const listen = server.find(({ name }) => name === 'listen')?.args[0] ?? '80';
    walk([tree, http, server], listen.replace(/^.*:(?=\d+$)/, ''));
  }
  return routes;
}

function blocks(directives: readonly Directive[], name: string): (readonly Directive[])[] {
  return directives.flatMap((one) => (one.name === name && one.block !== undefined ? [one.block] : []));
}

/** The innermost level that has the setting decides, as a whole; all its lines there. */
function own(chain: readonly (readonly Directive[])[], name: string): (readonly string[])[] {
  const level = chain.findLast((directives) => directives.some((one) => one.name === name));
  return (level ?? []).flatMap((one) => (one.name === name ? [one.args] : []));
}

/** Its effective value; with a pattern, the argument that matches it. */
function value(chain: Route['chain'], name: string, pattern = /[^]*/): string | undefined {
  return own(chain, name)
    .flat()
    .find((arg) => pattern.test(arg));
}

function on(chain: Route['chain'], name: string, otherwise: boolean): boolean {
  const set = value(chain, name);
  return set === undefined ? otherwise : set === 'on';
}

function headers(chain: Route['chain']): Map<string, string> {
  return new Map(own(chain, 'proxy_set_header').map(([name = '', ...rest]) => [name.toLowerCase(), rest.join(' ')]));
}

/** `60`, `60s`, `1h30m`: milliseconds. */
function timeOf(text: string): number {
  const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5, '': 1e3 };
  return [...text.matchAll(/(\d+)(ms|[smhdw]?)/g)].reduce(
    (all, [, number, unit]) => all + Number(number) * (UNITS[unit ?? ''] ?? 0),
    0,
  );
}

/** `64m`: bytes. */
function sizeOf(text: string): number {
  const [, number, unit = ''] = /^(\d+)([kmg]?)$/i.exec(text) ?? [];
  return (
    Number(number ?? 0) * { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }[unit.toLowerCase() as '' | 'k' | 'm' | 'g']
  );
}

/** Twice the gateway's limit, so that it is the gateway that answers. */
export function largerBody(body_bytes_max: number): string {
  return `${Math.ceil(body_bytes_max / 2 ** 20) * 2}m`;
}

/** Runs `nginx -T`, where there is one. */
export const dumpHere: Dump = async () => {
  const folders = (process.env['PATH'] ?? '').split(':').filter((folder) => folder.startsWith('/'));
  const program = [...folders.map((folder) => `${folder}/nginx`), ...PLACES].find((file) => existsSync(file));
  if (program === undefined) return undefined;
  const { stdout } = await promisify(execFile)(program, ['-T', '-q'], { timeout: RUN_MS, maxBuffer: OUTPUT_BYTES_MAX });
  return stdout;
};

function only(finding: Finding): NginxNews {
  return { findings: [finding], certificates: [] };
}
