// llama.cpp's server, read in its source of 2026 (tools/server: server-task.cpp, server-http.cpp, server-common.cpp):
// `content: null` in the first delta, timings at the end, integer codes, 503 while the model loads, any model name served.
import type { Mistake } from '../faults.ts';
import type { Usage } from '../answers.ts';
import type { Detail, ModelSpec, Reply, Shape, State, Telling } from './shape.ts';
import { CONTEXT_DEFAULT, embedding_rows, model_list, repeat } from './shape.ts';

const BUILD = 'b9412-8b11deea4';

export const llamacpp = {
  kind: 'llama.cpp',
  bases: ['/v1', ''],
  talks: true,
  headers: { server: 'llama.cpp', 'access-control-allow-origin': '' },
  json_type: 'application/json; charset=utf-8',
  stream_type: 'text/event-stream',
  loads: 'refused',
  // One model a server: the request's `model` is only repeated.
  any_model: true,
  cuts_overflow: false,
  limits: ['max_completion_tokens', 'max_tokens', 'n_predict'],
  choices: true,
  keeps_stop: false,
  base64: true,
  token_inputs: true,
  inputs_max: Infinity,
  dimensions: false,
  // Public endpoints of middleware_validate_api_key.
  keyless: (path) => ['/health', '/v1/health', '/models', '/v1/models', '/'].includes(path),
  route,
  unknown_path: () => error(404, 'File Not Found', 'not_found_error'),
  mistake: (what, detail) => MISTAKES[what](detail),
  open: (telling, index) =>
    telling.ask.endpoint === 'completions'
      ? undefined
      : chunk(telling, { finish_reason: null, index, delta: { role: 'assistant', content: null } }),
  token: (telling, text, index) =>
    telling.ask.endpoint === 'completions'
      ? chunk(telling, { text, index, logprobs: null, finish_reason: null })
      : chunk(telling, { finish_reason: null, index, delta: { content: text } }),
  finish: (telling, said, index) => {
    const last =
      telling.ask.endpoint === 'completions'
        ? chunk(telling, { text: '', index, logprobs: null, finish_reason: said.reason })
        : chunk(telling, { finish_reason: said.reason, index, delta: {} });
    // Timings stand on the last chunk: this one, unless a usage chunk follows.
    return telling.ask.include_usage ? last : { ...last, timings: timings(telling, said.tokens.length) };
  },
  usage: (telling, usage) => ({
    ...chunk(telling, {}),
    choices: [],
    usage: counted(usage),
    timings: timings(telling, usage.completion_tokens),
  }),
  failure: () =>
    `data: ${JSON.stringify(body(500, 'decode() failed: input is too large or the device is lost', 'server_error'))}\n\n`,
  whole: (telling, said, usage, choices) => ({
    choices: repeat(choices, (index) =>
      telling.ask.endpoint === 'completions'
        ? { text: said.text, index, logprobs: null, finish_reason: said.reason }
        : { finish_reason: said.reason, index, message: { role: 'assistant', content: said.text } },
    ),
    created: telling.created,
    model: telling.ask.model,
    system_fingerprint: BUILD,
    object: telling.ask.endpoint === 'completions' ? 'text_completion' : 'chat.completion',
    usage: counted(usage),
    id: `chatcmpl-${telling.id}`,
    timings: timings(telling, usage.completion_tokens),
  }),
  embeddings: (telling, vectors) => ({
    model: telling.ask.model,
    object: 'list',
    usage: { prompt_tokens: telling.ask.prompt_tokens, total_tokens: telling.ask.prompt_tokens },
    data: embedding_rows(vectors),
  }),
} satisfies Shape;

function chunk(telling: Telling, choice: object): object {
  return {
    choices: [choice],
    created: telling.created,
    id: `chatcmpl-${telling.id}`,
    model: telling.ask.model,
    system_fingerprint: BUILD,
    object: telling.ask.endpoint === 'completions' ? 'text_completion' : 'chat.completion.chunk',
  };
}

function counted({ prompt_tokens, completion_tokens, total_tokens }: Usage): object {
  return { completion_tokens, prompt_tokens, total_tokens, prompt_tokens_details: { cached_tokens: 0 } };
}

function timings(telling: Telling, predicted_n: number): object {
  return {
    cache_n: 0,
    prompt_n: telling.ask.prompt_tokens,
    prompt_ms: 1.5,
    predicted_n,
    predicted_ms: predicted_n * 2.5,
    predicted_per_second: 400,
  };
}

function body(code: number, message: string, type: string, more: object = {}): object {
  return { error: { code, message, type, ...more } };
}

function error(status: number, message: string, type: string, more: object = {}): Reply {
  return { status, body: body(status, message, type, more) };
}

const MISTAKES = {
  overflow: ({ ask, prompt_tokens, context }) => {
    if (ask?.endpoint === 'embeddings') {
      return error(
        500,
        `input (${prompt_tokens} tokens) is too large to process. increase the physical batch size (current batch size: 512)`,
        'server_error',
      );
    }
    return error(
      400,
      `request (${prompt_tokens} tokens) exceeds the available context size (${context} tokens), try increasing it`,
      'exceed_context_size_error',
      { n_prompt_tokens: prompt_tokens, n_ctx: context },
    );
  },
  // Router mode only.
  unknown_model: ({ ask }) => error(400, `model '${ask?.model ?? ''}' not found`, 'invalid_request_error'),
  // `/slots?fail_on_no_slot=1`; inference itself is queued without bound.
  overloaded: () => error(503, 'no slot available', 'unavailable_error'),
  loading: () => error(503, 'Loading model', 'unavailable_error'),
  bad_request: () => error(400, "'messages' is required", 'invalid_request_error'),
  unauthorized: () => error(401, 'Invalid API Key', 'authentication_error'),
  internal: () => error(500, 'Compute error.', 'server_error'),
} satisfies Record<Mistake, (detail: Detail) => Reply>;

function route(method: string, url: URL, state: State): Reply | undefined {
  if (method !== 'GET' && method !== 'HEAD') return undefined;
  const model = state.models[0];
  const context = model?.context ?? CONTEXT_DEFAULT;
  const total = state.slots ?? 4;
  switch (url.pathname) {
    case '/health':
    case '/v1/health':
      return { status: 200, body: { status: 'ok' } };
    case '/props':
      // A router has no model of its own.
      if (state.router)
        return { status: 200, body: { role: 'router', max_instances: 4, default_generation_settings: {} } };
      return {
        status: 200,
        body: {
          default_generation_settings: { id: 0, n_ctx: context, params: { temperature: 0.8 } },
          total_slots: total,
          model_alias: model?.name ?? '',
          model_path: `/models/${model?.name ?? ''}.gguf`,
          modalities: { vision: model?.vision ?? false, audio: false },
          is_sleeping: false,
          build_info: BUILD,
        },
      };
    case '/slots':
      if (url.searchParams.has('fail_on_no_slot') && state.running >= total)
        return error(503, 'no slot available', 'unavailable_error');
      return { status: 200, body: repeat(total, (id) => ({ id, n_ctx: context, is_processing: id < state.running })) };
    case '/metrics':
      return error(
        501,
        'This server does not support metrics endpoint. Start it with `--metrics`',
        'not_supported_error',
      );
    case '/models':
    case '/v1/models':
      return model_list(
        state.models.map((one) => ({
          ...entry(one, state),
          ...(state.router && { status: { value: state.resident.has(one.name) ? 'loaded' : 'unloaded' } }),
        })),
      );
    default:
      return undefined;
  }
}

function entry(model: ModelSpec, state: State): object {
  return {
    id: model.name,
    object: 'model',
    // Made anew for every request: it moves.
    created: state.now,
    owned_by: 'llamacpp',
    meta: {
      vocab_type: 2,
      n_vocab: 151_936,
      n_ctx_train: model.context_trained ?? model.context ?? CONTEXT_DEFAULT,
      n_embd: 16,
      n_params: 7_615_616_512,
      size: 4_677_120_000,
    },
    architecture: { input_modalities: model.vision ? ['text', 'image'] : ['text'], output_modalities: ['text'] },
  };
}
