// SGLang 0.5, from its source of 2026.
import { isRecord, type Json } from '../../wire/record.ts';
import { PLAIN, type Engine } from './engine.ts';
import { parsed, readList, sum } from './read.ts';

export const sglang = {
  ...PLAIN,
  name: 'sglang',
  ports: [30000],
  slots: 256,
  sign: { path: '/get_model_info', matches: (body) => typeof body['model_path'] === 'string' },
  // Not /health: it generates a token, and waits up to 20 s for it.
  health: undefined,
  models: { path: '/models', after_base: true, read: readList },
  figures: [
    { path: '/get_load', read: readLoad },
    // With --enable-metrics.
    { path: '/metrics', read: (text) => sum(text, ['sglang:num_running_reqs', 'sglang:num_queue_reqs']) },
  ],
  // It ignores `encoding_format` and gives floats (serving_embedding.py).
  base64: false,
} as const satisfies Engine;

/** One entry a data-parallel rank; `num_reqs` counts the waiting ones too. */
function readLoad(text: string): number | undefined {
  const ranks = parsed(text);
  if (!Array.isArray(ranks) || !ranks.every(isRecord)) return undefined;
  return ranks.reduce((all, rank: Json) => all + (typeof rank['num_reqs'] === 'number' ? rank['num_reqs'] : 0), 0);
}
