// Infinity 0.0.77, from its documents and infinity_server.py: no prefix, several models with the state of their queues in
// the list, errors as OpenAI's with a number for a code, FastAPI's 422.
import type { Mistake } from '../faults.ts';
import type { Detail, Reply, Shape, State } from './shape.ts';
import { model_list } from './shape.ts';
import { EMBEDDER } from './embedder.ts';

export const infinity = {
  ...EMBEDDER,
  kind: 'infinity',
  bases: [''],
  headers: { server: 'uvicorn' },
  json_type: 'application/json',
  loads: 'closed',
  any_model: false,
  base64: true,
  token_inputs: false,
  inputs_max: 2048,
  too_many: {
    status: 422,
    body: { detail: [{ type: 'too_long', loc: ['body', 'input'], msg: 'List should have at most 2048 items' }] },
  },
  keyless: (path) => path === '/health' || path === '/metrics',
  route,
  unknown_path: () => ({ status: 404, body: { detail: 'Not Found' } }),
  mistake: (what, detail) => MISTAKES[what](detail),
} satisfies Shape;

const MISTAKES = {
  // It cuts what is too long; this is what a model without a limit of its own says.
  overflow: ({ context }) => error(400, `Input is too long: ${context + 1} tokens > ${context}`),
  unknown_model: ({ ask }) => error(400, `Invalid model: ${ask?.model ?? ''}`),
  overloaded: ({ ask }) => error(429, `model ${ask?.model ?? ''} is currently overloaded`),
  loading: () => error(503, 'model is not ready'),
  bad_request: () => ({
    status: 422,
    body: { detail: [{ type: 'missing', loc: ['body', 'input'], msg: 'Field required', input: {} }] },
  }),
  unauthorized: () => ({ status: 401, body: { detail: 'Unauthorized' } }),
  internal: () => error(500, 'InternalServerError: inference failed'),
} satisfies Record<Mistake, (detail: Detail) => Reply>;

function route(method: string, url: URL, state: State): Reply | undefined {
  if (method !== 'GET') return undefined;
  switch (url.pathname) {
    case '/health':
      return { status: 200, body: { unix: state.now } };
    case '/models':
      return model_list(
        state.models.map(({ name }) => ({
          id: name,
          stats: {
            queue_fraction: 0,
            queue_absolute: state.waiting,
            results_pending: state.running + state.waiting,
            batch_size: 32,
          },
          object: 'model',
          owned_by: 'infinity',
          created: state.now,
          backend: 'torch',
          capabilities: ['embed'],
        })),
      );
    default:
      return undefined;
  }
}

function error(code: number, message: string): Reply {
  return { status: code, body: { error: { message, type: null, param: null, code } } };
}
