// "Too long for the model", in every engine's wording. The most valuable error to tell in one form: OpenCode, Cline,
// Roo and Codex compact the conversation on it, and each engine's raw form misses some of them.

/** What an engine told of a call that does not fit, in tokens. */
interface Overflow {
  readonly limit: number | undefined;
  /** In the messages. */
  readonly input: number | undefined;
  /** Asked for as the answer's most. */
  readonly output: number | undefined;
  readonly total: number | undefined;
}

/** llama.cpp gives the numbers beside the message, as `n_ctx` and `n_prompt_tokens`. */
export interface TokenCounts {
  readonly limit: number | undefined;
  readonly input: number | undefined;
}

/** What is said of a call that was found too long here, in tokens. */
export function tooLong(limit: number, input: number): string {
  return write({ limit, input, output: undefined, total: undefined });
}

/**
 * The message every client understands, where what was said or `kinds` (the engine's type and code) tell that the
 * call is too long; else `undefined`. `context`: what is known of the limit where neither tells.
 */
export function overflowMessage(
  said: string,
  kinds: readonly string[],
  counts?: TokenCounts,
  context?: number,
): string | undefined {
  // A message may go on to quote the call; what it is about stands first.
  const message = said.slice(0, 4000);
  if (!kinds.some((kind) => KINDS.has(kind)) && !WORDINGS.some((wording) => wording.test(message))) return undefined;
  return write({
    limit: counts?.limit ?? first(LIMITS, message) ?? context,
    input: counts?.input ?? first(INPUTS, message),
    output: first(OUTPUTS, message),
    total: first(TOTALS, message),
  });
}

/**
 * OpenAI's own two forms. The second is for a prompt that would fit but for the answer asked of it: its messages alone
 * did not result in too many tokens, and a message that says so would be untrue.
 */
function write({ limit, input, output, total }: Overflow): string {
  const reduce = 'Please reduce the length of the messages';
  if (limit === undefined) return `The messages exceed this model's maximum context length. ${reduce}.`;
  const most = `This model's maximum context length is ${limit} tokens.`;
  if (input !== undefined && input < limit && output !== undefined && input + output > limit) {
    const asked = `${input + output} tokens (${input} in the messages, ${output} in the completion)`;
    return `${most} However, you requested ${asked}. ${reduce} or completion.`;
  }
  const given = input !== undefined && (input >= limit || total === undefined) ? input : total;
  if (given === undefined) return `${most} ${reduce}.`;
  return `${most} However, your messages resulted in ${given} tokens. ${reduce}.`;
}

const KINDS: ReadonlySet<string> = new Set(['exceed_context_size_error', 'context_length_exceeded']);

const WORDINGS: readonly RegExp[] = [
  // OpenAI, vLLM, SGLang.
  /maximum context length/i,
  // llama.cpp, LM Studio, SGLang ("is longer than the model's context length"), Ollama with truncate: false, vLLM
  // ("the model's context length is only N").
  /(?:exceed|longer than|greater than|too (?:long|large)|reached|overflow)[^]{0,100}context (?:length|size|window)/i,
  /context (?:length|size|window)[^]{0,100}(?:exceed|is only|of only|not enough|overflow|too small)/i,
  // SGLang: "Input length (M tokens) exceeds the maximum allowed length (N tokens)".
  /exceeds the maximum allowed (?:input )?length/i,
  // vLLM's V0 engine: "The decoder prompt (length M) is longer than the maximum model length of N".
  /longer than the maximum model length/i,
  // OVMS: "Number of prompt tokens: M exceeds model max length: N".
  /exceeds model max length/i,
  // TGI: "`inputs` tokens + `max_new_tokens` must be <= N"; TGI and TEI: "`inputs` must have less than N tokens".
  /tokens[^]{0,40}must be <= \d|must have less than \d+ tokens/i,
  // llama.cpp embeddings, a 500: "input (M tokens) is too large to process. increase the physical batch size".
  /too large to process[^]{0,20}increase the physical batch size/i,
  /(?:prompt|input) is too long/i,
];

const LIMITS: readonly RegExp[] = [
  /maximum context length (?:is |of |\()(\d{1,12})/i,
  /context length (?:is only |of only |\()(\d{1,12})/i,
  /(?:available context size|maximum allowed (?:input )?length) \((\d{1,12})/i,
  /maximum model length of (\d{1,12})/i,
  /model max length: (\d{1,12})/i,
  /n_ctx: (\d{1,12})/,
  /reached context length of (\d{1,12})/i,
  /must (?:be <=|have less than) (\d{1,12})/i,
  // What a prompt to llama.cpp's embeddings must fit.
  /current batch size: (\d{1,12})/i,
  /tokens > (\d{1,12})/,
];

const INPUTS: readonly RegExp[] = [
  /resulted in (\d{1,12})/i,
  /(?:request has|you passed|prompt contains(?: at least)?) (\d{1,12}) input tokens/i,
  /\((\d{1,12}) in the messages/i,
  /(\d{1,12}) tokens from the input/i,
  /(?:input length|the input|request|input) \((\d{1,12})/i,
  /prompt \(length (\d{1,12})\)/i,
  /prompt tokens: (\d{1,12})/i,
  /keep the first (\d{1,12}) tokens/i,
  /n_keep: (\d{1,12})/,
  /given: (\d{1,12})/i,
  /too long: (\d{1,12}) tokens/i,
];

const OUTPUTS: readonly RegExp[] = [
  /requested (\d{1,12}) output tokens/i,
  /(\d{1,12}) in the completion/i,
  /(\d{1,12}) tokens for the completion/i,
  /is too large: (\d{1,12})/i,
  /and (\d{1,12}) `max_new_tokens`/,
];

const TOTALS: readonly RegExp[] = [
  /requested (?:a total of )?(\d{1,12}) tokens/i,
  /total of (?:at least )?(\d{1,12})/i,
];

function first(patterns: readonly RegExp[], message: string): number | undefined {
  for (const pattern of patterns) {
    const found = pattern.exec(message)?.[1];
    if (found !== undefined) return Number(found);
  }
  return undefined;
}
