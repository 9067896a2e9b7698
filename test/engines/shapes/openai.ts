// OpenAI itself, and what calls itself compatible: the shapes of the API reference and of the official SDK's types (7.55).
import type { Mistake } from '../faults.ts';
import type { Detail, ModelSpec, Reply, Shape, State, Telling } from './shape.ts';
import { embedding_rows, id_prefix, model_list, model_named, repeat } from './shape.ts';

export const openai = {
  kind: 'openai',
  bases: ['/v1'],
  talks: true,
  headers: { 'openai-version': '2020-10-01', 'openai-processing-ms': '1' },
  json_type: 'application/json',
  stream_type: 'text/event-stream; charset=utf-8',
  loads: 'withheld',
  any_model: false,
  cuts_overflow: false,
  limits: ['max_completion_tokens', 'max_tokens'],
  choices: true,
  keeps_stop: false,
  base64: true,
  token_inputs: true,
  inputs_max: 2048,
  dimensions: true,
  keyless: () => false,
  route,
  unknown_path: (method, path) => error(404, `Invalid URL (${method} ${path})`, 'invalid_request_error', null, null),
  mistake: (what, detail) => MISTAKES[what](detail),
  open: (telling, index) =>
    telling.ask.endpoint === 'completions'
      ? undefined
      : chunk(telling, {
          index,
          delta: { role: 'assistant', content: '', refusal: null },
          logprobs: null,
          finish_reason: null,
        }),
  token: (telling, text, index) =>
    telling.ask.endpoint === 'completions'
      ? chunk(telling, { text, index, logprobs: null, finish_reason: null })
      : chunk(telling, { index, delta: { content: text }, logprobs: null, finish_reason: null }),
  finish: (telling, { reason }, index) =>
    telling.ask.endpoint === 'completions'
      ? chunk(telling, { text: '', index, logprobs: null, finish_reason: reason })
      : chunk(telling, { index, delta: {}, logprobs: null, finish_reason: reason }),
  usage: (telling, usage) => ({ ...common(telling), choices: [], usage: detailed(usage) }),
  failure: () =>
    `data: ${JSON.stringify(error(500, 'The server had an error while processing your request. Sorry about that!', 'server_error', null, null).body)}\n\n`,
  whole: (telling, said, usage, choices) => ({
    ...common(telling, true),
    choices: repeat(choices, (index) =>
      telling.ask.endpoint === 'completions'
        ? { text: said.text, index, logprobs: null, finish_reason: said.reason }
        : {
            index,
            message: { role: 'assistant', content: said.text, refusal: null, annotations: [] },
            logprobs: null,
            finish_reason: said.reason,
          },
    ),
    usage: detailed(usage),
    service_tier: 'default',
  }),
  embeddings: (telling, vectors) => ({
    object: 'list',
    data: embedding_rows(vectors),
    model: telling.ask.model,
    usage: { prompt_tokens: telling.ask.prompt_tokens, total_tokens: telling.ask.prompt_tokens },
  }),
} satisfies Shape;

function common(telling: Telling, whole = false): object {
  const chat = telling.ask.endpoint === 'chat/completions';
  return {
    id: `${id_prefix(telling.ask)}-${telling.id}`,
    object: chat ? (whole ? 'chat.completion' : 'chat.completion.chunk') : 'text_completion',
    created: telling.created,
    model: telling.ask.model,
    system_fingerprint: 'fp_fake',
  };
}

/** With `include_usage`, every chunk but the last carries `usage: null` (API reference, stream_options). */
function chunk(telling: Telling, choice: object): object {
  const options = telling.ask.body['stream_options'] as { include_obfuscation?: unknown } | undefined;
  return {
    ...common(telling),
    choices: [choice],
    ...(telling.ask.include_usage ? { usage: null } : {}),
    // On by default since 2025, so that the length of a chunk tells less (include_obfuscation).
    ...(options?.include_obfuscation === false ? {} : { obfuscation: 'x7Qa' }),
  };
}

function detailed(usage: object): object {
  return {
    ...usage,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0 },
  };
}

function error(status: number, message: string, type: string, param: string | null, code: string | null): Reply {
  return { status, body: { error: { message, type, param, code } } };
}

const MISTAKES = {
  overflow: ({ prompt_tokens, context }) =>
    error(
      400,
      `This model's maximum context length is ${context} tokens. However, your messages resulted in ${prompt_tokens} tokens. Please reduce the length of the messages.`,
      'invalid_request_error',
      'messages',
      'context_length_exceeded',
    ),
  unknown_model: ({ ask }) =>
    error(
      404,
      `The model \`${ask?.model ?? ''}\` does not exist or you do not have access to it.`,
      'invalid_request_error',
      null,
      'model_not_found',
    ),
  overloaded: () =>
    error(503, 'The engine is currently overloaded, please try again later.', 'server_error', null, null),
  loading: () => error(503, 'The engine is currently overloaded, please try again later.', 'server_error', null, null),
  bad_request: () =>
    error(
      400,
      "Missing required parameter: 'messages'.",
      'invalid_request_error',
      'messages',
      'missing_required_parameter',
    ),
  unauthorized: () => error(401, 'Incorrect API key provided.', 'invalid_request_error', null, 'invalid_api_key'),
  internal: () =>
    error(500, 'The server had an error while processing your request. Sorry about that!', 'server_error', null, null),
} satisfies Record<Mistake, (detail: Detail) => Reply>;

function route(method: string, url: URL, state: State): Reply | undefined {
  if (method !== 'GET') return undefined;
  if (url.pathname === '/v1/models') return model_list(state.models.map((model) => entry(model, state)));
  const named = model_named(url.pathname, '/v1');
  if (named === undefined) return undefined;
  const model = state.models.find(({ name }) => name === named);
  if (model !== undefined) return { status: 200, body: entry(model, state) };
  return error(404, `The model '${named}' does not exist`, 'invalid_request_error', 'model', 'model_not_found');
}

function entry(model: ModelSpec, state: State): object {
  return { id: model.name, object: 'model', created: state.created, owned_by: 'system' };
}
