// The engines behind the deployments: one backend for each address and key, named so that a reader knows which it is.
import type { EngineName } from '../types.ts';
import type { Deployment } from './deployments.ts';
import type { Note, Source } from './source.ts';
import { isPlaceholder, reference, unique, variable } from './values.ts';

export interface Backend {
  readonly name: string;
  engine: EngineName;
  readonly url: string;
  /** As it is written in our YAML. */
  key: string | undefined;
  slots: number | undefined;
  readonly publish: string[];
  readonly serves: Deployment[];
}

/** By deployment; of one server they have one and the same backend. */
export type Backends = ReadonlyMap<Deployment, Backend>;

export function backends(source: Source, deployments: readonly Deployment[]): Backends {
  const found = new Map<Deployment, Backend>();
  for (const one of deployments) {
    const all = distinct(found);
    const backend = all.find((other) => isSame(other, one)) ?? begin(one, all);
    if (WEAK.has(backend.engine) && one.engine !== 'auto') backend.engine = one.engine;
    backend.key ??= writtenKey(one, backend.name);
    backend.serves.push(one);
    found.set(one, backend);
    settleKey(source, one, backend);
  }
  for (const backend of distinct(found)) backend.slots = slots(source, backend);
  return found;
}

/** Each once, in the order of the file. */
export function distinct(backends: Backends): Backend[] {
  return [...new Set(backends.values())];
}

/** What a closer look may still make into a certain engine. */
const WEAK: ReadonlySet<EngineName> = new Set(['auto', 'openai']);

/** One server: the same address and key, and engines that do not exclude each other. */
function isSame({ engine, url, serves }: Backend, other: Deployment): boolean {
  const agree = engine === other.engine || WEAK.has(engine) || WEAK.has(other.engine);
  return agree && url === other.url && serves.every((one) => identity(one) === identity(other));
}

/** What tells a key from another; empty for none, and for a variable that need not be set. */
function identity({ key, usual_key = '' }: Deployment): string {
  if (key !== undefined) return isPlaceholder(key) ? '' : key;
  return usual_key.endsWith(':-}') ? '' : usual_key;
}

function begin(deployment: Deployment, all: readonly Backend[]): Backend {
  const taken = all.map(({ name }) => name);
  const { engine, url } = deployment;
  return {
    name: unique(nameFor(deployment), taken),
    engine,
    url,
    key: undefined,
    slots: undefined,
    publish: [],
    serves: [],
  };
}

function writtenKey({ key, usual_key }: Deployment, name: string): string | undefined {
  if (key === undefined) return usual_key;
  if (isPlaceholder(key)) return undefined;
  return reference(key) ?? `\${${variable(name, 'KEY')}}`;
}

function settleKey(source: Source, { index, key }: Deployment, backend: Backend): void {
  const path = ['model_list', index, 'litellm_params', 'api_key'] as const;
  if (key === undefined) return;
  if (isPlaceholder(key)) source.remark(PLACEHOLDER, ...path);
  else if (reference(key) !== undefined) source.carry(...path);
  else source.remark(secret(variable(backend.name, 'KEY')), ...path);
}

const PLACEHOLDER: Note = {
  kind: 'needless',
  text: 'stands for no key, and Lanyard sends none to an engine that has none',
};

function secret(name: string): Note {
  const text = `this key stood in the file; it is not copied: put it into .env as ${name}, which the output reads`;
  return { kind: 'todo', text };
}

/** The host where it is a name, else the provider; with the port or a number where that is taken already. */
function nameFor({ url, provider }: Deployment): string {
  const short = provider
    .replace(/^(hosted_|text-completion-|custom_)/, '')
    .replace(/_chat$/, '')
    .replaceAll('_', '-');
  const [, variable_name] = /^\$\{(\w+)(?::-|\})/.exec(url) ?? [];
  if (variable_name !== undefined)
    return slug(variable_name.replace(/_?(API)?_?(BASE|URL|HOST|ENDPOINT)+(_URL)?$/i, '')) || short;
  const { hostname, host } = new URL(url);
  if (/^(localhost|127\.|0\.0\.0\.0|\[)/.test(hostname) || hostname === 'host.docker.internal') return short;
  if (/^[\d.]+$/.test(hostname)) return `${short}-${hostname}`;
  const first = hostname.replace(/^(api|www)\./, '').split('.')[0] ?? host;
  return slug(first) || short;
}

function slug(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '')
    .slice(0, 48);
}

/** LiteLLM's parallel limit is a deployment's, ours a backend's: their sum, where each of its deployments has one. */
function slots(source: Source, { serves }: Backend): number | undefined {
  const usual = source.number('router_settings', 'default_max_parallel_requests');
  const each = serves.map(({ parallel }) => parallel ?? usual);
  const sum = each.reduce<number>((all, one) => all + (one ?? Number.NaN), 0);
  const known = Number.isSafeInteger(sum) && sum >= 1 && sum <= 100_000;
  for (const { index, parallel } of serves) {
    const path = ['model_list', index, 'litellm_params', 'max_parallel_requests'] as const;
    if (parallel === undefined) continue;
    if (!known) source.remark(UNKNOWN_SUM, ...path);
    else if (serves.length > 1) source.remark(SUM, ...path);
    else source.carry(...path);
  }
  if (known && usual !== undefined && serves.some(({ parallel }) => parallel === undefined))
    source.carry('router_settings', 'default_max_parallel_requests');
  return known ? sum : undefined;
}

const SUM: Note = {
  kind: 'changed',
  text: 'a backend has `slots` for all of its models together: the sum of theirs',
};
const UNKNOWN_SUM: Note = {
  kind: 'lost',
  text: 'not every deployment of this backend has such a limit: set `slots` on the backend to what it can really do at once',
};
