// Anything else that speaks OpenAI: what remains when no other engine shows its sign.
import { PLAIN, type Engine } from './engine.ts';
import { readList } from './read.ts';

export const openai = {
  ...PLAIN,
  name: 'openai',
  ports: [],
  slots: 64,
  models: { path: '/models', after_base: true, read: readList },
  // What is not known to give base64 is asked for floats.
  base64: false,
} as const satisfies Engine;
