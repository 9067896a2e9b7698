// What engines that only embed have in common: no chat, no stream.
import type { Shape, Telling } from './shape.ts';
import { embedding_rows } from './shape.ts';

function never(): never {
  throw new Error('an engine that only embeds does not talk');
}

export const EMBEDDER = {
  talks: false,
  stream_type: 'text/event-stream',
  cuts_overflow: false,
  limits: [],
  choices: false,
  keeps_stop: false,
  dimensions: false,
  open: never,
  token: never,
  finish: never,
  usage: never,
  failure: never,
  whole: never,
  embeddings: (telling: Telling, vectors) => ({
    object: 'list',
    data: embedding_rows(vectors),
    model: telling.ask.model,
    usage: { prompt_tokens: telling.ask.prompt_tokens, total_tokens: telling.ask.prompt_tokens },
  }),
} as const satisfies Partial<Shape>;
