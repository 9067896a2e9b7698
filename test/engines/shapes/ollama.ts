// Ollama, read in its source of August 2026 (openai/openai.go, middleware/openai.go, server/routes.go): the role on every
// delta, a zero usage object on completions chunks, no `max_completion_tokens`, and 404s that tell to pull.
import type { Mistake } from '../faults.ts';
import type { Detail, ModelSpec, Reply, Shape, State, Telling } from './shape.ts';
import { CONTEXT_DEFAULT, embedding_rows, id_prefix, model_list, model_named } from './shape.ts';

const MODIFIED = '2026-08-01T12:00:00.000000000Z';

export const ollama = {
  kind: 'ollama',
  bases: ['/v1'],
  talks: true,
  headers: {},
  json_type: 'application/json',
  stream_type: 'text/event-stream',
  // Headers are withheld until the model is loaded and the first token is there.
  loads: 'withheld',
  any_model: false,
  // `truncate` defaults to true: the oldest messages are dropped without a word.
  cuts_overflow: true,
  // The request struct has no max_completion_tokens: unknown fields are dropped silently.
  limits: ['max_tokens'],
  choices: false,
  keeps_stop: false,
  base64: true,
  token_inputs: false,
  inputs_max: Infinity,
  dimensions: true,
  keyless: () => false,
  natives: { '/api/chat': 'chat/completions', '/api/generate': 'completions', '/api/embed': 'embeddings' },
  route,
  unknown_path: () => ({ status: 404, body: '404 page not found', type: 'text/plain' }),
  mistake: (what, detail) => worded(MISTAKES[what](detail), detail),
  open: () => undefined,
  token: (telling, text) => (telling.ask.native ? line(telling, text) : chunk(telling, text, null)),
  finish: (telling, said) =>
    telling.ask.native ? last(telling, '', said, said.told ?? 0) : chunk(telling, '', said.reason),
  usage: (telling, usage) => ({ ...common(telling), choices: [], usage }),
  // An error line written after the 200 is decoded as an empty response: a zero chunk goes out, and the stream ends.
  // The native route writes it as it is.
  failure: (telling) =>
    telling.ask.native
      ? `${JSON.stringify({ error: 'llama runner process has terminated: exit status 2' })}\n`
      : `data: ${JSON.stringify({ ...chunk(telling, '', null), model: '' })}\n\n`,
  whole: (telling, said, usage) => {
    if (telling.ask.native) return last(telling, said.text, said, usage.completion_tokens);
    const choice =
      telling.ask.endpoint === 'completions'
        ? { text: said.text, index: 0, finish_reason: said.reason }
        : { index: 0, message: { role: 'assistant', content: said.text }, finish_reason: said.reason };
    return { ...common(telling, true), choices: [choice], usage };
  },
  embeddings: ({ ask }, vectors) =>
    ask.native
      ? {
          model: ask.model,
          embeddings: vectors,
          total_duration: 1,
          load_duration: 1,
          prompt_eval_count: ask.prompt_tokens,
        }
      : {
          object: 'list',
          data: embedding_rows(vectors),
          model: ask.model,
          usage: { prompt_tokens: ask.prompt_tokens, total_tokens: ask.prompt_tokens },
        },
} satisfies Shape;

function common(telling: Telling, whole = false): object {
  const chat = telling.ask.endpoint === 'chat/completions';
  return {
    id: `${id_prefix(telling.ask)}-${telling.id}`,
    object: chat ? (whole ? 'chat.completion' : 'chat.completion.chunk') : 'text_completion',
    created: telling.created,
    model: telling.ask.model,
    system_fingerprint: 'fp_ollama',
  };
}

function chunk(telling: Telling, text: string, finish_reason: string | null): object {
  if (telling.ask.endpoint === 'completions') {
    const zero = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };
    // `c.Usage = &openai.Usage{}` on each chunk, only when usage was asked for.
    return {
      ...common(telling),
      choices: [{ text, index: 0, finish_reason }],
      ...(telling.ask.include_usage ? { usage: zero } : {}),
    };
  }
  return { ...common(telling), choices: [{ index: 0, delta: { role: 'assistant', content: text }, finish_reason }] };
}

/** One line of /api/chat or /api/generate (api/types.go). */
function line({ ask, created }: Telling, text: string): object {
  const said = ask.endpoint === 'completions' ? { response: text } : { message: { role: 'assistant', content: text } };
  return { model: ask.model, created_at: new Date(created * 1000).toISOString(), ...said, done: false };
}

/** The last line, or the whole of an answer that is no stream. */
function last(telling: Telling, text: string, said: { reason: string }, told: number): object {
  return {
    ...line(telling, text),
    done: true,
    done_reason: said.reason,
    total_duration: 1,
    load_duration: 1,
    prompt_eval_count: telling.ask.prompt_tokens,
    prompt_eval_duration: 1,
    eval_count: told,
    eval_duration: 1,
  };
}

/** On its own routes an error is a text. */
function worded(reply: Reply, { ask }: Detail): Reply {
  if (ask?.native !== true) return reply;
  return { ...reply, body: { error: (reply.body as { error: { message: string } }).error.message } };
}

const MISTAKES = {
  // Only where truncation is off (MLX, or `truncate: false` on the native API).
  overflow: ({ prompt_tokens, context }) =>
    error(400, `input length ${prompt_tokens} exceeds the context length ${context}`),
  unknown_model: ({ ask }) => error(404, `model "${ask?.model ?? ''}" not found, try pulling it first`),
  overloaded: () => error(503, 'server busy, please try again.  maximum pending requests exceeded'),
  loading: () => error(503, 'server busy, please try again.  maximum pending requests exceeded'),
  bad_request: () => error(400, 'invalid input'),
  unauthorized: () => error(401, 'unauthorized'),
  internal: () => error(500, 'llama runner process has terminated: exit status 2'),
} satisfies Record<Mistake, (detail: Detail) => Reply>;

function error(status: number, message: string): Reply {
  // NewError: three types only, by status; `code` is always null.
  const type = status === 400 ? 'invalid_request_error' : status === 404 ? 'not_found_error' : 'api_error';
  return { status, body: { error: { message, type, param: null, code: null } } };
}

function route(method: string, url: URL, state: State, body: Buffer): Reply | undefined {
  const path = url.pathname;
  // With nothing to infer from: the model has been loaded by now.
  if (path in ollama.natives && method === 'POST') return loaded(state, path, body);
  if (path === '/api/show' && method === 'POST') return show(state, body);
  if (method !== 'GET' && method !== 'HEAD') return undefined;
  if (path === '/') return { status: 200, body: 'Ollama is running', type: 'text/plain; charset=utf-8' };
  if (path === '/api/version') return { status: 200, body: { version: '0.24.1' } };
  if (path === '/api/tags') return { status: 200, body: { models: state.models.map((model) => tag(model)) } };
  if (path === '/api/ps')
    return {
      status: 200,
      body: { models: state.models.filter((model) => state.resident.has(model.name)).map(resident) },
    };
  if (path === '/v1/models') return model_list(state.models.map((model) => entry(model)));
  const named = model_named(path, '/v1');
  if (named === undefined) return undefined;
  const model = state.models.find(({ name }) => name === named);
  return model === undefined ? error(404, `model '${named}' not found`) : { status: 200, body: entry(model) };
}

function loaded(state: State, path: string, body: Buffer): Reply {
  const asked = name_in(body);
  if (!state.models.some(({ name }) => name === asked || name === `${asked}:latest`))
    return { status: 404, body: { error: `model '${asked}' not found` } };
  if (path === '/api/embed') return { status: 200, body: { model: asked, embeddings: [], load_duration: 1 } };
  const created_at = new Date(state.now * 1000).toISOString();
  return { status: 200, body: { model: asked, created_at, response: '', done: true, done_reason: 'load' } };
}

function entry(model: ModelSpec): object {
  // The model's own date of change.
  return { id: model.name, object: 'model', created: Date.parse(MODIFIED) / 1000, owned_by: 'library' };
}

function tag(model: ModelSpec): object {
  return {
    name: model.name,
    model: model.name,
    modified_at: MODIFIED,
    size: 8_905_126_121,
    digest: '63fb193b3a9b4322a18e8c6b250ca2e70a5ff531e962dbf95ba089b2566f2fa5',
    details: {
      parent_model: '',
      format: 'gguf',
      family: 'llama',
      families: ['llama'],
      parameter_size: '8.0B',
      quantization_level: 'Q4_0',
    },
  };
}

function resident(model: ModelSpec): object {
  return {
    ...tag(model),
    expires_at: '2099-01-01T00:00:00Z',
    size_vram: 8_905_126_121,
    // What is allocated, which by default is less than what the model was trained for.
    context_length: model.context ?? 4096,
  };
}

function show(state: State, body: Buffer): Reply {
  const asked = name_in(body);
  const model = state.models.find(({ name }) => name === asked);
  if (model === undefined) return { status: 404, body: { error: `model '${asked}' not found` } };
  const capabilities = model.embeds ? ['embedding'] : ['completion', 'tools', ...(model.vision ? ['vision'] : [])];
  return {
    status: 200,
    body: {
      details: {
        parent_model: '',
        format: 'gguf',
        family: 'llama',
        families: ['llama'],
        parameter_size: '8.0B',
        quantization_level: 'Q4_0',
      },
      // The trained maximum, not what is allocated.
      model_info: {
        'general.architecture': 'llama',
        'llama.context_length': model.context_trained ?? model.context ?? CONTEXT_DEFAULT,
        'llama.embedding_length': 16,
      },
      capabilities,
      modified_at: MODIFIED,
    },
  };
}

function name_in(body: Buffer): string {
  try {
    const asked = JSON.parse(body.toString('utf8')) as { model?: unknown; name?: unknown };
    const name = asked.model ?? asked.name;
    return typeof name === 'string' ? name : '';
  } catch {
    return '';
  }
}
