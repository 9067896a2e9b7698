// What OpenAI's clients rely on in an answer's JSON: the members that openai-node 7.55 declares as always there, and their kinds.
import { Ajv } from 'ajv';

type Shape = Readonly<Record<string, unknown>>;

const text = { type: 'string' };
const count = { type: 'integer', minimum: 0 };
const seconds = { type: 'integer', minimum: 1_600_000_000 };
const or_null = (shape: Shape): Shape => ({ anyOf: [shape, { type: 'null' }] });
const all = (properties: Shape, more: Shape = {}): Shape => ({
  type: 'object',
  required: Object.keys(properties),
  properties: { ...properties, ...more },
});
const list = (items: Shape): Shape => ({ type: 'array', items });
const id = (prefix: string): Shape => ({ type: 'string', pattern: `^${prefix}` });

/** resources/chat/completions/completions.d.ts */
const completion = all(
  {
    id: text,
    object: { const: 'chat.completion' },
    created: seconds,
    model: text,
    choices: list(
      all({
        index: count,
        finish_reason: { enum: ['stop', 'length', 'tool_calls', 'content_filter', 'function_call'] },
        logprobs: or_null({ type: 'object' }),
        message: all({ role: { const: 'assistant' }, content: or_null(text), refusal: or_null(text) }),
      }),
    ),
  },
  { usage: all({ prompt_tokens: count, completion_tokens: count, total_tokens: count }) },
);

/** resources/batches.d.ts */
const at = or_null(seconds);
const counts = all({ total: count, completed: count, failed: count });
const batch = all(
  {
    id: id('batch_'),
    object: { const: 'batch' },
    completion_window: { const: '24h' },
    created_at: seconds,
    endpoint: { enum: ['/v1/chat/completions', '/v1/completions', '/v1/embeddings'] },
    input_file_id: text,
    status: {
      enum: ['validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', 'cancelling', 'cancelled'],
    },
  },
  {
    ...Object.fromEntries(
      ['cancelled', 'cancelling', 'completed', 'expired', 'expires', 'failed', 'finalizing', 'in_progress'].map(
        (what) => [`${what}_at`, at],
      ),
    ),
    error_file_id: or_null(id('file-')),
    output_file_id: or_null(id('file-')),
    errors: or_null(all({ object: { const: 'list' }, data: list(all({ code: text, message: text })) })),
    metadata: or_null({ type: 'object', additionalProperties: text }),
    request_counts: counts,
    usage: or_null(
      all({
        input_tokens: count,
        input_tokens_details: all({ cached_tokens: count }),
        output_tokens: count,
        output_tokens_details: all({ reasoning_tokens: count }),
        total_tokens: count,
      }),
    ),
  },
);

/** resources/files.d.ts */
const file = all(
  {
    id: id('file-'),
    bytes: count,
    created_at: seconds,
    filename: text,
    object: { const: 'file' },
    purpose: { enum: ['batch', 'batch_output'] },
    status: { enum: ['uploaded', 'processed', 'error'] },
  },
  { expires_at: seconds },
);

/** core/pagination.d.ts: `CursorPage`. */
const page = (items: Shape): Shape =>
  all({
    object: { const: 'list' },
    data: list(items),
    has_more: { type: 'boolean' },
    first_id: or_null(text),
    last_id: or_null(text),
  });

const SHAPES = {
  completion,
  batch,
  batches: page(batch),
  file,
  files: page(file),
  deleted: all({ id: id('file-'), deleted: { const: true }, object: { const: 'file' } }),
  models: all({
    object: { const: 'list' },
    data: list(all({ id: text, created: count, object: { const: 'model' }, owned_by: text })),
  }),
  error: all({ error: all({ message: text, type: text, param: or_null(text), code: text }) }),
} as const satisfies Record<string, Shape>;

const ajv = new Ajv({ allErrors: true, strict: true, strictTypes: false });

/** What is wrong with it; nothing: []. */
export function faultsOf(shape: keyof typeof SHAPES, value: unknown): string[] {
  const check = ajv.compile(SHAPES[shape]);
  if (check(value)) return [];
  return (check.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message ?? ''}`);
}
