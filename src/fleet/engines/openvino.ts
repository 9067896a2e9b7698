// OpenVINO Model Server, from its source and documents of August 2026.
import { PLAIN, type Engine } from './engine.ts';
import { readList, sum } from './read.ts';

export const openvino = {
  ...PLAIN,
  name: 'openvino',
  base: '/v3',
  ports: [8000],
  // `max_num_seqs` of its graph.
  slots: 256,
  // KServe's server metadata.
  sign: { path: '/v2', matches: ({ name }) => typeof name === 'string' && /openvino/i.test(name) },
  health: '/v2/health/ready',
  models: { path: '/models', after_base: true, read: readList },
  // With --metrics_enable.
  figures: [{ path: '/metrics', read: (text) => sum(text, ['ovms_current_requests']) }],
  token_inputs: false,
  inputs_max: 500,
  // In streams it cannot be told not to: include_stop_str_in_output=false is an error there.
  keeps_stop: true,
} as const satisfies Engine;
