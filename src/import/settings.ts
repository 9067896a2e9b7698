// The settings that Lanyard has too: who may ask, how much, how long, and where Redis is.
import { weakness } from '../config/keys.ts';
import type { Path } from '../config/faults.ts';
import type { Deployment } from './deployments.ts';
import { duration_ms, written } from './durations.ts';
import { redis } from './redis.ts';
import type { Note, Source } from './source.ts';
import { reference } from './values.ts';

export interface Settings {
  readonly port: number;
  /** As written in our YAML; `undefined`: LITELLM_MASTER_KEY or a new one. */
  readonly master_key: string | undefined;
  readonly parallel: number | undefined;
  /** Options of `limits`, each as written. */
  readonly limits: ReadonlyMap<string, string>;
  readonly redis: string | undefined;
}

export function settings(source: Source, deployments: readonly Deployment[]): Settings {
  for (const section of SECTIONS) source.open(section);
  const limits = new Map([
    ...option('first_byte_ms', firstByte(source, deployments)),
    ...option('body_bytes_max', mebibytes(source, 'max_request_size_mb')),
    ...option('answer_bytes_max', mebibytes(source, 'max_response_size_mb')),
  ]);
  return {
    port: port(source),
    master_key: masterKey(source),
    parallel: parallel(source),
    limits,
    redis: redis(source),
  };
}

export const SECTIONS = ['general_settings', 'litellm_settings', 'router_settings', 'environment_variables'] as const;

function option(name: string, value: string | undefined): (readonly [string, string])[] {
  return value === undefined ? [] : [[name, value]];
}

function port(source: Source): number {
  const path = ['general_settings', 'port'] as const;
  const port = source.number(...path);
  if (port === undefined || !Number.isInteger(port) || port < 1 || port > 65_535) return 4000;
  source.carry(...path);
  return port;
}

function masterKey(source: Source): string | undefined {
  const path = ['general_settings', 'master_key'] as const;
  const key = source.text(...path);
  if (key === undefined) {
    source.remark(NO_MASTER_KEY);
    return undefined;
  }
  const variable = reference(key);
  if (variable === undefined) source.remark(literalMasterKey(weakness(key)), ...path);
  else source.carry(...path);
  return variable ?? '${LITELLM_MASTER_KEY}';
}

const NO_MASTER_KEY: Note = {
  kind: 'changed',
  text: 'there is no master key in it, with which LiteLLM lets everyone in; Lanyard takes LITELLM_MASTER_KEY, or makes a key at its first start and keeps it in .env',
};

function literalMasterKey(weak: string | undefined): Note {
  const todo =
    weak === undefined
      ? 'put it into .env as LITELLM_MASTER_KEY, which the output reads'
      : `Lanyard would refuse it, because it ${weak}: put a strong one into .env as LITELLM_MASTER_KEY (\`lanyard key NAME\` prints one)`;
  return { kind: 'todo', text: `this key stood in the file; it is not copied: ${todo}` };
}

function parallel(source: Source): number | undefined {
  const path = ['general_settings', 'max_parallel_requests'] as const;
  const count = source.number(...path);
  if (count === undefined || !Number.isInteger(count) || count < 1 || count > 1_000_000) return undefined;
  source.remark(PARALLEL, ...path);
  return count;
}

const PARALLEL: Note = {
  kind: 'changed',
  text: 'limits.ip.parallel: Lanyard counts it for each client address; a key can have a limit of its own, and each backend has `slots`',
};

/** LiteLLM's one timeout for all of a call is nearest to our longest wait for its first byte. */
function firstByte(source: Source, deployments: readonly Deployment[]): string | undefined {
  const places: Path[] = [
    ['router_settings', 'timeout'],
    ['litellm_settings', 'request_timeout'],
  ];
  const found = places.filter((path) => duration_ms(source.number(...path)) !== undefined);
  const [first, ...others] = found;
  for (const path of others) source.remark(OTHER_TIMEOUT, ...path);
  const each = deployments.map(({ index }) => ['model_list', index, 'litellm_params', 'timeout'] as const);
  if (first !== undefined) {
    source.remark(FIRST_BYTE, ...first);
    for (const path of each) source.remark(OWN_TIMEOUT, ...path);
    return written(duration_ms(source.number(...first)) ?? 0);
  }
  const all = deployments.flatMap(({ timeout_ms }) => timeout_ms ?? []);
  const known = all.length > 0 && all.length === deployments.length;
  for (const path of each) source.remark(known ? LONGEST_TIMEOUT : OWN_TIMEOUT, ...path);
  return known ? written(Math.max(...all)) : undefined;
}

const FIRST_BYTE: Note = {
  kind: 'changed',
  text: 'limits.first_byte_ms: how long a backend may take until its answer begins; one that has begun may go on (limits.idle_ms bounds its silences)',
};
const OTHER_TIMEOUT: Note = { kind: 'lost', text: 'router_settings.timeout goes before it' };
const OWN_TIMEOUT: Note = { kind: 'lost', text: 'one limit holds for all backends: limits.first_byte_ms' };
const LONGEST_TIMEOUT: Note = {
  kind: 'changed',
  text: 'one limit holds for all backends: the longest of these became limits.first_byte_ms',
};

function mebibytes(source: Source, key: string): string | undefined {
  const count = source.number('general_settings', key);
  if (count === undefined || !Number.isInteger(count) || count < 1 || count > 2047) return undefined;
  source.carry('general_settings', key);
  return `${count}MiB`;
}
