// `lanyard check [--config PATH]`: reads the configuration as the gateway would, and prints what it means, or every fault.
import type { Config, Limit, Rate } from '../types.ts';
import { ConfigError, configPath, loadConfig, readEnvironment } from '../config/load.ts';

/**
 * @param processEnv the process's environment; `.env` in `dir` is read under it, as at a start
 * @returns the exit code: 0 when the configuration can be used, else 1
 */
export async function check(
  argv: readonly string[],
  out: (line: string) => void,
  processEnv: Readonly<Record<string, string | undefined>>,
  dir: string = process.cwd(),
): Promise<number> {
  try {
    const env = readEnvironment(dir, processEnv);
    const path = configPath(argv, env);
    const config = loadConfig(path, env);
    out(`${path}: ok`);
    for (const line of summary(config)) out(`  ${line}`);
    return 0;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const fault of error.faults) out(fault);
    return 1;
  }
}

function summary({ listen, keys, limits, redis, backends, models, batch, database, cache }: Config): string[] {
  const doors = listen.map(({ host, port, auth }) => {
    return `${host.includes(':') ? `[${host}]` : host}:${port}${auth === 'open' ? ' (open: no key asked)' : ''}`;
  });
  const closed = listen.some(({ auth }) => auth === 'required');
  const master = keys.some(({ name }) => name === 'master');
  const engines = [...(backends ?? [])].map(([name, { engine }]) => `${name} (${engine})`);
  return [
    `listen    ${doors.join(', ')}`,
    `keys      ${names(keys.map(({ name }) => name))}${closed && !master ? '; no master key yet: one is made at the start' : ''}`,
    `backends  ${backends === undefined ? "looked for on this machine's usual ports" : names(engines)}`,
    `models    ${models === undefined ? 'every model found, under its own name' : names([...models.keys()])}`,
    `limits    ${limits.ip === undefined ? 'none by address' : `${written(limits.ip)} by address`}`,
    `redis     ${redis === undefined ? 'none: limits live in this process' : `shared by ${redis.gateways}, fail: ${redis.fail}`}`,
    `batches   ${batch === undefined ? 'none' : database === undefined ? `in ${batch.data}` : 'in PostgreSQL'}`,
    `cache     ${cache === undefined ? 'none' : `${cache.ttl_ms / 1000} s, chat: ${cache.chat}${cache.shared ? ', shared by all keys' : ''}`}`,
  ];
}

function names(all: readonly string[]): string {
  const shown = all.slice(0, 8).join(', ');
  return `${all.length}${shown === '' ? '' : `: ${shown}`}${all.length > 8 ? ', …' : ''}`;
}

function written({ requests, burst, parallel }: Limit): string {
  const rate = requests === undefined ? 'any rate' : `${per(requests)}, burst ${burst}`;
  return `${rate}, ${parallel ?? 'any number'} at once`;
}

function per({ count, per_ms }: Rate): string {
  return `${count}/${per_ms === 1000 ? 's' : per_ms === 60_000 ? 'min' : 'h'}`;
}
