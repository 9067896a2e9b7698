// `lanyard import litellm -`, run as a function, and what it printed read again as the gateway would.
import { importConfig } from '../../src/cli/import.ts';
import { parseConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/types.ts';
import { KEY } from '../stage/gateway.ts';

export interface Printed {
  readonly code: number;
  readonly yaml: string;
  readonly errors: string;
}

export async function importText(text: string): Promise<Printed> {
  const [out, fail]: [string[], string[]] = [[], []];
  const stdin = (async function* () {
    yield Buffer.from(text);
  })();
  const code = await importConfig(['litellm', '-'], {
    out: (line) => out.push(line),
    fail: (line) => fail.push(line),
    stdin,
  });
  return { code, yaml: out.join('\n'), errors: fail.join('\n') };
}

/** What is written below the remarks. */
export function body(yaml: string): string {
  return yaml.slice(yaml.indexOf('\nlisten:'));
}

/** The output as a configuration, with every variable set that it reads, each to what it may be. */
export function load(yaml: string): Config {
  const names = [...body(yaml).matchAll(/\$\{(\w+)\}/g)].map(([, name]) => name ?? '');
  return parseConfig(yaml, 'out.yaml', Object.fromEntries(names.map((name) => [name, valueFor(name)])));
}

function valueFor(name: string): string {
  if (name === 'REDIS_URL') return 'redis://10.0.0.3:6379';
  if (name.endsWith('MASTER_KEY')) return KEY;
  if (name.endsWith('_HOST')) return 'redis.lan';
  if (name.endsWith('_PORT')) return '6380';
  return /URL|BASE/.test(name) ? 'http://10.0.0.9:9000' : 'k';
}
