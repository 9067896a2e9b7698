// vLLM, from its documents and source of 2026 (0.29).
import { PLAIN, type Engine } from './engine.ts';
import { readList, sum } from './read.ts';

export const vllm = {
  ...PLAIN,
  name: 'vllm',
  ports: [8000],
  // Its scheduler takes 256 sequences by default (`--max-num-seqs`) and queues the rest without bound.
  slots: 256,
  sign: { path: '/version', matches: (body) => typeof body['version'] === 'string' },
  // 503 when the engine behind the server has died, while /v1/models still answers.
  health: '/health',
  models: { path: '/models', after_base: true, read: readList },
  figures: [
    { path: '/metrics', read: (text) => sum(text, ['vllm:num_requests_running', 'vllm:num_requests_waiting']) },
  ],
} as const satisfies Engine;
