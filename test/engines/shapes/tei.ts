// text-embeddings-inference 1.9, from its documents and router/src/http (types.rs, server.rs): one model under any name, flat
// errors on the OpenAI route, 413 for more inputs than `max_client_batch_size`, 429 when all permits are taken.
import type { Mistake } from '../faults.ts';
import type { Detail, Reply, Shape, State } from './shape.ts';
import { CONTEXT_DEFAULT } from './shape.ts';
import { EMBEDDER } from './embedder.ts';

export const tei = {
  ...EMBEDDER,
  kind: 'tei',
  bases: ['/v1'],
  headers: { 'access-control-allow-origin': '*', 'x-compute-type': 'cpu' },
  json_type: 'application/json',
  loads: 'closed',
  any_model: true,
  base64: true,
  token_inputs: true,
  inputs_max: 32,
  too_many: {
    status: 413,
    body: { message: 'batch size 33 > maximum allowed batch size 32', code: 413, type: 'Validation' },
  },
  keyless: (path) => path === '/health' || path === '/ping' || path === '/metrics',
  route,
  unknown_path: () => ({ status: 404, body: '', type: 'text/plain' }),
  mistake: (what, detail) => MISTAKES[what](detail),
} satisfies Shape;

const MISTAKES = {
  overflow: ({ context }) =>
    error(
      413,
      `Input validation error: \`inputs\` must have less than ${context} tokens. Given: ${context + 1}`,
      'Validation',
    ),
  // It never looks at the name.
  unknown_model: () => error(404, 'Not Found', 'Backend'),
  overloaded: () => error(429, 'Model is overloaded', 'Overloaded'),
  loading: () => error(503, 'Unhealthy', 'Unhealthy'),
  // axum's own words for a body it cannot read.
  bad_request: () => ({
    status: 422,
    body: 'Failed to deserialize the JSON body into the target type: missing field `input`',
    type: 'text/plain; charset=utf-8',
  }),
  unauthorized: () => ({ status: 401, body: '', type: 'text/plain' }),
  internal: () => error(424, 'Backend error: inference failed', 'Backend'),
} satisfies Record<Mistake, (detail: Detail) => Reply>;

function route(method: string, url: URL, state: State): Reply | undefined {
  if (method !== 'GET') return undefined;
  const model = state.models[0];
  switch (url.pathname) {
    case '/health':
    case '/ping':
      return { status: 200, body: '', type: 'text/plain' };
    case '/info':
      return {
        status: 200,
        body: {
          model_id: model?.name ?? '',
          model_sha: null,
          model_dtype: 'float16',
          model_type: { embedding: { pooling: 'cls' } },
          max_concurrent_requests: 512,
          max_input_length: model?.context ?? CONTEXT_DEFAULT,
          max_batch_tokens: 16_384,
          max_batch_requests: null,
          max_client_batch_size: 32,
          auto_truncate: false,
          tokenization_workers: 4,
          version: '1.9.0',
          sha: null,
          docker_label: null,
        },
      };
    default:
      return undefined;
  }
}

function error(code: number, message: string, type: string): Reply {
  return { status: code, body: { message, code, type } };
}
