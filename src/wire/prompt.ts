// How much text a call holds: the bytes of its messages, prompt or input, images left out. It costs a search for images and no
// parsing.
import { scanArray, valueKind } from './body.ts';
import type { Call, Endpoint, Fields } from '../types.ts';

const NAMES = { 'chat/completions': 'messages', completions: 'prompt', embeddings: 'input' } as const;
const BASE64 = Buffer.from(';base64,');
const QUOTE = 0x22;

/** Of embeddings each input has the context to itself: the longest one's bytes. Of all else, the whole prompt's. */
export function longestBytes({ endpoint, body, fields, prompt_bytes }: Call): number {
  const field = fields.members.get('input');
  if (endpoint !== 'embeddings' || field === undefined || valueKind(body, field) !== 'array') return prompt_bytes();
  return scanArray(body, field).reduce(
    (most, { value_start, value_end }) => Math.max(most, value_end - value_start),
    0,
  );
}

export function promptBytes(endpoint: Endpoint, body: Buffer, fields: Fields): number {
  const field = fields.members.get(NAMES[endpoint]);
  if (field === undefined) return 0;
  const text = body.subarray(field.value_start, field.value_end);
  let bytes = text.length;
  for (let at = text.indexOf(BASE64); at >= 0;) {
    const end = text.indexOf(QUOTE, at);
    if (end < 0) break;
    bytes -= end - at - BASE64.length;
    at = text.indexOf(BASE64, end);
  }
  // Tools are written into the prompt as well.
  const tools = fields.members.get('tools');
  return tools === undefined ? bytes : bytes + tools.value_end - tools.value_start;
}
