// What a fake engine says: tokens and vectors, the same every time, and nothing of the prompt. The text mixes one, two,
// three and four byte characters, so that a relay which cuts or decodes at the wrong place is found out.
import { createHash } from 'node:crypto';

export type Endpoint = 'chat/completions' | 'completions' | 'embeddings';

/** The request as the engine understands it. */
export interface Ask {
  readonly endpoint: Endpoint;
  readonly model: string;
  readonly streamed: boolean;
  readonly include_usage: boolean;
  readonly body: Readonly<Record<string, unknown>>;
  readonly prompt_tokens: number;
  /** In the engine's own form. */
  readonly native: boolean;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

/** The tokens an engine will send, and why it will stop there. */
export interface Said {
  readonly tokens: readonly string[];
  readonly text: string;
  readonly reason: 'stop' | 'length' | 'tool_calls';
  /** How many were sent, once they were. */
  readonly told?: number;
}

const TOKENS = ['Gr', 'üß', 'e', ', ', '世', '界', ' 🌍', '! '] as const;

/** The default answer, `count` tokens long. */
export function default_tokens(count: number = TOKENS.length): string[] {
  return Array.from({ length: count }, (_, index) => TOKENS[index % TOKENS.length] ?? '');
}

/** The request's body, read once; `undefined` when it is not a JSON object with a model. */
export function read_ask(endpoint: Endpoint, raw: Buffer, native = false): Ask | undefined {
  const read = parse(raw);
  if (read === undefined || typeof read['model'] !== 'string') return undefined;
  const body = native ? plain(read) : read;
  const options = body['stream_options'];
  return {
    endpoint,
    model: read['model'],
    streamed: (native ? body['stream'] !== false : body['stream'] === true) && endpoint !== 'embeddings',
    include_usage: is_object(options) && options['include_usage'] === true,
    body,
    prompt_tokens: Math.max(1, Math.ceil(text_length(body['messages'] ?? body['prompt'] ?? body['input']) / 4)),
    native,
  };
}

/** Ollama's options under the names that OpenAI has for them. */
function plain(body: Record<string, unknown>): Record<string, unknown> {
  const options = is_object(body['options']) ? body['options'] : {};
  return { ...body, stop: options['stop'], max_tokens: options['num_predict'] };
}

/** Tokens cut by the request's own `max_tokens` (or another field this engine reads) and `stop`. */
export function say(ask: Ask, tokens: readonly string[], limits: readonly string[], keep_stop: boolean): Said {
  const most = limits.map((name) => ask.body[name]).find((value) => typeof value === 'number') ?? Infinity;
  const short = tokens.slice(0, most);
  const text = short.join('');
  const stops = [ask.body['stop']].flat().filter((stop) => typeof stop === 'string' && stop !== '') as string[];
  const found = stops
    .map((stop) => ({ at: text.indexOf(stop), length: keep_stop ? stop.length : 0 }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at - b.at)[0];
  if (found !== undefined) {
    const kept = cut(short, found.at + found.length);
    return { tokens: kept, text: kept.join(''), reason: 'stop' };
  }
  return { tokens: short, text, reason: short.length < tokens.length ? 'length' : 'stop' };
}

export function usage_of(ask: Ask, completion_tokens: number): Usage {
  const { prompt_tokens } = ask;
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}

/** The inputs of an embeddings request, each as one thing to be embedded; token ids are kept as arrays. */
export function inputs_of(ask: Ask): (string | number[])[] | undefined {
  const { input } = ask.body;
  if (typeof input === 'string') return [input];
  if (!Array.isArray(input) || input.length === 0) return undefined;
  if (input.every((one) => typeof one === 'string')) return input;
  if (input.every((one) => typeof one === 'number')) return [input];
  const arrays = input.every((one) => Array.isArray(one) && one.every((id) => typeof id === 'number'));
  return arrays ? input : undefined;
}

/** A vector for one input: always the same, and exact in float32, so that floats and base64 say the same numbers. */
export function vector(input: string | readonly number[], dimensions = 16): number[] {
  const seed = createHash('sha256').update(JSON.stringify(input)).digest();
  return Array.from({ length: dimensions }, (_, index) => {
    const byte = seed[index % seed.length] ?? 0;
    return ((byte + Math.floor(index / seed.length) * 31) % 256) / 128 - 1;
  });
}

/** Little-endian float32, as the OpenAI SDKs decode it. */
export function base64_of(floats: readonly number[]): string {
  const bytes = Buffer.alloc(floats.length * 4);
  floats.forEach((float, index) => bytes.writeFloatLE(float, index * 4));
  return bytes.toString('base64');
}

function is_object(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parse(raw: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(raw.toString('utf8'));
    return is_object(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Characters of text anywhere within, images left out. */
function text_length(value: unknown): number {
  if (typeof value === 'string') return value.length;
  if (typeof value === 'number') return 4;
  if (Array.isArray(value)) return value.reduce((sum: number, one: unknown) => sum + text_length(one), 0);
  if (!is_object(value)) return 0;
  return text_length(value['content'] ?? value['text']);
}

/** The first `length` UTF-16 units of the tokens, still as tokens. */
function cut(tokens: readonly string[], length: number): string[] {
  const kept: string[] = [];
  let left = length;
  for (const token of tokens) {
    if (left <= 0) break;
    kept.push(token.slice(0, left));
    left -= token.length;
  }
  return kept;
}
