// Which model stands in for which. LiteLLM's lists may name what is not there and lead in circles; ours may not.
import type { Names } from './names.ts';
import type { Path } from '../config/faults.ts';
import type { Note, Source } from './source.ts';

export interface Model {
  /** `backend/name-there`, as written in our YAML. */
  readonly serve: string[];
  /** Public names of ours. */
  readonly fallback: string[];
}

/** @param aliased the models that are another's alias: they fall back as it does */
export function fallbacks(
  source: Source,
  names: Names,
  models: ReadonlyMap<string, Model>,
  aliased: ReadonlyMap<string, string>,
): void {
  const path = sectionOf(source, 'fallbacks');
  const own = new Set<string>();
  for (const { from, at } of entries(source, path)) {
    const name = names.get(from);
    if (name === undefined && from !== '*') {
      source.remark(UNKNOWN, ...at);
      continue;
    }
    const heads = name === undefined ? [...models.keys()] : [name];
    if (name !== undefined) own.add(name);
    for (const { target, at: place } of targets(source, at)) link(source, models, heads, names.get(target), place);
  }
  const defaults = sectionOf(source, 'default_fallbacks');
  const rest = [...models.keys()].filter((name) => !own.has(name) && !aliased.has(name));
  for (const { target, at } of targets(source, defaults)) link(source, models, rest, names.get(target), at);
  for (const [alias, target] of aliased) {
    if (own.has(alias)) continue;
    for (const next of models.get(target)?.fallback ?? []) join(models, alias, next);
  }
}

/** router_settings go before litellm_settings. */
function sectionOf(source: Source, key: string): Path {
  if (source.at('router_settings', key) === undefined) return ['litellm_settings', key];
  source.remark({ kind: 'lost', text: 'router_settings has its own, which go before these' }, 'litellm_settings', key);
  return ['router_settings', key];
}

/** A list of maps from one model to others; a single map is taken too. */
function* entries(source: Source, path: Path): Generator<{ from: string; at: Path }> {
  const maps = Array.isArray(source.at(...path)) ? source.list(...path).map((_, index) => [...path, index]) : [path];
  for (const map of maps) {
    for (const [from] of source.map(...map)) {
      source.open(...map);
      yield { from, at: [...map, from] };
    }
  }
}

function* targets(source: Source, path: Path): Generator<{ target: string; at: Path }> {
  if (typeof source.at(...path) === 'string') yield { target: source.text(...path) ?? '', at: path };
  for (const [index, value] of source.list(...path).entries()) {
    source.open(...path);
    const at = [...path, index];
    // A map names the model and what LiteLLM sends it instead.
    const deep = typeof value === 'object' && value !== null;
    if (deep) source.open(...at);
    const place = deep ? [...at, 'model'] : at;
    yield { target: source.text(...place) ?? '', at: place };
  }
}

/** Lets a model stand in for each of the others that it can. */
function link(
  source: Source,
  models: ReadonlyMap<string, Model>,
  heads: readonly string[],
  target: string | undefined,
  at: Path,
): void {
  if (target === undefined || !models.has(target)) {
    source.remark(UNKNOWN, ...at);
    return;
  }
  const joined = new Set(heads.map((head) => join(models, head, target)));
  if (joined.has('circle') && heads.length === 1) source.remark(CIRCLE, ...at);
  else if (!joined.has('joined')) source.remark(NEEDLESS, ...at);
  else source.carry(...at);
}

function join(models: ReadonlyMap<string, Model>, head: string, target: string): 'joined' | 'there' | 'circle' {
  const fallback = models.get(head)?.fallback;
  if (fallback === undefined || head === target || fallback.includes(target)) return 'there';
  if (leads(models, target, head)) return 'circle';
  fallback.push(target);
  return 'joined';
}

function leads(models: ReadonlyMap<string, Model>, from: string, to: string): boolean {
  const seen = new Set([from]);
  for (const one of seen) for (const next of models.get(one)?.fallback ?? []) seen.add(next);
  return seen.has(to);
}

const UNKNOWN: Note = { kind: 'lost', text: 'names a model that is not among those carried over' };
const CIRCLE: Note = {
  kind: 'lost',
  text: 'leads back to where it began: of two models that stand in for each other, Lanyard takes the one written first',
};
const NEEDLESS: Note = { kind: 'needless', text: 'every model it could stand in for has it already, or is it' };
