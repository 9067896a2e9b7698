// What `lanyard init` writes into `.env`, as a value: the text that stood there with what it lacks, and nothing that is there
// changed. Pure but for the secrets it makes.
import { randomBytes } from 'node:crypto';
import { parseEnv } from 'node:util';
import { Refusal, withVariable } from './dotenv.ts';
import { makeKey, weakness } from '../config/keys.ts';

export interface Settings {
  readonly text: string;
  readonly key: string;
  readonly hosts: readonly string[];
  /** The variables that got a value, or another one. */
  readonly made: ReadonlySet<Name>;
}

type Name = 'LITELLM_MASTER_KEY' | 'LANYARD_HOSTS' | 'GRAFANA_PASSWORD';

/**
 * @param found the names and addresses of this machine, for a text that has none yet
 * @param domains the public names asked for; they are added also to hosts that are there
 * @throws what `whyNotWritten` can tell, when the master key that is there would be refused
 */
export function settle(text: string, found: readonly string[], domains: readonly string[]): Settings {
  const made = new Set<Name>();
  let changed = text;
  const wanted = (name: Name, value: string): string => {
    changed = withVariable(changed, name, value);
    made.add(name);
    return value;
  };
  const before = parseEnv(text);
  const has = (name: Name): string => (before[name] ?? '').trim();

  const given = has('LITELLM_MASTER_KEY');
  const weak = given === '' ? undefined : weakness(given);
  if (weak !== undefined) {
    throw new Refusal(`its LITELLM_MASTER_KEY ${weak}, and would be refused; remove that line and run this again`);
  }
  const key = given === '' ? wanted('LITELLM_MASTER_KEY', makeKey()) : given;

  const known = has('LANYARD_HOSTS').split(/\s+/).filter(Boolean);
  const listed = new Set(known.map((host) => host.toLowerCase()));
  const missing = domains.filter((name) => !listed.has(name));
  const hosts = [...new Set(known.length === 0 ? [...domains, ...found] : [...known, ...missing])];
  if (known.length === 0 || missing.length > 0) wanted('LANYARD_HOSTS', hosts.join(' '));

  if (has('GRAFANA_PASSWORD') === '') wanted('GRAFANA_PASSWORD', randomBytes(18).toString('base64url'));
  return { text: changed, key, hosts, made };
}
