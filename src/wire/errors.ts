// Every failure a caller can see: one code, one status, one type, in one table. The message is for the caller; the
// cause is for the log and is written in our own words, never a backend's or a caller's.

const CODES = {
  // The caller's request.
  invalid_json: [400, 'invalid_request_error'],
  invalid_value: [400, 'invalid_request_error'],
  missing_required_parameter: [400, 'invalid_request_error'],
  unsupported_parameter: [400, 'invalid_request_error'],
  unsupported_endpoint: [400, 'invalid_request_error'],
  context_length_exceeded: [400, 'invalid_request_error'],
  invalid_request: [400, 'invalid_request_error'],
  bad_request: [400, 'invalid_request_error'],
  invalid_api_key: [401, 'invalid_request_error'],
  forbidden: [403, 'permission_error'],
  model_not_found: [404, 'invalid_request_error'],
  unknown_url: [404, 'invalid_request_error'],
  file_not_found: [404, 'invalid_request_error'],
  batch_not_found: [404, 'invalid_request_error'],
  not_in_cache: [404, 'invalid_request_error'],
  method_not_allowed: [405, 'invalid_request_error'],
  request_timeout: [408, 'timeout_error'],
  idempotency_conflict: [409, 'invalid_request_error'],
  batch_cancelled: [409, 'invalid_request_error'],
  request_too_large: [413, 'invalid_request_error'],
  unsupported_media_type: [415, 'invalid_request_error'],
  headers_too_large: [431, 'invalid_request_error'],
  // The caller's limits.
  rate_limit_exceeded: [429, 'rate_limit_error'],
  parallel_limit_exceeded: [429, 'rate_limit_error'],
  too_many_failures: [429, 'rate_limit_error'],
  // Ours.
  internal_error: [500, 'server_error'],
  limits_unavailable: [503, 'server_error'],
  batches_unavailable: [503, 'server_error'],
  insufficient_storage: [507, 'server_error'],
  shutting_down: [503, 'server_error'],
  // The backend's.
  upstream_unreachable: [502, 'server_error'],
  upstream_reset: [502, 'server_error'],
  upstream_auth: [502, 'server_error'],
  upstream_error: [502, 'server_error'],
  upstream_invalid: [502, 'server_error'],
  upstream_stream_aborted: [502, 'server_error'],
  backend_unavailable: [503, 'server_error'],
  // Codex recognises exactly `server_is_overloaded`.
  server_is_overloaded: [503, 'server_error'],
  model_loading: [503, 'server_error'],
  upstream_timeout: [504, 'server_error'],
  batch_expired: [504, 'server_error'],
} as const satisfies Record<string, readonly [status: number, type: string]>;

export type ErrorCode = keyof typeof CODES;
export const ERROR_CODES = Object.keys(CODES) as readonly ErrorCode[];

interface Details {
  /** The request field that is wrong. */
  readonly param?: string;
  /** How long to wait before asking again; told rounded up, at most a minute. */
  readonly retry_ms?: number;
  /** Tells official SDKs not to repeat the request. Never on 429 or 503. */
  readonly no_retry?: boolean;
  /** For the log only: a short kind, in our words. */
  readonly cause?: string;
  /** Headers that go with the refusal, beside the retry ones. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** The one way to fail. Its code decides status and type. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError';
  readonly code: ErrorCode;
  readonly details: Details;

  constructor(code: ErrorCode, message: string, details: Details = {}) {
    super(message);
    this.code = code;
    this.details = details;
  }

  get status(): number {
    return CODES[this.code][0];
  }

  get type(): string {
    return CODES[this.code][1];
  }
}

/** The OpenAI error object as JSON. `error` stands first and without white space: go-openai matches those bytes. */
export function errorBody(error: GatewayError): string {
  return JSON.stringify({
    error: { message: error.message, type: error.type, param: error.details.param ?? null, code: error.code },
  });
}

/**
 * The headers that go with an error. openai-node 7.55 ignores a Retry-After over 60 s and then hammers, so it is capped;
 * both forms are sent because each SDK reads another one first.
 */
export function errorHeaders(error: GatewayError): Record<string, string> {
  const headers: Record<string, string> = { ...error.details.headers };
  const { retry_ms, no_retry } = error.details;
  if (retry_ms !== undefined) {
    const ms = Math.min(Math.max(Math.ceil(retry_ms), 1), 60_000);
    headers['retry-after'] = String(Math.ceil(ms / 1000));
    headers['retry-after-ms'] = String(ms);
  }
  if (error.status === 504 || no_retry === true) headers['x-should-retry'] = 'false';
  if (error.status === 401) headers['www-authenticate'] = 'Bearer';
  return headers;
}
