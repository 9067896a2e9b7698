// A service behind a token exchange: it is spoken to at two URLs of its own, with a token that is had for a code. It has no
// list of models and no route that tells anything; see fleet/token.ts and dialects/envelope.ts.
import { PLAIN, type Engine } from './engine.ts';

export const tokenExchange = {
  ...PLAIN,
  name: 'token-exchange',
  base: '',
  ports: [],
  endpoints: ['chat/completions', 'embeddings'],
  slots: 32,
  models: { path: '', after_base: false, read: () => undefined },
  base64: false,
  dialect: 'envelope',
} as const satisfies Engine;
