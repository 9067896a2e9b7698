// Infinity (michaelfeil/infinity 0.0.77), from its documents and source: embeddings of several models.
import { isRecord, parseRecord } from '../../wire/record.ts';
import { PLAIN, type Engine } from './engine.ts';
import { readList } from './read.ts';

export const infinity = {
  ...PLAIN,
  name: 'infinity',
  // `--url-prefix`, empty unless told.
  base: '',
  ports: [7997],
  endpoints: ['embeddings'],
  // 429 when its queue is full.
  slots: 256,
  sign: { path: '/health', matches: ({ unix }) => typeof unix === 'number' },
  models: {
    path: '/models',
    after_base: true,
    read: (body) => readList(body)?.map((one) => ({ ...one, capabilities: ['embedding'] })),
  },
  // Its list carries the queue of each model.
  figures: [{ path: '/models', read: readQueues }],
  token_inputs: false,
} as const satisfies Engine;

function readQueues(text: string): number | undefined {
  const { data } = parseRecord(text) ?? {};
  if (!Array.isArray(data)) return undefined;
  let total: number | undefined;
  for (const one of data) {
    const stats = isRecord(one) && isRecord(one['stats']) ? one['stats'] : {};
    if (typeof stats['results_pending'] === 'number') total = (total ?? 0) + stats['results_pending'];
  }
  return total;
}
