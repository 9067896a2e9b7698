// What OpenAI checks: a batch's own fields at once, and the lines of its file afterwards, when the batch is there already.
import { ENDPOINTS, inputs_of } from './answers.ts';
import { type Files, lines_of } from './files.ts';
import { lifetime, only, Refusal, text } from './refusal.ts';
import { type Asked, type BatchError, is_object } from './shapes.ts';

export interface Ordered {
  readonly input_file_id: string;
  readonly endpoint: string;
  readonly metadata: Readonly<Record<string, string>> | null;
  /** Of the output, in seconds. */
  readonly lives: number | undefined;
}

const FIELDS = ['input_file_id', 'endpoint', 'completion_window', 'metadata', 'output_expires_after'];
const MEMBERS = ['custom_id', 'method', 'url', 'body'];
const EMBEDDINGS_MAX = 50_000;

/** The body of a new batch. Throws a `Refusal`. */
export function order(body: unknown, files: Files): Ordered {
  const asked = only(body, FIELDS);
  const input_file_id = text(asked, 'input_file_id');
  const endpoint = text(asked, 'endpoint');
  const completion_window = text(asked, 'completion_window');
  if (!ENDPOINTS.some((known) => known === endpoint)) throw value(endpoint, 'endpoint', ENDPOINTS);
  if (completion_window !== '24h') throw value(completion_window, 'completion_window', ['24h']);
  if (!files.has(input_file_id)) {
    throw new Refusal(400, `No such File object: ${input_file_id}`, 'input_file_id');
  }
  if (files.get(input_file_id).purpose !== 'batch') {
    throw new Refusal(400, `Invalid file purpose: '${input_file_id}' must be of purpose 'batch'.`, 'input_file_id');
  }
  const expiry = asked['output_expires_after'];
  const after = expiry === undefined ? undefined : only(expiry, ['anchor', 'seconds'], 'output_expires_after');
  const lives = after && lifetime(after['anchor'], after['seconds'], 'output_expires_after');
  return { input_file_id, endpoint, metadata: metadata_of(asked['metadata']), lives };
}

export interface Validated {
  readonly errors: readonly BatchError[];
  readonly model: string | null;
  readonly total: number;
}

interface Limits {
  readonly models: readonly string[];
  readonly lines_max: number;
}

/** Every line of the file, against each other too. */
export async function validate(path: string, endpoint: string, { models, lines_max }: Limits): Promise<Validated> {
  const errors: BatchError[] = [];
  const ids = new Set<string>();
  let model: string | null = null;
  let total = 0;
  let inputs = 0;
  let blank = true;
  for await (const raw of lines_of(path)) {
    total += 1;
    if (total > lines_max) {
      const message = `The batch file contains too many tasks. The maximum is ${lines_max}.`;
      return { errors: [{ code: 'too_many_tasks', message, param: null, line: null }], model: null, total };
    }
    const say = (code: string, message: string, param: string | null = null): void =>
      void errors.push({ code, message, param, line: total });
    if (raw.toString('latin1').trim() !== '') blank = false;
    const line = parse(raw);
    if (line === undefined) {
      say('invalid_json_line', 'This line is not parseable as valid JSON.');
      continue;
    }
    for (const name of Object.keys(line)) {
      if (!MEMBERS.includes(name)) say('invalid_request', `Unknown parameter: '${name}'.`, name);
    }
    for (const name of MEMBERS) {
      if (line[name] === undefined) say('missing_required_parameter', `Missing required parameter: '${name}'.`, name);
    }
    const { custom_id, method, url, body } = line;
    if (typeof custom_id === 'string' && custom_id !== '') {
      // Whether a caller was answered twice cannot be seen afterwards.
      if (ids.has(custom_id)) say('duplicate_custom_id', `The custom_id '${custom_id}' is not unique.`, 'custom_id');
      ids.add(custom_id);
    } else if (custom_id !== undefined)
      say('invalid_request', 'custom_id must be a string that is not empty.', 'custom_id');
    if (method !== undefined && method !== 'POST') say('invalid_method', 'The method must be POST.', 'method');
    if (url !== undefined && url !== endpoint) {
      say('url_mismatch', 'The URL provided for this request does not match the batch endpoint.', 'url');
    }
    if (body === undefined) continue;
    if (!is_object(body)) {
      say('invalid_request', 'The body must be an object.', 'body');
      continue;
    }
    for (const name of ['stream', 'stream_options']) {
      if (name in body) say('invalid_request', `'${name}' is not supported in a batch.`, `body.${name}`);
    }
    if (endpoint === '/v1/embeddings') inputs += inputs_of(body).length;
    const named = body['model'];
    if (named === undefined) say('missing_required_parameter', "Missing required parameter: 'model'.", 'body.model');
    else if (typeof named !== 'string') say('invalid_request', 'The model must be a string.', 'body.model');
    else if (!models.includes(named)) {
      say('model_not_found', `The provided model '${named}' does not exist.`, 'body.model');
    } else if (named !== (model ??= named)) {
      const message = `The provided model '${named}' does not match the rest of the batch. Each batch must contain requests for a single model.`;
      say('mismatched_model', message, 'body.model');
    }
  }
  const whole = (code: string, message: string): Validated => ({
    errors: [{ code, message, param: null, line: null }],
    model: null,
    total,
  });
  if (blank) return whole('empty_file', 'The batch file is empty.');
  // resources/batches.d.ts: "restricted to a maximum of 50,000 embedding inputs across all requests".
  if (inputs > EMBEDDINGS_MAX) return whole('too_many_tasks', `More than ${EMBEDDINGS_MAX} embedding inputs.`);
  return { errors, model, total };
}

/** A line that was validated. */
export function asked_of(raw: Buffer, endpoint: string): Asked & { readonly custom_id: string } {
  const { custom_id, body } = JSON.parse(raw.toString('utf8')) as { custom_id: string; body: Asked['body'] };
  return { custom_id, endpoint, model: String(body['model']), body };
}

// Without leave to pass over a byte order mark or bytes that are not UTF-8.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function parse(raw: Buffer): Record<string, unknown> | undefined {
  try {
    const line: unknown = JSON.parse(utf8.decode(raw));
    return is_object(line) ? line : undefined;
  } catch {
    return undefined;
  }
}

/** At most 16 pairs; keys of at most 64 characters, values of at most 512. */
function metadata_of(value: unknown): Readonly<Record<string, string>> | null {
  if (value === undefined || value === null) return null;
  const wrong = (message: string): Refusal =>
    new Refusal(400, `Invalid 'metadata': ${message}`, 'metadata', 'invalid_value');
  if (!is_object(value)) throw wrong('expected an object.');
  const pairs = Object.entries(value);
  if (pairs.length > 16) throw wrong('too many properties. Expected at most 16.');
  for (const [key, text] of pairs) {
    if (key.length > 64) throw wrong('a key is longer than 64 characters.');
    if (typeof text !== 'string') throw wrong(`the value of '${key}' is not a string.`);
    if (text.length > 512) throw wrong(`the value of '${key}' is longer than 512 characters.`);
  }
  return value as Record<string, string>;
}

function value(got: string, param: string, known: readonly string[]): Refusal {
  const message = `Invalid value: '${got}'. Supported values are: ${known.map((name) => `'${name}'`).join(', ')}.`;
  return new Refusal(400, message, param, 'invalid_value');
}
