// llama.cpp's llama-server, from tools/server/README.md and its source of 2026; with several models it is a router.
import { isRecord, type Json } from '../../wire/record.ts';
import { PLAIN, type Capacity, type Engine, type Loaded } from './engine.ts';
import { parsed, positive, readList, sum } from './read.ts';

export const llamaCpp = {
  ...PLAIN,
  name: 'llama.cpp',
  // 8080 is becoming 9931 (llama.cpp PR 26508); both are met.
  ports: [8080, 9931],
  // It defers what finds no slot, without bound.
  slots: 16,
  sign: { path: '/props', matches: (body) => 'default_generation_settings' in body || 'total_slots' in body },
  // 503 "Loading model" until it is ready.
  health: '/health',
  models: { path: '/models', after_base: true, read: readList },
  // Without `?model=` it never makes a router load one.
  loaded: { path: '/props', read: readProps },
  capacity: { path: '/props', read: ({ total_slots }): Capacity => ({ slots: positive(total_slots) }) },
  figures: [
    { path: '/slots', read: busySlots },
    { path: '/metrics', read: (text) => sum(text, ['llamacpp:requests_processing', 'llamacpp:requests_deferred']) },
  ],
  // A router starts a process for the model and answers at once; GET never makes it load one.
  load: {
    ask: (model) => ({ path: '/models/load', body: JSON.stringify({ model }) }),
    poll: { path: '/models', read: loadedYet },
  },
} as const satisfies Engine;

function readProps(body: Json): Loaded {
  const settings = isRecord(body['default_generation_settings']) ? body['default_generation_settings'] : {};
  const length = positive(settings['n_ctx']);
  return { contexts: new Map(length === undefined ? [] : [['*', length]]) };
}

function busySlots(text: string): number | undefined {
  const slots = parsed(text);
  if (!Array.isArray(slots)) return undefined;
  return slots.filter((slot) => isRecord(slot) && slot['is_processing'] === true).length;
}

function loadedYet({ data }: Json, model: string): 'loaded' | 'failed' | undefined {
  const found: unknown = Array.isArray(data) ? data.find((one) => isRecord(one) && one['id'] === model) : undefined;
  const status = isRecord(found) && isRecord(found['status']) ? found['status'] : {};
  if (status['value'] === 'loaded') return 'loaded';
  return status['failed'] === true ? 'failed' : undefined;
}
