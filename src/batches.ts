// What batches are given of the gateway: its line, its fleet, its keys. They know none of these themselves.
import type { BatchingOptions } from './batch/batching.ts';
import type { Service, UpstreamEvent } from './batch/upstream/means.ts';
import { ConfigError } from './config/faults.ts';
import type { Backend } from './fleet/backend.ts';
import { upstreamOf } from './fleet/fleet.ts';
import { serveLine, type Ground } from './serve.ts';
import { matches } from './wire/glob.ts';
import type { Caller, Config } from './types.ts';

/** `ground`: as it is now; a reload puts another one in its place. */
export function batchMeans(ground: () => Ground): BatchingOptions['means'] {
  return {
    callerOf: (owner) => callerOf(ground().config, owner),
    ownerOf: (owner) => {
      const { config, fleet } = ground();
      const caller = callerOf(config, owner);
      return {
        default_model: caller?.default_model,
        mayUse: (model) =>
          caller !== undefined &&
          fleet.models.has(model) &&
          (caller.models === undefined || matches(caller.models, model)),
      };
    },
    limits: () => {
      const { batch, limits } = ground().config;
      return { lines_max: batch?.lines_max ?? 0, line_bytes_max: limits.body_bytes_max };
    },
    spare: (model) => {
      const { fleet } = ground();
      const candidates = fleet.models.get(model)?.candidates ?? [];
      return fleet.spare(candidates.filter(({ backend }) => backend.config.batch !== 'upstream'));
    },
    place: (model) => {
      const candidate = upstreamOf(ground().fleet.models.get(model));
      return candidate && { backend: candidate.backend.name, name: candidate.name };
    },
    service: (name) => {
      const backend = ground().fleet.backends.get(name);
      return backend?.config.batch === 'upstream' ? serviceOf(backend) : undefined;
    },
    told: (event) => ground().metrics.upstream(wordOf(event), event.backend),
    serve: (line) => serveLine(ground(), line),
    ended: (how) => ground().metrics.line(how),
    get log() {
      return ground().log;
    },
  };
}

function serviceOf(backend: Backend): Service {
  const { config, connect_ms, secrets } = backend;
  const base = backend.route('').replace(/\/$/, '');
  return { url: new URL(config.url).origin + base, key: config.key, tls: config.tls, connect_ms, secrets };
}

/** As the metric has it. */
function wordOf(event: UpstreamEvent): string {
  if (event.type === 'failed') return `${event.step} ${event.kind}`;
  return event.type === 'ended' ? event.status : event.type;
}

/** A key by its name; `undefined` for one that is no longer configured. */
function callerOf({ keys }: Config, owner: string): Caller | undefined {
  const from = { address: '', bucket: '', limits: undefined };
  if (owner === 'open') return { key: owner, admin: false, models: undefined, default_model: undefined, ...from };
  const key = keys.find(({ name }) => name === owner);
  if (key === undefined) return undefined;
  const { name, models, default_model } = key;
  return { key: name, admin: name === 'master', models, default_model, ...from };
}

/** @throws ConfigError for a change that only a restart can make */
export function refuseMoving(old: Config, next: Config): void {
  const place = ({ batch, database }: Config): string => JSON.stringify([batch?.data, database]);
  if (place(old) === place(next)) return;
  throw new ConfigError([
    '`database`, `batch.data`, and whether there is a `batch` at all, change with a restart only',
  ]);
}
