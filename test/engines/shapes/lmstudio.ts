// LM Studio 0.4, from its REST pages and its bug tracker: 200 for paths it does not know, no `created` in its list, errors
// as strings or objects, a stream's error as `event: error` under a 200 (#2322, August 2026), floats whatever was asked (#756).
import type { Mistake } from '../faults.ts';
import type { Detail, ModelSpec, Reply, Shape, State, Telling } from './shape.ts';
import { CONTEXT_DEFAULT, embedding_rows, id_prefix, model_list } from './shape.ts';

const OVERFLOW =
  'The number of tokens to keep from the initial prompt is greater than the context length. Try to load the model with a larger context length, or provide a shorter input';

export const lmstudio = {
  kind: 'lmstudio',
  bases: ['/v1'],
  talks: true,
  headers: { 'x-powered-by': 'Express' },
  json_type: 'application/json; charset=utf-8',
  stream_type: 'text/event-stream',
  // Loaded just in time, on the first request.
  loads: 'withheld',
  any_model: false,
  cuts_overflow: false,
  limits: ['max_completion_tokens', 'max_tokens'],
  choices: false,
  keeps_stop: false,
  base64: false,
  token_inputs: false,
  inputs_max: Infinity,
  dimensions: false,
  keyless: () => false,
  route,
  unknown_path: (method, path) => ({
    status: 200,
    body: { error: `Unexpected endpoint or method. (${method} ${path}). Returning 200 anyway` },
  }),
  mistake: (what, detail) => MISTAKES[what](detail),
  open: () => undefined,
  token: (telling, text) => chunk(telling, text, null),
  finish: (telling, said) => chunk(telling, undefined, said.reason),
  usage: (telling, usage) => ({ ...common(telling, true), choices: [], usage }),
  failure: () => failed('The model has crashed without additional information. (Exit code: null)'),
  whole: (telling, said, usage) => ({
    ...common(telling, false),
    choices: [
      telling.ask.endpoint === 'completions'
        ? { index: 0, text: said.text, logprobs: null, finish_reason: said.reason }
        : {
            index: 0,
            message: { role: 'assistant', content: said.text, tool_calls: [] },
            logprobs: null,
            finish_reason: said.reason,
          },
    ],
    usage,
    stats: {},
  }),
  embeddings: (telling, vectors) => ({
    object: 'list',
    data: embedding_rows(vectors),
    model: telling.ask.model,
    // Not counted.
    usage: { prompt_tokens: 0, total_tokens: 0 },
  }),
} satisfies Shape;

function common(telling: Telling, chunked: boolean): object {
  const chat = chunked ? 'chat.completion.chunk' : 'chat.completion';
  return {
    id: `${id_prefix(telling.ask)}-${telling.id}`,
    object: telling.ask.endpoint === 'completions' ? 'text_completion' : chat,
    created: telling.created,
    model: telling.ask.model,
    system_fingerprint: telling.ask.model,
  };
}

function chunk(telling: Telling, text: string | undefined, finish_reason: string | null): object {
  const said =
    telling.ask.endpoint === 'completions'
      ? { text: text ?? '' }
      : { delta: text === undefined ? {} : { role: 'assistant', content: text } };
  return { ...common(telling, true), choices: [{ index: 0, ...said, logprobs: null, finish_reason }] };
}

function failed(message: string): string {
  return `event: error\ndata: ${JSON.stringify({ error: { message } })}\n\n`;
}

const MISTAKES = {
  overflow: ({ ask }) => {
    if (ask?.streamed) return { status: 200, body: failed(OVERFLOW), type: 'text/event-stream' };
    return { status: 400, body: { error: OVERFLOW } };
  },
  unknown_model: ({ ask }) => ({
    status: 404,
    body: {
      error: {
        message: `Model "${ask?.model ?? ''}" not found. Please specify a valid model.`,
        type: 'invalid_request_error',
        param: 'model',
        code: 'model_not_found',
      },
    },
  }),
  // One request after the other, without bound; a full machine shows itself when a model is to be loaded.
  overloaded: () => ({ status: 503, body: { error: 'Failed to load model. Error: insufficient system resources.' } }),
  loading: () => ({ status: 503, body: { error: 'Model is loading.' } }),
  bad_request: () => ({ status: 400, body: { error: "'messages' field is required" } }),
  unauthorized: () => ({
    status: 401,
    body: {
      error: { message: 'Invalid API token.', type: 'invalid_request_error', param: null, code: 'invalid_api_key' },
    },
  }),
  internal: () => ({
    status: 500,
    body: { error: 'The model has crashed without additional information. (Exit code: null)' },
  }),
} satisfies Record<Mistake, (detail: Detail) => Reply>;

function route(method: string, url: URL, state: State): Reply | undefined {
  if (method !== 'GET') return undefined;
  switch (url.pathname) {
    case '/v1/models':
      return model_list(
        state.models.map(({ name }) => ({ id: name, object: 'model', owned_by: 'organization_owner' })),
      );
    case '/api/v0/models':
      return model_list(state.models.map((model) => entry(model, state)));
    case '/api/v1/models':
      return { status: 200, body: { models: state.models.map((model) => keyed(model, state)) } };
    default:
      return undefined;
  }
}

function entry(model: ModelSpec, state: State): object {
  const loaded = state.resident.has(model.name);
  return {
    id: model.name,
    object: 'model',
    type: model.embeds ? 'embeddings' : model.vision ? 'vlm' : 'llm',
    publisher: 'lmstudio-community',
    arch: 'qwen2',
    compatibility_type: 'gguf',
    quantization: 'Q4_K_M',
    state: loaded ? 'loaded' : 'not-loaded',
    max_context_length: model.context_trained ?? model.context ?? CONTEXT_DEFAULT,
    ...(loaded ? { loaded_context_length: model.context ?? 4096 } : {}),
  };
}

function keyed(model: ModelSpec, state: State): object {
  const instance = { id: model.name, config: { context_length: model.context ?? 4096 } };
  return {
    type: model.embeds ? 'embedding' : 'llm',
    publisher: 'lmstudio-community',
    key: model.name,
    display_name: model.name,
    loaded_instances: state.resident.has(model.name) ? [instance] : [],
    max_context_length: model.context_trained ?? model.context ?? CONTEXT_DEFAULT,
    capabilities: { vision: model.vision ?? false, trained_for_tool_use: true },
  };
}
