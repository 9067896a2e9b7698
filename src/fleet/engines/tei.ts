// Hugging Face's text-embeddings-inference, from its documents (1.9): one model a process, embeddings only.
import type { Json } from '../../wire/record.ts';
import { PLAIN, type Engine, type ModelInfo } from './engine.ts';
import { positive } from './read.ts';

export const tei = {
  ...PLAIN,
  name: 'tei',
  ports: [3000],
  endpoints: ['embeddings'],
  // --max-concurrent-requests; the rest is 429.
  slots: 512,
  sign: { path: '/info', matches: (body) => typeof body['model_id'] === 'string' && 'max_client_batch_size' in body },
  health: '/health',
  models: { path: '/info', after_base: false, read: readInfo },
  capacity: {
    path: '/info',
    read: (body) => ({
      slots: positive(body['max_concurrent_requests']),
      inputs_max: positive(body['max_client_batch_size']),
    }),
  },
  // --max-client-batch-size, and 413 beyond it.
  inputs_max: 32,
  // It came late to its OpenAI route (TEI issue 288).
  base64: false,
} as const satisfies Engine;

function readInfo(body: Json): readonly ModelInfo[] | undefined {
  const id = body['model_id'];
  if (typeof id !== 'string') return undefined;
  return [{ id, context_length: positive(body['max_input_length']), capabilities: ['embedding'] }];
}
