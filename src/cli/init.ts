// `lanyard init [--domain NAME]…`: what a new machine needs before the first start, without a question. It writes `.env` with
// strong secrets and the names of this machine, makes certificates for them, and tells the addresses and the next command. What
// is there already stays, so that it may be run again at any time.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, parseEnv } from 'node:util';
import { changeDotenv, whyNotWritten } from './dotenv.ts';
import { hostsOf, isPrivate, isPublic, lanAddresses, publicName, type Interfaces } from './hosts.ts';
import { newKeyTold } from './master-key.ts';
import { settle, type Settings } from './settings.ts';
import { toStandardError } from './standard-error.ts';
import { shown } from '../config/faults.ts';

const USAGE = `usage: lanyard init [--domain NAME]…

Writes .env (the master key, this machine's names and addresses, Grafana's password) and makes certificates in certs/, each
only where it is not there yet. NAME is the public name of this machine, such as lanyard.example.com; it is added to both.`;

const CERTS_SH = fileURLToPath(new URL('../../deploy/certs.sh', import.meta.url));

interface Machine {
  /** One line of standard output. */
  readonly out: (line: string) => void;
  /** One line of standard error. */
  readonly fail?: (line: string) => void;
  /** Where `.env` and `certs` are. */
  readonly dir?: string;
  /** The environment, which goes before `.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Whether `out` is read by a person at a terminal: only then is a new key shown. */
  readonly tty?: boolean;
  readonly name?: string;
  readonly interfaces?: Interfaces;
}

/** @returns the exit code: 0, 1 when something could not be made, 2 for a command that is not understood */
export async function init(argv: readonly string[], machine: Machine): Promise<number> {
  const { out, fail = toStandardError, dir = process.cwd(), env = process.env, tty = process.stdout.isTTY } = machine;
  const { name = hostname(), interfaces = networkInterfaces() } = machine;
  const asked = read(argv);
  if (typeof asked === 'string') {
    fail(`lanyard init: ${asked}\n\n${USAGE}`);
    return 2;
  }
  if (asked.help) {
    out(USAGE);
    return 0;
  }

  const path = join(dir, '.env');
  let settings: Settings;
  try {
    settings = await changeDotenv(path, (text) => settle(text, hostsOf(name, interfaces), asked.domains));
  } catch (error) {
    fail(`lanyard init: ${path} was left as it is: ${whyNotWritten(error)}.`);
    return 1;
  }
  tellSettings(settings, path, tty, out);
  const certified = certify(join(dir, 'certs'), settings.hosts, out, fail);
  tellAddresses(settings, lanAddresses(interfaces), env, out);
  return certified ? 0 : 1;
}

/** What was asked for, or a sentence that says what is wrong with it. */
function read(argv: readonly string[]): { help: boolean; domains: readonly string[] } | string {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: { domain: { type: 'string', multiple: true }, help: { type: 'boolean', short: 'h' } },
    }));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const domains: string[] = [];
  for (const text of values.domain ?? []) {
    const name = publicName(text);
    if (name === undefined) {
      return `--domain "${shown(text)}" is not a public name, such as lanyard.example.com (no https://, no port, no address)`;
    }
    domains.push(name);
  }
  return { help: values.help === true, domains };
}

function tellSettings({ key, hosts, made }: Settings, path: string, tty: boolean, out: (line: string) => void): void {
  if (made.has('LITELLM_MASTER_KEY')) out(newKeyTold(path, key, tty));
  else out(`The master key is in ${path}, as LITELLM_MASTER_KEY; it was there already.`);
  out(`  LANYARD_HOSTS     ${hosts.join(' ')}${made.has('LANYARD_HOSTS') ? '' : '  (was there)'}`);
  out(`  GRAFANA_PASSWORD  for "admin" on http://localhost:3000${made.has('GRAFANA_PASSWORD') ? '' : '  (was there)'}`);
  // A Windows file has no such bits.
  if (process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0) {
    out(`  note              others on this machine can read it: chmod 600 ${path}`);
  }
}

/** Makes the certificates, unless what is there will do. @returns whether all is well: without openssl, too, it is */
function certify(
  folder: string,
  hosts: readonly string[],
  out: (line: string) => void,
  fail: (line: string) => void,
): boolean {
  if (spawnSync('openssl', ['version']).status !== 0) {
    out(
      'No certificates were made, for want of openssl (docker compose makes its own). Install it and run this again.',
    );
    return true;
  }
  const chain = join(folder, 'fullchain.pem');
  const before = existsSync(chain) ? readFileSync(chain, 'utf8') : undefined;
  const { status, stderr, error } = spawnSync('sh', [CERTS_SH, folder, ...hosts], { encoding: 'utf8' });
  if (status !== 0) {
    fail(`lanyard init: no certificates were made: ${error?.message ?? stderr.trim()}\nThen run this again.`);
    return false;
  }
  // That a certificate of one's own is over, such as.
  if (stderr.trim() !== '') fail(`lanyard init: ${stderr.trim()}`);
  const made = readFileSync(chain, 'utf8') !== before;
  const trusted = existsSync(join(folder, 'ca.pem')) ? '; clients are told to trust ca.pem (docs/SECURITY.md)' : '';
  out(`The certificates in ${folder} ${made ? 'were made' : 'were there already'}${trusted}.`);
  return true;
}

function tellAddresses(
  { text, hosts }: Settings,
  addresses: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  out: (line: string) => void,
): void {
  const port = env['PORT'] ?? parseEnv(text)['PORT'] ?? '';
  const lan = addresses[0];
  const bare = lan?.includes(':') === true ? `[${lan}]` : lan;
  const domain = hosts.find(isPublic);
  out('');
  out('Addresses (for most clients with /v1 behind)');
  out(`  this machine  http://localhost:${port === '' ? '4000' : port}`);
  const by_lan =
    lan === undefined
      ? 'no address was found'
      : isPrivate(lan)
        ? `http://${bare}:8080  (through nginx)`
        : `none: ${lan} is not a private address, and nginx takes only those on port 8080`;
  out(`  the LAN       ${by_lan}`);
  out(`  with TLS      https://${domain ?? bare ?? 'localhost'}  (through nginx)`);
  if (domain === undefined) out('                a public name is added by: npx lanyard init --domain NAME');
  if (lan !== undefined && !hosts.includes(lan)) {
    out(`  note          ${lan} is not among LANYARD_HOSTS: add it there, or remove that line, and run this again`);
  }
  for (const name of ['LITELLM_MASTER_KEY', 'LANYARD_HOSTS', 'GRAFANA_PASSWORD']) {
    if ((env[name] ?? '') !== '') out(`  note          ${name} is set in the environment, which goes before .env`);
  }
  out('');
  out('Start it, one of');
  out('  npm start                     the gateway alone, on this machine');
  out(
    '  docker compose up -d --build  with nginx, Redis, Prometheus and Grafana; .env.example says how to choose an engine',
  );
  out('  systemd                       docs/OPERATIONS.md');
}
