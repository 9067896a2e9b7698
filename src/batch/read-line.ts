// One line of a batch's input, looked at without being parsed: whose it is, what is asked, and where its body stands. Codes
// and wording are those that users of OpenAI's Batch API know.
import { readBoolean, readString, scanMember, scanObject, valueKind } from '../wire/body.ts';
import { GatewayError } from '../wire/errors.ts';
import type { Endpoint, Fields } from '../types.ts';

/** What a line asks. */
export interface Asked {
  readonly custom_id: string;
  /** `undefined`: the key's default. */
  readonly model: string | undefined;
  /** Where the request's body stands in the line. */
  readonly start: number;
  readonly end: number;
}

/** Why a line, and with it its batch, is refused. */
export class LineFault extends Error {
  override readonly name = 'LineFault';
  readonly code: string;
  readonly param: string | null;

  constructor(code: string, message: string, param: string | null = null) {
    super(message);
    this.code = code;
    this.param = param;
  }
}

const MEMBERS: readonly string[] = ['custom_id', 'method', 'url', 'body'];
const CUSTOM_ID_MAX = 512;

/** @throws LineFault */
export function readLine(line: Buffer, endpoint: Endpoint): Asked {
  const fields = scanned(() => scanObject(line, { once: MEMBERS }));
  for (const name of fields.members.keys()) {
    if (!MEMBERS.includes(name)) {
      throw new LineFault('unknown_parameter', `A line has only ${MEMBERS.join(', ')}.`);
    }
  }
  const custom_id = stringOf(line, fields, 'custom_id');
  if (custom_id === '' || custom_id.length > CUSTOM_ID_MAX) {
    throw new LineFault('invalid_value', `"custom_id" must have 1 to ${CUSTOM_ID_MAX} characters.`, 'custom_id');
  }
  // PostgreSQL's texts have no NUL, and half a character would come back as another one.
  if (custom_id.includes('\0') || !custom_id.isWellFormed()) {
    throw new LineFault('invalid_value', '"custom_id" must be well-formed text without NUL.', 'custom_id');
  }
  if (stringOf(line, fields, 'method') !== 'POST') {
    throw new LineFault('invalid_method', '"method" must be "POST".', 'method');
  }
  if (stringOf(line, fields, 'url') !== `/v1/${endpoint}`) {
    throw new LineFault('url_mismatch', `"url" must be the batch's endpoint, "/v1/${endpoint}".`, 'url');
  }
  const field = fields.members.get('body');
  if (field === undefined) throw missing('body');
  if (valueKind(line, field) !== 'object') {
    throw new LineFault('invalid_type', '"body" must be an object.', 'body');
  }
  const body = scanned(() => scanMember(line, field, { once: ['model', 'stream'] }));
  refuseStream(line, body);
  return {
    custom_id,
    model: modelOf(line, body),
    start: field.value_start,
    end: field.value_end,
  };
}

/** For a key without a default model. */
export function modelMissing(): LineFault {
  return missing('body.model');
}

function missing(name: string): LineFault {
  return new LineFault('missing_required_parameter', `"${name}" is required.`, name);
}

function stringOf(line: Buffer, { members }: Fields, name: string): string {
  const field = members.get(name);
  if (field === undefined) throw missing(name);
  const text = scanned(() => readString(line, field));
  if (text === undefined) throw new LineFault('invalid_type', `"${name}" must be a string.`, name);
  return text;
}

function modelOf(line: Buffer, { members }: Fields): string | undefined {
  const field = members.get('model');
  if (field === undefined) return undefined;
  const model = scanned(() => readString(line, field));
  if (model === undefined || model === '') {
    throw new LineFault('invalid_value', '"body.model" must be a non-empty string.', 'body.model');
  }
  return model;
}

function refuseStream(line: Buffer, { members }: Fields): void {
  const field = members.get('stream');
  if (field === undefined || readBoolean(line, field) === false || valueKind(line, field) === 'null') return;
  throw new LineFault('unsupported_parameter', 'A line cannot be streamed.', 'body.stream');
}

/** What the scan refuses is the line's fault: never with a piece of its text. */
function scanned<Value>(scan: () => Value): Value {
  try {
    return scan();
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    if (error.code === 'invalid_value') throw new LineFault('invalid_value', error.message, null);
    throw new LineFault('invalid_json_line', 'The line is not a JSON object.');
  }
}
