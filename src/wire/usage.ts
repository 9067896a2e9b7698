// The tokens of an answer: as the engine counts them, or as an estimate that says so.
import { isRecord } from './record.ts';

export interface Usage {
  readonly tokens_in: number | undefined;
  readonly tokens_out: number | undefined;
}

/** `prompt_tokens` and `completion_tokens` of an OpenAI usage object, where it has them. */
export function readUsage(value: unknown): Usage | undefined {
  if (!isRecord(value)) return undefined;
  const { prompt_tokens, completion_tokens } = value;
  return {
    tokens_in: typeof prompt_tokens === 'number' ? prompt_tokens : undefined,
    tokens_out: typeof completion_tokens === 'number' ? completion_tokens : undefined,
  };
}

/** A usage object of our own making: `estimated` tells it from an engine's. */
export function estimated(tokens_in: number, tokens_out: number): object {
  return {
    prompt_tokens: tokens_in,
    completion_tokens: tokens_out,
    total_tokens: tokens_in + tokens_out,
    estimated: true,
  };
}

/** What English prose takes, by and large; code takes less, and other scripts about as much as UTF-8. */
const BYTES_PER_TOKEN = 4;

export function guessTokens(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / BYTES_PER_TOKEN));
}
