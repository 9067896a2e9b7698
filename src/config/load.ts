// From a file to a `Config`, or to every fault at once. The steps: read the YAML and the environment into plain values
// (tree), check each option (schema), check them against each other (references), let the environment decide its part.
import { readFileSync, statSync } from 'node:fs';
import type { Config } from '../types.ts';
import { override, overrides } from './environment.ts';
import type { Environment } from './environment.ts';
import { ConfigError, findings, label } from './faults.ts';
import type { Fault, Finding } from './faults.ts';
import { masterKey } from './keys.ts';
import { references } from './references.ts';
import { file } from './schema.ts';
import type { File } from './schema.ts';
import { readTree } from './tree.ts';

export { ConfigError } from './faults.ts';
export { readEnvironment } from './environment.ts';

/** More is not a configuration: someone pointed --config at a model. */
const FILE_BYTES_MAX = 1024 ** 2;

/**
 * Which file: `--config PATH` or `--config=PATH`, else LANYARD_CONFIG, else `config/lanyard.yaml`.
 * @throws ConfigError when --config has no path, or stands twice.
 */
export function configPath(argv: readonly string[], env: Environment): string {
  const paths = argv.flatMap((word, index) => {
    if (word.startsWith('--config=')) return [word.slice('--config='.length)];
    return word === '--config' ? [argv[index + 1] ?? ''] : [];
  });
  const [path, ...more] = paths;
  if (more.length > 0) throw new ConfigError(['--config stands twice; one file is read']);
  if (path === undefined) return env['LANYARD_CONFIG'] || 'config/lanyard.yaml';
  if (path === '' || path.startsWith('--'))
    throw new ConfigError(['--config needs a path: --config config/lanyard.yaml']);
  return path;
}

/**
 * Reads and checks a configuration file. `env` is the environment with `.env` already under it.
 * @throws ConfigError with every fault as `file:line:column what is wrong and what is allowed`.
 */
export function loadConfig(path: string, env: Environment): Config {
  return parseConfig(readText(path), path, env);
}

/** The same for a text; `name` is how the faults call the file. */
export function parseConfig(text: string, name: string, env: Environment): Config {
  const tree = readTree(text, env);
  const raw = tree.value ?? {};
  const checked = file.safeParse(raw);
  const found: Finding[] = tree.readable ? [...findings(checked.error?.issues ?? [], raw), ...references(raw)] : [];
  const place = (finding: Finding): Fault => {
    const text = finding.whole === true ? finding.message : `${label(finding.path)} ${finding.message}`;
    return { ...tree.locate(finding), text };
  };
  const write = ({ line, column, text }: Fault): string => `${name}:${line}:${column} ${text}`;
  const placed = found.filter(({ path }) => !tree.isBroken(path)).map(place);
  const faults = [...tree.faults, ...placed].sort((a, b) => a.line - b.line || a.column - b.column).map(write);

  const chosen = overrides(env, checked.data?.auth.master_key === undefined && !hasMaster(raw));
  if (faults.length > 0 || chosen.faults.length > 0 || !checked.success) {
    throw new ConfigError([...new Set([...faults, ...chosen.faults])]);
  }
  const config = override(toConfig(checked.data), chosen);
  const clash = clashes(config);
  if (clash.length > 0) throw new ConfigError(clash.map(place).map(write));
  return config;
}

function toConfig({
  listen,
  auth,
  limits,
  redis,
  database,
  batch,
  cache,
  backends,
  models,
  cors,
  metrics,
  log,
}: File): Config {
  return {
    listen,
    keys: auth.master_key === undefined ? auth.keys : [masterKey(auth.master_key), ...auth.keys],
    auth_failures: auth.failures,
    limits,
    redis,
    backends,
    models,
    cors_origins: cors.origins,
    metrics_allow: metrics.allow,
    metrics_certificates: metrics.certificates,
    log_level: log.level,
    database,
    batch,
    cache,
  };
}

/** What only shows once the environment has had its say. */
function clashes({ listen, keys }: Config): Finding[] {
  const [first, ...others] = listen;
  const [master, ...named] = keys;
  const port = others.findIndex((one) => one.port !== 0 && one.port === first?.port && one.host === first.host);
  const key = master?.name === 'master' ? named.findIndex((one) => one.digest.equals(master.digest)) : -1;
  const found: Finding[] = [];
  if (port >= 0) {
    const message = 'is the port that PORT in the environment gives the first listener: change one of them';
    found.push({ path: ['listen', port + 1, 'port'], message });
  }
  if (key >= 0) {
    const message = 'is the hash of the master key: make a key of its own with `lanyard key NAME`';
    found.push({ path: ['auth', 'keys', key, 'hash'], message });
  }
  return found;
}

/** Whether the file gives a master key at all, right or wrong: then the environment's is not looked at. */
function hasMaster(raw: unknown): boolean {
  const auth = typeof raw === 'object' && raw !== null && 'auth' in raw ? raw.auth : undefined;
  return typeof auth === 'object' && auth !== null && 'master_key' in auth && auth.master_key !== '';
}

function readText(path: string): string {
  try {
    if (statSync(path).size > FILE_BYTES_MAX)
      throw new ConfigError([`${path}: is larger than 1 MiB; this is no configuration`]);
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    throw new ConfigError([`${path}: ${UNREADABLE[code] ?? `cannot be read (${code})`}`]);
  }
}

const UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT:
    'there is no such file. An empty one is a valid configuration; config/lanyard.example.yaml shows every option; --config PATH or LANYARD_CONFIG name another',
  EISDIR: 'is a directory; name the file in it',
  EACCES: 'may not be read by this user: change its permissions or its owner',
  ERR_ENCODING_INVALID_ENCODED_DATA: 'is not UTF-8 text: save it as UTF-8',
};
