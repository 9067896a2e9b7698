// OpenVINO Model Server, from its source of August 2026 (src/llm/apis/openai_completions.cpp, http_rest_api_handler.cpp)
// and its embeddings page: no `id`, `finish_reason` first, `text_completion.chunk`, string errors, 412 for bad JSON, 500
// for a wrong key, the stop string kept in streams, and raw JSON without `data:` when a stream fails.
import type { Mistake } from '../faults.ts';
import type { Detail, ModelSpec, Reply, Shape, State, Telling } from './shape.ts';
import { embedding_rows, model_list, model_named } from './shape.ts';

export const openvino = {
  kind: 'openvino',
  bases: ['/v3', '/v3/v1', '/v1'],
  talks: true,
  headers: { 'access-control-allow-origin': '*' },
  json_type: 'application/json',
  stream_type: 'text/event-stream',
  loads: 'refused',
  any_model: false,
  cuts_overflow: false,
  limits: ['max_completion_tokens', 'max_tokens'],
  choices: false,
  keeps_stop: true,
  base64: true,
  token_inputs: false,
  inputs_max: 500,
  dimensions: false,
  keyless: (path) => path.startsWith('/v2/') || path === '/v1/config' || path === '/metrics',
  route,
  unknown_path: () => ({ status: 404, body: { error: 'Invalid request URL' } }),
  mistake: (what, detail) => MISTAKES[what](detail),
  open: (telling) =>
    telling.ask.endpoint === 'completions'
      ? undefined
      : chunk(telling, { finish_reason: null, index: 0, logprobs: null, delta: { role: 'assistant', content: null } }),
  token: (telling, text) => chunk(telling, choice(telling, text, null)),
  finish: (telling, said) => chunk(telling, choice(telling, '', said.reason)),
  usage: (telling, usage) => ({ ...common(telling, true), choices: [], usage }),
  failure: () => '{"error": "Mediapipe execution failed. MP status - INTERNAL: generation aborted"}',
  whole: (telling, said, usage) => ({
    choices: [
      telling.ask.endpoint === 'completions'
        ? { finish_reason: said.reason, index: 0, logprobs: null, text: said.text }
        : {
            finish_reason: said.reason,
            index: 0,
            logprobs: null,
            message: { content: said.text, role: 'assistant', tool_calls: [] },
          },
    ],
    ...common(telling, false),
    usage,
  }),
  // No `model` in the answer (the page's example, 2025).
  embeddings: (telling, vectors) => ({
    object: 'list',
    data: embedding_rows(vectors),
    usage: { prompt_tokens: telling.ask.prompt_tokens, total_tokens: telling.ask.prompt_tokens },
  }),
} satisfies Shape;

function common(telling: Telling, chunked: boolean): object {
  const object = telling.ask.endpoint === 'completions' ? 'text_completion' : 'chat.completion';
  return { created: telling.created, model: telling.ask.model, object: chunked ? `${object}.chunk` : object };
}

function choice(telling: Telling, text: string, finish_reason: string | null): object {
  const said = telling.ask.endpoint === 'completions' ? { text } : { delta: { content: text } };
  return { finish_reason, index: 0, logprobs: null, ...said };
}

function chunk(telling: Telling, one: object): object {
  return { choices: [one], ...common(telling, true), ...(telling.ask.include_usage ? { usage: null } : {}) };
}

const MISTAKES = {
  overflow: ({ prompt_tokens, context }) =>
    error(
      400,
      `Mediapipe execution failed. MP status - INVALID_ARGUMENT: CalculatorGraph::Run() failed: \nNumber of prompt tokens: ${prompt_tokens} exceeds model max length: ${context}`,
    ),
  unknown_model: () => error(404, 'Mediapipe graph definition with requested name is not found'),
  // No overload answer is documented; exhausting the KV cache ends the request.
  overloaded: () => error(500, 'Mediapipe execution failed. MP status - RESOURCE_EXHAUSTED: out of KV cache'),
  loading: () => error(503, 'Mediapipe graph is not yet loaded'),
  bad_request: () => error(412, 'Cannot parse JSON body'),
  // UNAUTHORIZED is missing in the table of HTTP statuses, and falls to the default.
  unauthorized: () => error(500, 'Unauthorized request due to invalid or missing api-key'),
  internal: () => error(500, 'Mediapipe execution failed. MP status - INTERNAL: CalculatorGraph::Run() failed'),
} satisfies Record<Mistake, (detail: Detail) => Reply>;

function error(status: number, message: string): Reply {
  return { status, body: { error: message } };
}

function route(method: string, url: URL, state: State): Reply | undefined {
  if (method !== 'GET') return undefined;
  const path = url.pathname;
  // KServe's server metadata (docs/model_server_rest_api_kfs.md).
  if (path === '/v2') return { status: 200, body: { name: 'OpenVINO Model Server', version: '2026.2' } };
  if (path === '/v2/health/live') return { status: 200, body: '' };
  if (path === '/v2/health/ready') return { status: state.loading ? 503 : 200, body: '' };
  if (path === '/v1/config') {
    const available = {
      model_version_status: [{ version: '1', state: 'AVAILABLE', status: { error_code: 'OK', error_message: 'OK' } }],
    };
    return { status: 200, body: Object.fromEntries(state.models.map(({ name }) => [name, available])) };
  }
  for (const base of ['/v3/v1', '/v3', '/v1']) {
    if (path === `${base}/models`) return model_list(state.models.map((model) => entry(model, state)));
    const named = model_named(path, base);
    if (named === undefined) continue;
    const model = state.models.find(({ name }) => name === named);
    return model === undefined ? error(500, 'Model not found') : { status: 200, body: entry(model, state) };
  }
  return undefined;
}

function entry(model: ModelSpec, state: State): object {
  return { id: model.name, object: 'model', created: state.created, owned_by: 'OVMS' };
}
