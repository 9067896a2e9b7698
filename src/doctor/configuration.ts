// What the configuration says, beyond what `lanyard check` finds: keys, what is open, who may read the files.
import { statSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { about, count, type Finding } from './finding.ts';
import { digest } from '../config/keys.ts';
import type { Environment } from '../config/environment.ts';
import { isLoopback } from '../wire/address.ts';
import type { Config } from '../types.ts';

/** Where things are. */
export interface Place {
  /** The configuration file. */
  readonly path: string;
  /** Where `.env` is. */
  readonly dir: string;
}

/** Each fault as `lanyard check` tells it, `file:line:column what is wrong`. */
export function faulty(path: string, faults: readonly string[]): Finding[] {
  return faults.map((fault) =>
    about('configuration.file', path).fail(
      spoken(fault, path),
      'Correct it; `lanyard check` reads it again. A running gateway keeps the configuration it has.',
    ),
  );
}

/** Without the path, which is the subject: `line 3:5 limits…`. */
function spoken(fault: string, path: string): string {
  if (!fault.startsWith(`${path}:`)) return fault;
  const rest = fault.slice(path.length + 1).trimStart();
  return /^\d/.test(rest) ? `line ${rest}` : rest;
}

export function configuration(config: Config, { path, dir }: Place): Finding[] {
  return [
    ...file(config, path),
    ...dotenv(dir),
    ...doors(config),
    ...keys(config),
    ...limits(config),
    ...redis(config),
  ];
}

/** The key that the deep tests may use: one of the configuration's own, from the environment. Never printed. */
export function usableKey(config: Config, env: Environment, name: string): { key: string } | { reason: string } {
  const key = env[name];
  if (key === undefined || key === '') return { reason: `${name} is not set in the environment or .env` };
  const known = config.keys.some((one) => one.digest.equals(digest(key)));
  return known ? { key } : { reason: `the key in ${name} is none of the configuration's` };
}

/** What must never be shown. */
export function secretsOf(config: Config | undefined, env: Environment): string[] {
  const named = Object.entries(env).flatMap(([name, value]) =>
    /KEY|TOKEN|SECRET|PASSWORD/i.test(name) ? [value] : [],
  );
  const backends = [...(config?.backends?.values() ?? [])].map(({ key }) => key);
  return [...named, ...backends, ...passwordsOf(config?.redis?.url)].flatMap((one) =>
    one === undefined || one === '' ? [] : [one],
  );
}

function file(config: Config, path: string): Finding[] {
  const said = about('configuration.file', path);
  const models = config.models === undefined ? 'every model found' : count(config.models.size, 'model');
  const backends = config.backends === undefined ? 'engines looked for here' : count(config.backends.size, 'backend');
  const found = [said.ok(`${backends}, ${models}, ${count(config.keys.length, 'key')}`)];
  const mode = modeOf(path);
  if (mode === undefined) return found;
  if ((mode & 0o002) !== 0) {
    found.push(said.fail(`anyone on this machine can change it (mode ${octal(mode)})`, `chmod o-w ${path}`));
  }
  const text = readFileSync(path, 'utf8');
  const inside = [...(config.backends?.values() ?? [])].map(({ key }) => (key === undefined ? [] : [key]));
  const written = [...inside, passwordsOf(config.redis?.url)].filter((forms) =>
    forms.some((one) => text.includes(one)),
  );
  if (written.length > 0 && (mode & 0o044) !== 0) {
    found.push(
      said.warn(
        `holds ${count(written.length, 'secret')} and others on this machine can read it (mode ${octal(mode)})`,
        'Move secrets to .env (mode 600) and write ${NAME} in their place.',
      ),
    );
  }
  return found;
}

function dotenv(dir: string): Finding[] {
  const path = join(dir, '.env');
  const said = about('configuration.secrets', '.env');
  const mode = modeOf(path);
  // No file is no fault: the environment may come from systemd or Compose.
  if (mode === undefined) return [];
  if ((mode & 0o077) === 0) return [said.ok(`only its owner can read it (mode ${octal(mode)})`)];
  return [said.warn(`others on this machine can read it (mode ${octal(mode)})`, `chmod 600 ${path}`)];
}

function doors({ listen }: Config): Finding[] {
  return listen.map(({ host, port, auth }) => {
    const said = about('configuration.listen', `${host.includes(':') ? `[${host}]` : host}:${port}`);
    const here = isLoopback(host) || host === 'localhost';
    if (auth === 'open' && !here) {
      return said.warn(
        'asks for no key, and others reach it: whoever can connect uses your GPUs',
        'Listen on 127.0.0.1, or take `auth: required` and give each person a key (`lanyard key NAME`).',
      );
    }
    if (auth === 'open') return said.note('asks for no key; only programs on this machine reach it');
    if (here) return said.ok('asks for a key; only this machine reaches it, others through nginx');
    return said.note(
      'asks for a key, which crosses the network in the clear when nginx is passed by',
      'Listen on 127.0.0.1 and let nginx face the network, unless this is a container whose port is not published.',
    );
  });
}

function keys({ keys, listen }: Config): Finding[] {
  const said = about('configuration.keys', '');
  if (listen.every(({ auth }) => auth === 'open')) return [];
  const named = keys.filter(({ name }) => name !== 'master').length;
  if (named === keys.length) {
    return [
      said.note(
        `no master key yet, ${count(named, 'key')} beside it`,
        'The first `lanyard serve` makes one and keeps it in .env; `lanyard init` does it now.',
      ),
    ];
  }
  return [
    named === 0
      ? said.note(
          'only the master key: whoever has it may do everything',
          'A key for each person or tool: `lanyard key NAME`.',
        )
      : said.ok(`the master key and ${named} more; weak ones are refused when the file is read`),
  ];
}

function limits({ limits: { ip, queue_wait_ms, first_byte_ms } }: Config): Finding[] {
  const said = about('configuration.limits', '');
  const found = [
    ip === undefined
      ? said.note(
          'none by address (limits.ip: off): one caller can take every slot',
          'Remove `ip: off` for 10/s, burst 20, 100 at once.',
        )
      : said.ok('by address'),
  ];
  // The official SDKs give up after 600 s: whatever comes later is heard by nobody.
  if (queue_wait_ms + first_byte_ms > 3_600_000) {
    found.push(
      said.note(
        `a call may wait ${Math.round((queue_wait_ms + first_byte_ms) / 60_000)} min; most clients leave after 10`,
      ),
    );
  }
  return found;
}

function redis({ redis }: Config): Finding[] {
  if (redis === undefined) return [];
  const url = URL.parse(redis.url);
  if (url === null || url.protocol !== 'redis:' || isLoopback(url.hostname) || url.hostname === 'localhost') return [];
  if (url.password !== '') return [];
  return [
    about('configuration.redis', url.host).note(
      'is reached over the network without a password',
      'If others reach that port: `requirepass` there and redis://:PASSWORD@… here, or a private network.',
    ),
  ];
}

/** The password of a URL in each form in which it may be shown: as it stands there, and what it means. */
function passwordsOf(url: string | undefined): string[] {
  const written = url === undefined ? undefined : URL.parse(url)?.password;
  if (written === undefined || written === '') return [];
  try {
    return [...new Set([written, decodeURIComponent(written)])];
  } catch {
    // A % that begins no escape: redis.ts says so.
    return [written];
  }
}

/** The permission bits; `undefined` where there is no such file, or the system has none. */
function modeOf(path: string): number | undefined {
  if (process.platform === 'win32') return undefined;
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? undefined : stats.mode & 0o777;
}

function octal(mode: number): string {
  return mode.toString(8).padStart(3, '0');
}
