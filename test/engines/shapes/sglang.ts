// SGLang, from its serving code of 2026 (srt/entrypoints/openai): errors flat, without an `error` object, except within a
// stream; `matched_stop` beside the finish reason; any model name served; floats whatever was asked; uvicorn.
import type { Said } from '../answers.ts';
import type { Mistake } from '../faults.ts';
import type { Detail, ModelSpec, Reply, Shape, State, Telling } from './shape.ts';
import { CONTEXT_DEFAULT, embedding_rows, model_list, repeat } from './shape.ts';

export const sglang = {
  kind: 'sglang',
  bases: ['/v1'],
  talks: true,
  headers: { server: 'uvicorn' },
  json_type: 'application/json',
  stream_type: 'text/event-stream; charset=utf-8',
  loads: 'refused',
  any_model: true,
  cuts_overflow: false,
  limits: ['max_completion_tokens', 'max_tokens'],
  choices: true,
  keeps_stop: false,
  // serving_embedding.py never reads encoding_format.
  base64: false,
  token_inputs: true,
  inputs_max: Infinity,
  dimensions: false,
  keyless: (path) => path.startsWith('/health') || path.startsWith('/metrics'),
  route,
  unknown_path: () => ({ status: 404, body: { detail: 'Not Found' } }),
  mistake: (what, detail) => MISTAKES[what](detail),
  open: (telling, index) =>
    telling.ask.endpoint === 'completions'
      ? undefined
      : chunk(telling, {
          index,
          delta: { role: 'assistant', content: '', reasoning_content: null, tool_calls: null },
          logprobs: null,
          finish_reason: null,
          matched_stop: null,
        }),
  token: (telling, text, index) => chunk(telling, choice(telling, text, null, index)),
  finish: (telling, said, index) => chunk(telling, choice(telling, undefined, said.reason, index)),
  usage: (telling, usage) => ({
    ...common(telling, true),
    choices: [],
    usage: { ...usage, prompt_tokens_details: null, reasoning_tokens: 0 },
  }),
  failure: () =>
    `data: ${JSON.stringify({ error: flat(500, 'Generation aborted.', 'INTERNAL_SERVER_ERROR') })}\n\ndata: [DONE]\n\n`,
  whole: (telling, said, usage, choices) => ({
    ...common(telling, false),
    choices: repeat(choices, (index) => ({
      index,
      ...(telling.ask.endpoint === 'completions'
        ? { text: said.text }
        : { message: { role: 'assistant', content: said.text, reasoning_content: null, tool_calls: null } }),
      logprobs: null,
      finish_reason: said.reason,
      matched_stop: said.reason === 'stop' ? 151_645 : null,
    })),
    usage: { ...usage, prompt_tokens_details: null, reasoning_tokens: 0 },
    metadata: { weight_version: 'default' },
  }),
  embeddings: (telling, vectors) => ({
    data: embedding_rows(vectors),
    model: telling.ask.model,
    object: 'list',
    usage: {
      prompt_tokens: telling.ask.prompt_tokens,
      total_tokens: telling.ask.prompt_tokens,
      completion_tokens: 0,
      prompt_tokens_details: null,
    },
  }),
} satisfies Shape;

function common(telling: Telling, chunked: boolean): object {
  const chat = chunked ? 'chat.completion.chunk' : 'chat.completion';
  return {
    id: telling.id.padStart(32, '0'),
    object: telling.ask.endpoint === 'completions' ? 'text_completion' : chat,
    created: telling.created,
    model: telling.ask.model,
  };
}

function choice(
  telling: Telling,
  text: string | undefined,
  finish_reason: Said['reason'] | null,
  index: number,
): object {
  const said =
    telling.ask.endpoint === 'completions'
      ? { text: text ?? '' }
      : { delta: { role: null, content: text ?? null, reasoning_content: null, tool_calls: null } };
  return { index, ...said, logprobs: null, finish_reason, matched_stop: finish_reason === 'stop' ? 151_645 : null };
}

function chunk(telling: Telling, one: object): object {
  return { ...common(telling, true), choices: [one], usage: null };
}

function flat(code: number, message: string, type: string): object {
  return { object: 'error', message, type, param: null, code };
}

const MISTAKES = {
  overflow: ({ prompt_tokens, context }) =>
    reply(
      400,
      `The input (${prompt_tokens} tokens) is longer than the model's context length (${context} tokens).`,
      'BadRequestError',
    ),
  unknown_model: ({ ask }) => reply(400, `The model \`${ask?.model ?? ''}\` does not exist.`, 'BadRequestError'),
  // --max-queued-requests.
  overloaded: () => reply(503, 'The request queue is full.', 'SERVICE_UNAVAILABLE'),
  loading: () => reply(503, 'The server is starting up.', 'SERVICE_UNAVAILABLE'),
  bad_request: () =>
    reply(
      400,
      "1 validation error:\n  {'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required'}",
      '400',
    ),
  unauthorized: () => ({ status: 401, body: { error: 'Unauthorized' } }),
  internal: () => reply(500, 'Internal server error', 'InternalServerError'),
} satisfies Record<Mistake, (detail: Detail) => Reply>;

function reply(status: number, message: string, type: string): Reply {
  return { status, body: flat(status, message, type) };
}

function route(method: string, url: URL, state: State): Reply | undefined {
  if (method !== 'GET') return undefined;
  const model = state.models[0];
  switch (url.pathname) {
    case '/health':
    case '/health_generate':
      // In the version read both generate a token; a gateway should not come here often.
      return { status: 200, body: '' };
    case '/get_model_info':
    case '/model_info':
      return {
        status: 200,
        body: {
          model_path: model?.name ?? '',
          tokenizer_path: model?.name ?? '',
          is_generation: !model?.embeds,
          preferred_sampling_params: null,
          weight_version: 'default',
        },
      };
    case '/get_server_info':
      return {
        status: 200,
        body: { model_path: model?.name ?? '', context_length: model?.context ?? null, version: '0.5.9' },
      };
    case '/get_load':
      return {
        status: 200,
        body: [{ dp_rank: 0, num_reqs: state.running, num_waiting_reqs: state.waiting, num_tokens: 0 }],
      };
    case '/v1/models':
      return model_list(state.models.map((one) => entry(one, state)));
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
    owned_by: 'sglang',
    root: model.name,
    parent: null,
    max_model_len: model.context ?? CONTEXT_DEFAULT,
  };
}
