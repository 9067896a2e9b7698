// The inputs of an embeddings call: where each stands in the body, so that a call can be cut into parts, or joined with others,
// without reading a word of them.
import { scanArray, scanObject, setMember, splice, valueKind, type Span } from '../wire/body.ts';
import { promptBytes } from '../wire/prompt.ts';
import type { Call } from '../types.ts';

/** Texts, each an input; or token ids, each list an input. */
export interface Inputs {
  readonly kind: 'texts' | 'tokens';
  readonly spans: readonly Span[];
}

/** `undefined` for what is neither: the engine says what is wrong with it. */
export function inputsOf({ body, fields }: Call): Inputs | undefined {
  const field = fields.members.get('input');
  if (field === undefined) return undefined;
  const kind = valueKind(body, field);
  if (kind === 'string') return { kind: 'texts', spans: [field] };
  if (kind !== 'array') return undefined;
  const spans = scanArray(body, field);
  const kinds = new Set(spans.map((span) => valueKind(body, span)));
  const [only] = kinds;
  if (kinds.size !== 1) return undefined;
  if (only === 'string') return { kind: 'texts', spans };
  if (only === 'array') return { kind: 'tokens', spans };
  // One input, as a list of its ids.
  return only === 'number' ? { kind: 'tokens', spans: [field] } : undefined;
}

/** The call with other inputs, given as JSON. */
export function withInputs(call: Call, inputs: readonly Buffer[]): Call {
  const list = Buffer.concat([OPEN, ...inputs.flatMap((one, at) => (at === 0 ? [one] : [COMMA, one])), CLOSE]);
  const body = splice(call.body, [setMember(call.body, call.fields, 'input', list.toString('utf8'))]);
  const fields = scanObject(body);
  const { borrow: _borrow, ...rest } = call;
  return { ...rest, body, fields, prompt_bytes: () => promptBytes(call.endpoint, body, fields) };
}

/** Each input as it stands. */
export function textsOf({ body }: Call, { spans }: Inputs): readonly Buffer[] {
  return spans.map(({ value_start, value_end }) => body.subarray(value_start, value_end));
}

/** As many parts as it takes, none larger than `most`, all about as large. */
export function partsOf<T>(inputs: readonly T[], most: number): readonly (readonly T[])[] {
  const count = Math.ceil(inputs.length / most);
  const size = Math.ceil(inputs.length / count);
  return Array.from({ length: Math.ceil(inputs.length / size) }, (_, at) => inputs.slice(at * size, (at + 1) * size));
}

const OPEN = Buffer.from('[');
const COMMA = Buffer.from(',');
const CLOSE = Buffer.from(']');
