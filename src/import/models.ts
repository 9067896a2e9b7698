// The public models: a list of deployments by name, aliases as models of their own, patterns as what a backend publishes,
// and the order in which models stand in for each other.
import type { Backend, Backends } from './backends.ts';
import type { Deployment } from './deployments.ts';
import { fallbacks, type Model } from './fallbacks.ts';
import { Names, isName, renamed } from './names.ts';
import type { Note, Source } from './source.ts';
import { literal } from './values.ts';

export function models(source: Source, backends: Backends): Map<string, Model> {
  const models = new Map<string, Model>();
  const names = new Names();
  // Names that need no change keep it, wherever they stand.
  for (const { model_name } of backends.keys()) if (isName(model_name)) names.give(model_name);
  for (const [deployment, backend] of backends) {
    if (deployment.name.includes('*')) publish(source, deployment, backend);
    else add(source, deployment, backend, names, models);
  }
  const aliased = aliases(source, names, models);
  fallbacks(source, names, models, aliased);
  return models;
}

function add(source: Source, deployment: Deployment, backend: Backend, names: Names, models: Map<string, Model>): void {
  const { index, model_name, name } = deployment;
  const at = ['model_list', index] as const;
  const given = names.give(model_name);
  if (given !== model_name) source.remark(renamed(given), ...at, 'model_name');
  const model = models.get(given) ?? { serve: [], fallback: [] };
  const written = `${backend.name}/${literal(name)}`;
  if (model.serve.includes(written)) source.remark(AGAIN, ...at);
  else model.serve.push(written);
  models.set(given, model);
}

const AGAIN: Note = {
  kind: 'lost',
  text: 'the same model on the same backend again: Lanyard names each once, and shares calls by load',
};

/** `ollama/*`: Lanyard publishes an engine's models under their own names. */
function publish(source: Source, { index, model_name, name }: Deployment, { publish }: Backend): void {
  if (publish.includes(name)) source.remark(AGAIN, 'model_list', index);
  else publish.push(name);
  if (model_name !== name && model_name !== '*') {
    const text =
      "models are published under the engine's own names: clients ask for those, without what this pattern has around its *";
    source.remark({ kind: 'todo', text }, 'model_list', index, 'model_name');
  } else if (model_name === '*' && name !== '*') {
    source.remark(
      { kind: 'changed', text: 'only the models that match the pattern in `model` are published' },
      'model_list',
      index,
      'model_name',
    );
  }
}

/** An alias is another model with the same deployments. */
function aliases(source: Source, names: Names, models: Map<string, Model>): Map<string, string> {
  const path = ['router_settings', 'model_group_alias'] as const;
  const aliased = new Map<string, string>();
  for (const [alias, value] of source.map(...path)) {
    source.open(...path);
    const at = [...path, alias] as const;
    const deep = typeof value === 'object';
    const target = names.get((deep ? source.text(...at, 'model') : source.text(...at)) ?? '');
    const model = target === undefined ? undefined : models.get(target);
    if (target === undefined || model === undefined) {
      source.remark({ kind: 'lost', text: 'the model it stands for is not among those carried over' }, ...at);
      continue;
    }
    if (names.get(alias) !== undefined) {
      source.remark({ kind: 'lost', text: 'there is a model of this name too, and it goes before the alias' }, ...at);
      continue;
    }
    const given = names.give(alias);
    models.set(given, { serve: [...model.serve], fallback: [] });
    aliased.set(given, target);
    source.carry(...at, ...(deep ? ['model'] : []));
    if (deep) source.open(...at);
    source.remark({ kind: 'changed', text: 'GET /v1/models lists it all the same' }, ...at, 'hidden');
    if (given !== alias) source.remark(renamed(given), ...at);
  }
  return aliased;
}
