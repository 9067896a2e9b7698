// `GET /v1/models` and `/v1/models/{id}`: what this key may use, from what is known, never by asking the backends.
import { describe, type Fleet, type PublicModel } from '../fleet/fleet.ts';
import { GatewayError } from '../wire/errors.ts';
import { matches } from '../wire/glob.ts';
import type { Caller } from '../types.ts';

/** The same at every start: engines tell the time of the question (vLLM) or nothing, and clients cache by it. */
const CREATED = 1_700_000_000;

export function listModels({ models }: Fleet, caller: Caller) {
  const allowed = [...models.values()].filter(({ id }) => may(caller, id));
  return { object: 'list', data: allowed.toSorted((a, b) => (a.id < b.id ? -1 : 1)).map(entry) };
}

/** @throws GatewayError `model_not_found`: unknown, or not this key's */
export function oneModel({ models }: Fleet, caller: Caller, id: string) {
  const model = models.get(id);
  if (model === undefined || !may(caller, id)) {
    throw new GatewayError('model_not_found', 'This model does not exist or this key may not use it.', {
      param: 'model',
    });
  }
  return entry(model);
}

function may({ models }: Caller, id: string): boolean {
  return models === undefined || matches(models, id);
}

/** The context length under each of the names clients read: vLLM's, OpenRouter's, Codex'. */
function entry(model: PublicModel) {
  const { context_length, capabilities } = describe(model);
  const demo = model.candidates.some(({ backend }) => backend.demo);
  return {
    id: model.id,
    object: 'model',
    created: CREATED,
    owned_by: demo ? 'lanyard-demo' : 'lanyard',
    ...(context_length === undefined
      ? {}
      : { context_length, context_window: context_length, max_model_len: context_length }),
    ...(capabilities.length === 0 ? {} : { capabilities }),
    ...(Object.keys(model.metadata).length === 0 ? {} : { metadata: model.metadata }),
    ...(demo ? { description: 'A built-in demo, not a language model: no engine was found on this machine.' } : {}),
  };
}
