// Errors in OpenAI's form.
import { is_object } from './shapes.ts';

export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

export class Refusal extends Error {
  readonly status: number;
  readonly body: ErrorBody;

  constructor(status: number, message: string, param: string | null = null, code: string | null = null) {
    super(message);
    this.status = status;
    this.body = error_body(message, param, code);
  }
}

export function error_body(
  message: string,
  param: string | null = null,
  code: string | null = null,
  type = 'invalid_request_error',
): ErrorBody {
  return { error: { message, type, param, code } };
}

/** A JSON object's members, and no others. */
export function only(value: unknown, known: readonly string[], at = ''): Record<string, unknown> {
  if (!is_object(value)) {
    throw new Refusal(400, `Invalid type for '${at}': expected an object.`, at === '' ? null : at, 'invalid_type');
  }
  for (const name of Object.keys(value)) {
    const param = at === '' ? name : `${at}.${name}`;
    if (!known.includes(name)) throw new Refusal(400, `Unknown parameter: '${param}'.`, param, 'unknown_parameter');
  }
  return value;
}

export function text(from: Readonly<Record<string, unknown>>, param: string): string {
  const value = from[param];
  if (value === undefined) {
    throw new Refusal(400, `Missing required parameter: '${param}'.`, param, 'missing_required_parameter');
  }
  if (typeof value === 'string') return value;
  throw new Refusal(400, `Invalid type for '${param}': expected a string.`, param, 'invalid_type');
}

/** `created_at` and a number of seconds between an hour and thirty days. */
export function lifetime(anchor: unknown, seconds: unknown, param: string): number {
  if (anchor !== 'created_at') {
    throw new Refusal(
      400,
      `Invalid value: '${param}.anchor' must be 'created_at'.`,
      `${param}.anchor`,
      'invalid_value',
    );
  }
  if (typeof seconds !== 'number' || !Number.isInteger(seconds) || seconds < 3600 || seconds > 2_592_000) {
    const message = `Invalid '${param}.seconds': expected an integer between 3600 and 2592000.`;
    throw new Refusal(400, message, `${param}.seconds`, 'invalid_value');
  }
  return seconds;
}
