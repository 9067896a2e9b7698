// LiteLLM's proxy configuration as one of ours: what it serves, what it allows, and a remark for all that is different here.
import { readForeign } from '../config/foreign.ts';
import { label, type Position } from '../config/faults.ts';
import { backends, distinct, type Backend } from './backends.ts';
import { deployments } from './deployments.ts';
import type { Model } from './fallbacks.ts';
import { models } from './models.ts';
import { noteFor, notesByValue } from './notes.ts';
import { SECTIONS, settings, type Settings } from './settings.ts';
import { Source, type Note, type Remark } from './source.ts';
import { variables } from './values.ts';

export interface Imported {
  readonly settings: Settings;
  readonly backends: readonly Backend[];
  readonly models: ReadonlyMap<string, Model>;
  /** In the order of the file, each with its place. */
  readonly remarks: readonly (Remark & { readonly at: Position })[];
}

/** A file that is none of LiteLLM's: each fault as `line:column what is wrong`. */
export class NotLitellm extends Error {
  override readonly name = 'NotLitellm';
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(faults.join('\n'));
    this.faults = faults;
  }
}

/** @throws NotLitellm for a text that is not YAML, or not LiteLLM's configuration */
export function importLitellm(text: string): Imported {
  const file = readForeign(text);
  if (file.faults.length > 0)
    throw new NotLitellm(file.faults.map(({ line, column, text }) => `${line}:${column} ${text}`));
  const wrong = unlike(file.value);
  if (wrong !== undefined) {
    const { line, column } = file.locate(wrong.path);
    throw new NotLitellm([`${line}:${column} ${wrong.text}`]);
  }
  const source = new Source(file.value);
  const found = deployments(source);
  const behind = backends(source, found);
  const served = models(source, behind);
  const allowed = settings(source, found);
  notesByValue(source);
  remind(source, allowed, distinct(behind), served);
  source.settleRest(noteFor);
  const repeated = file.repeated.map(({ path, at }) => ({ path, at, ...REPEATED }));
  const remarks = [...repeated, ...source.remarks.map((remark) => ({ ...remark, at: file.locate(remark.path) }))];
  return {
    settings: allowed,
    backends: distinct(behind),
    models: served,
    remarks: remarks.toSorted((a, b) => a.at.line - b.at.line || a.at.column - b.at.column),
  };
}

const REPEATED = {
  kind: 'lost',
  text: 'stands again later in the same map; LiteLLM reads the last one, and so does this',
} as const;

/** Why this is no configuration of LiteLLM's proxy. */
function unlike(value: unknown): { path: string[]; text: string } | undefined {
  const sections = ['model_list', ...SECTIONS, 'include'];
  const kinds = `it is a map of ${sections.join(', ')}`;
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { path: [], text: `this is no LiteLLM configuration: ${kinds}` };
  if (!sections.some((section) => Object.hasOwn(value, section))) {
    const ours = Object.hasOwn(value, 'backends') || Object.hasOwn(value, 'listen');
    return {
      path: [],
      text: ours
        ? 'this is Lanyard’s own configuration: there is nothing to import'
        : `this is no LiteLLM configuration: ${kinds}`,
    };
  }
  for (const section of sections) {
    const list = section === 'model_list';
    const part: unknown = Reflect.get(value, section);
    if (part === null || part === undefined || section === 'include') continue;
    if (typeof part !== 'object' || Array.isArray(part) !== list)
      return { path: [section], text: `${label([section])} must be ${list ? 'a list of models' : 'a map'}` };
  }
  return undefined;
}

/** What follows from the whole of it. */
function remind(
  source: Source,
  { master_key, redis }: Settings,
  backends: readonly Backend[],
  models: ReadonlyMap<string, Model>,
): void {
  const written = [master_key, redis, ...backends.flatMap(({ url, key }) => [url, key])];
  const read = new Set(written.flatMap((value) => variables(value ?? '')));
  if (read.size > 0) source.remark(READ([...read]));
  for (const [name] of source.map('environment_variables'))
    source.remark(read.has(name) ? SET : UNREAD, 'environment_variables', name);
  if (backends.length === 0) source.remark(NO_BACKENDS);
  source.remark(LIMITED);
  if (redis !== undefined) source.remark(SHARED);
  if ([...models.values()].some(({ fallback }) => fallback.length > 0)) source.remark(FALLBACK);
}

const READ = (names: readonly string[]): Note => {
  return { kind: 'todo', text: `the output reads these from the environment or from .env: ${names.join(', ')}` };
};
const SET: Note = { kind: 'todo', text: 'put it into .env, from where the output reads it; its value is not copied' };
const UNREAD: Note = { kind: 'needless', text: 'nothing in the output reads it' };
const NO_BACKENDS: Note = {
  kind: 'todo',
  text: 'no engine is left to serve a model: without `backends` Lanyard looks for engines on this machine’s usual ports',
};
const LIMITED: Note = {
  kind: 'changed',
  text: 'each client address may send 10 requests a second, 20 more at once, and 100 in parallel, unless limits.ip says otherwise; LiteLLM has no such limit',
};
const SHARED: Note = {
  kind: 'changed',
  text: '`redis` is where gateways share their limits; more than one gateway is said by `redis: { url, gateways }`',
};
const FALLBACK: Note = {
  kind: 'changed',
  text: 'a `fallback` is tried when no deployment of a model can take the call; what an engine refuses is not asked of another model',
};
