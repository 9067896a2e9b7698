// `model_list`, entry by entry: what each serves, where, and under which name there. An entry that Lanyard cannot serve is
// remarked upon as a whole.
import type { EngineName } from '../types.ts';
import { addressOf, type Address } from './addresses.ts';
import { duration_ms } from './durations.ts';
import { OPENAI, PROVIDERS, providerOf, type Provider } from './providers.ts';
import type { Note, Source } from './source.ts';

export interface Deployment {
  /** Its place in `model_list`. */
  readonly index: number;
  /** The public name as LiteLLM has it; with a `*`, a pattern. */
  readonly model_name: string;
  readonly provider: string;
  /** The model's name on the engine; with a `*`, a pattern. */
  readonly name: string;
  readonly engine: EngineName;
  readonly url: string;
  /** As it stands in the file, perhaps a secret; `undefined`: none is given. */
  readonly key: string | undefined;
  /** As written in our YAML: the variable that LiteLLM reads when none is given. */
  readonly usual_key: string | undefined;
  readonly parallel: number | undefined;
  readonly timeout_ms: number | undefined;
}

export function deployments(source: Source): Deployment[] {
  source.open('model_list');
  return source.list('model_list').flatMap((_entry, index) => deployment(source, index) ?? []);
}

function deployment(source: Source, index: number): Deployment | undefined {
  const at = ['model_list', index] as const;
  const params = [...at, 'litellm_params'] as const;
  const lose = (text: string): undefined => {
    source.remark({ kind: 'lost', text }, ...at);
  };

  const model = source.text(...params, 'model');
  const model_name = source.text(...at, 'model_name');
  if (model === undefined || model_name === undefined)
    return lose('an entry needs `model_name` and `litellm_params.model`, and this one lacks one of them');
  const mode = source.text(...at, 'model_info', 'mode');
  if (mode !== undefined && !CARRIED.has(mode))
    return lose(`Lanyard carries chat, completions and embeddings, and this model's mode is another`);

  const asked = source.text(...params, 'custom_llm_provider');
  const [provider, name] = split(model, asked);
  const known = provider === undefined ? undefined : PROVIDERS.get(provider);
  const base_key = source.at(...params, 'api_base') === undefined ? 'base_url' : 'api_base';
  const base = source.text(...params, base_key);
  if (provider === undefined || known === undefined)
    return lose(provider === undefined && model === '*' ? ANY_PROVIDER : NOT_OPENAI);
  if (!/^\S(.*\S)?$/.test(name)) return lose('the model has no name that an engine could have');

  const found = base === undefined ? usual(provider, known) : addressOf(base, known);
  if (found === undefined)
    return lose(base === undefined ? NO_ADDRESS : 'its api_base is not an http:// or https:// address');
  if (name.includes('*') !== model_name.includes('*'))
    return lose(
      'a pattern and a name are paired here: publish the models you mean by `publish` of a backend, or name each under `models`',
    );

  if (name.includes('*') && !/^[A-Za-z0-9._:/@+*-]{1,200}$/.test(name))
    return lose('this pattern holds characters that no model name has');

  for (const step of ['model', base_key, ...(asked === undefined ? [] : ['custom_llm_provider'])])
    source.carry(...params, step);
  source.carry(...at, 'model_name');
  for (const step of [params, [...at, 'model_info']]) source.open(...step);
  if (found.note !== undefined) source.remark(found.note, ...params, base_key);
  if (base === undefined && (known.hosted || provider === 'openai')) source.remark(HOSTED, ...params, 'model');
  if (provider === 'infinity') source.remark(INFINITY, ...params, 'model');
  const key = source.text(...params, 'api_key');
  return {
    index,
    model_name,
    provider,
    name,
    engine: found.engine,
    url: found.url,
    key,
    usual_key: key !== undefined ? undefined : found.url === OPENAI.base ? OPENAI.key : known.key,
    parallel: whole(source.number(...params, 'max_parallel_requests')),
    timeout_ms: duration_ms(source.number(...params, 'timeout')),
  };
}

/** Kinds of models that are asked by the three routes Lanyard carries. */
const CARRIED = new Set(['chat', 'completion', 'embedding', 'responses']);

const NOT_OPENAI =
  'this provider speaks a dialect of its own, or is not known: Lanyard carries OpenAI’s to engines. One that offers OpenAI’s routes can be a backend: engine: openai, its url and its key';
const ANY_PROVIDER = 'this lets a caller choose any provider; Lanyard’s models are those of its backends';
const NO_ADDRESS = 'there is no api_base, and this provider has no usual address: add a backend with its url';
const HOSTED: Note = {
  kind: 'changed',
  text: 'a service outside is carried over as a backend: prompts go to it, as they did before',
};
const INFINITY: Note = {
  kind: 'todo',
  text: 'Lanyard asks engines under /v1: start Infinity with --url-prefix /v1',
};

/** The provider and the name there: what stands before the first slash, unless custom_llm_provider says it. */
function split(model: string, asked: string | undefined): readonly [string | undefined, string] {
  const slash = model.indexOf('/');
  const first = model.slice(0, Math.max(slash, 0));
  if (asked !== undefined) return [asked, first === asked ? model.slice(slash + 1) : model];
  return slash < 0 ? [providerOf(model), model] : [first, model.slice(slash + 1)];
}

/** Where LiteLLM finds it without an api_base. */
function usual(provider: string, known: Provider): Address | undefined {
  const { base, engine } = provider === 'openai' ? OPENAI : known;
  return base === undefined ? undefined : { url: base, engine: engine ?? 'auto', note: undefined };
}

function whole(value: number | undefined): number | undefined {
  return value !== undefined && Number.isSafeInteger(value) && value >= 1 && value <= 100_000 ? value : undefined;
}
