// vLLM 0.2x–0.29, from its serving code (entrypoints/openai) as read in 2026: uvicorn's lower-case headers, the class of
// the exception as `type`, an integer `code`, and `[DONE]` sent even after an error within a stream.
import type { Mistake } from '../faults.ts';
import type { Detail, ModelSpec, Reply, Shape, State, Telling } from './shape.ts';
import { CONTEXT_DEFAULT, embedding_rows, id_prefix, model_list, model_named, repeat } from './shape.ts';

export const vllm = {
  kind: 'vllm',
  bases: ['/v1'],
  talks: true,
  headers: { server: 'uvicorn' },
  json_type: 'application/json',
  stream_type: 'text/event-stream; charset=utf-8',
  // The port opens only once the model is resident.
  loads: 'closed',
  any_model: false,
  cuts_overflow: false,
  limits: ['max_completion_tokens', 'max_tokens'],
  choices: true,
  keeps_stop: false,
  base64: true,
  token_inputs: true,
  inputs_max: Infinity,
  dimensions: true,
  // --api-key covers /v1 only.
  keyless: (path) => !path.startsWith('/v1'),
  route,
  unknown_path: () => ({ status: 404, body: { detail: 'Not Found' } }),
  mistake: (what, detail) => MISTAKES[what](detail),
  open: (telling, index) =>
    telling.ask.endpoint === 'completions'
      ? undefined
      : {
          ...common(telling),
          choices: [{ index, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }],
        },
  token: (telling, text, index) =>
    telling.ask.endpoint === 'completions'
      ? {
          ...common(telling),
          choices: [{ index, text, logprobs: null, finish_reason: null, stop_reason: null }],
          usage: null,
        }
      : { ...common(telling), choices: [{ index, delta: { content: text }, logprobs: null, finish_reason: null }] },
  finish: (telling, { reason }, index) =>
    telling.ask.endpoint === 'completions'
      ? {
          ...common(telling),
          choices: [{ index, text: '', logprobs: null, finish_reason: reason, stop_reason: null }],
          usage: null,
        }
      : {
          ...common(telling),
          choices: [{ index, delta: { content: '' }, logprobs: null, finish_reason: reason, stop_reason: null }],
        },
  usage: (telling, usage) => ({ ...common(telling), choices: [], usage: ordered(usage) }),
  // create_streaming_error_response, and then the generator's last line all the same.
  failure: () =>
    `data: ${JSON.stringify(body(500, 'EngineCore encountered an issue.', 'InternalServerError'))}\n\ndata: [DONE]\n\n`,
  whole: (telling, said, usage, choices) => ({
    ...common(telling, true),
    choices: repeat(choices, (index) =>
      telling.ask.endpoint === 'completions'
        ? {
            index,
            text: said.text,
            logprobs: null,
            finish_reason: said.reason,
            stop_reason: null,
            prompt_logprobs: null,
          }
        : {
            index,
            message: {
              role: 'assistant',
              content: said.text,
              refusal: null,
              annotations: null,
              audio: null,
              function_call: null,
              tool_calls: [],
              reasoning: null,
            },
            logprobs: null,
            finish_reason: said.reason,
            stop_reason: null,
          },
    ),
    service_tier: null,
    system_fingerprint: null,
    usage: { ...ordered(usage), prompt_tokens_details: null },
    kv_transfer_params: null,
  }),
  embeddings: (telling, vectors) => ({
    id: `embd-${telling.id}`,
    object: 'list',
    created: telling.created,
    model: telling.ask.model,
    data: embedding_rows(vectors),
    usage: {
      prompt_tokens: telling.ask.prompt_tokens,
      total_tokens: telling.ask.prompt_tokens,
      completion_tokens: 0,
      prompt_tokens_details: null,
    },
  }),
} satisfies Shape;

function common(telling: Telling, whole = false): object {
  const chat = telling.ask.endpoint === 'chat/completions';
  return {
    id: `${id_prefix(telling.ask)}-${telling.id}`,
    object: chat ? (whole ? 'chat.completion' : 'chat.completion.chunk') : 'text_completion',
    created: telling.created,
    model: telling.ask.model,
  };
}

function ordered(usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number }): object {
  const { prompt_tokens, total_tokens, completion_tokens } = usage;
  return { prompt_tokens, total_tokens, completion_tokens };
}

function body(code: number, message: string, type: string, param: string | null = null): object {
  return { error: { message, type, param, code } };
}

const MISTAKES = {
  overflow: ({ prompt_tokens, context }) => ({
    status: 400,
    body: body(
      400,
      `This model's maximum context length is ${context} tokens. However, your request has ${prompt_tokens} input tokens. Please reduce the length of the input messages.`,
      'BadRequestError',
    ),
  }),
  unknown_model: ({ ask }) => ({
    status: 404,
    body: body(404, `The model \`${ask?.model ?? ''}\` does not exist.`, 'NotFoundError', 'model'),
  }),
  // --max-num-queued-reqs, 0.29 (PR #49445).
  overloaded: () => ({
    status: 503,
    body: body(503, 'The server is overloaded. Please try again later.', 'ServiceUnavailableError'),
  }),
  // Not seen over HTTP (the port is closed while loading); a dead engine answers this way.
  loading: () => ({ status: 503, body: body(503, 'EngineCore is not ready.', 'ServiceUnavailableError') }),
  bad_request: () => ({
    status: 400,
    body: body(400, "[{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required'}]", 'BadRequestError'),
  }),
  unauthorized: () => ({ status: 401, body: { error: 'Unauthorized' } }),
  internal: () => ({
    status: 500,
    body: body(
      500,
      'EngineCore encountered an issue. See stack trace (above) for the root cause.',
      'InternalServerError',
    ),
  }),
} satisfies Record<Mistake, (detail: Detail) => Reply>;

function route(method: string, url: URL, state: State): Reply | undefined {
  const path = url.pathname;
  if (path === '/ping' && (method === 'GET' || method === 'POST')) return { status: 200, body: '' };
  if (method !== 'GET') return undefined;
  if (path === '/health') return { status: 200, body: '' };
  if (path === '/version') return { status: 200, body: { version: '0.29.0' } };
  if (path === '/load') return { status: 200, body: { server_load: state.running } };
  if (path === '/metrics')
    return { status: 200, body: metrics(state), type: 'text/plain; version=0.0.4; charset=utf-8' };
  if (path === '/v1/models') return model_list(state.models.map((model) => entry(model, state)));
  const named = model_named(path, '/v1');
  if (named === undefined) return undefined;
  const model = state.models.find(({ name }) => name === named);
  if (model !== undefined) return { status: 200, body: entry(model, state) };
  return { status: 404, body: body(404, `The model \`${named}\` does not exist.`, 'NotFoundError', 'model') };
}

function entry(model: ModelSpec, state: State): object {
  return {
    id: model.name,
    object: 'model',
    // Made anew for every request: it moves.
    created: state.now,
    owned_by: 'vllm',
    root: model.name,
    parent: null,
    max_model_len: model.context ?? CONTEXT_DEFAULT,
    permission: [],
  };
}

function metrics(state: State): string {
  const labels = `{engine="0",model_name="${state.models[0]?.name ?? ''}"}`;
  return [
    '# HELP vllm:num_requests_running Number of requests in model execution batches.',
    '# TYPE vllm:num_requests_running gauge',
    `vllm:num_requests_running${labels} ${state.running}.0`,
    '# HELP vllm:num_requests_waiting Number of requests waiting to be processed.',
    '# TYPE vllm:num_requests_waiting gauge',
    `vllm:num_requests_waiting${labels} ${state.waiting}.0`,
    '# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.',
    '# TYPE vllm:kv_cache_usage_perc gauge',
    `vllm:kv_cache_usage_perc${labels} ${Math.min(1, state.running / 100)}`,
    '',
  ].join('\n');
}
