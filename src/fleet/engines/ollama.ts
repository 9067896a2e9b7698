// Ollama, from its source of August 2026 (openai/openai.go, server/routes.go, server/sched.go) and docs/api.md.
import { isRecord, type Json } from '../../wire/record.ts';
import { PLAIN, type Engine, type Loaded, type ModelInfo } from './engine.ts';
import { positive, texts } from './read.ts';

export const ollama = {
  ...PLAIN,
  name: 'ollama',
  ports: [11434],
  // Ollama queues what it does not run in parallel, up to OLLAMA_MAX_QUEUE (512); 16 keeps that queue short and fair.
  slots: 16,
  sign: { path: '/api/version', matches: (body) => typeof body['version'] === 'string' },
  // /v1/models has ids only; /api/tags also tells, in newer versions, capabilities and the trained context.
  models: { path: '/api/tags', after_base: false, read: readTags },
  loaded: { path: '/api/ps', read: readPs },
  abilities: {
    path: '/api/show',
    ask: (id) => JSON.stringify({ model: id }),
    read: ({ capabilities }) => texts(capabilities),
  },
  // A prompt that is not there loads the model and infers nothing (docs/api.md, "Load a model"); a model that only embeds
  // refuses that route. The runner keeps the keep_alive of the last request that had one, and those to /v1 have none.
  load: {
    ask: (model, endpoint, deployment) => ({
      path: endpoint === 'embeddings' ? '/api/embed' : '/api/generate',
      body: JSON.stringify({
        model,
        stream: false,
        keep_alive: deployment?.keep_alive_s,
        ...(deployment?.num_ctx !== undefined && { options: { num_ctx: deployment.num_ctx } }),
      }),
    }),
    poll: undefined,
  },
  // Its OpenAI request has no max_completion_tokens and no tool_choice; unknown fields are dropped without a word.
  renames: { max_completion_tokens: 'max_tokens' },
  ignores_tool_choice: true,
  // Where the model's own template has a place for it; else Ollama refuses the request.
  suffix: true,
  // The oldest messages go, as many as it takes (issue 3839); only /api/chat has `truncate: false`.
  truncates: true,
  token_inputs: false,
  dialect: 'ollama',
} as const satisfies Engine;

function readTags(body: Json): readonly ModelInfo[] | undefined {
  const models = body['models'] === null ? [] : body['models'];
  if (!Array.isArray(models)) return undefined;
  return models.filter(isRecord).flatMap((model) => {
    const id = model['model'] ?? model['name'];
    if (typeof id !== 'string' || id === '') return [];
    const details = isRecord(model['details']) ? model['details'] : {};
    const told = model['capabilities'] ?? details['capabilities'];
    return [{ id, context_length: positive(details['context_length']), capabilities: texts(told) }];
  });
}

function readPs(body: Json): Loaded {
  const models = Array.isArray(body['models']) ? body['models'].filter(isRecord) : [];
  const contexts = new Map<string, number>();
  const resident = new Set<string>();
  for (const model of models) {
    const id = model['model'] ?? model['name'];
    if (typeof id !== 'string') continue;
    resident.add(id);
    const length = positive(model['context_length']);
    if (length !== undefined) contexts.set(id, length);
  }
  return { contexts, resident };
}
