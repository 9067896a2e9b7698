// LM Studio 0.4, from its REST pages and its bug tracker (2026).
import { isRecord, type Json } from '../../wire/record.ts';
import { PLAIN, type Engine, type ModelInfo } from './engine.ts';
import { positive } from './read.ts';

export const lmstudio = {
  ...PLAIN,
  name: 'lmstudio',
  ports: [1234],
  // It takes one request after the other for each model, unless it is told otherwise.
  slots: 8,
  // It answers paths it does not know with 200 and an error, so the list itself is its sign.
  sign: {
    path: '/api/v0/models',
    matches: (body) => readV0(body)?.some(({ resident }) => resident !== undefined) ?? false,
  },
  models: { path: '/api/v0/models', after_base: false, read: readV0 },
  // Not loaded here: what it loads when asked leaves again after its TTL, what /api/v1/models/load loads stays.
  load: undefined,
  token_inputs: false,
  inputs_max: 512,
  // It ignores `encoding_format` and gives floats (bug 756).
  base64: false,
} as const satisfies Engine;

function readV0(body: Json): readonly ModelInfo[] | undefined {
  const { data } = body;
  if (!Array.isArray(data)) return undefined;
  return data.filter(isRecord).flatMap((model) => {
    const { id, type, state } = model;
    if (typeof id !== 'string' || id === '') return [];
    const capabilities = type === 'embeddings' ? ['embedding'] : type === 'vlm' ? ['vision'] : [];
    return [
      {
        id,
        context_length: positive(model['loaded_context_length']) ?? positive(model['max_context_length']),
        capabilities,
        ...(typeof state === 'string' && { resident: state === 'loaded' }),
      },
    ];
  });
}
