// What a backend's refusal means to a client. Backends say no in at least six shapes; a client understands one, with a
// code it can act on. Nothing of a backend's text passes but what tells the caller what is wrong with their own call.

import { GatewayError } from './errors.ts';
import { overflowMessage } from './overflow.ts';
import type { TokenCounts } from './overflow.ts';
import { isRecord } from './record.ts';

/** What a backend said, whatever the shape it said it in. */
interface Refusal {
  /** Empty where nothing was said in words: no body, HTML. */
  readonly message: string;
  readonly code: string | undefined;
  readonly type: string | undefined;
  readonly param: string | undefined;
  readonly tokens?: TokenCounts;
}

interface About {
  /** What must not be told: the backend's key, its URL and its host. Of less than four characters it is no secret. */
  readonly secrets: readonly string[];
  /** The backend's Retry-After, where it is in seconds (no engine sends a date). */
  readonly retry_after?: string | undefined;
  /** Tokens the model has there, for a refusal that does not tell. */
  readonly context?: number | undefined;
}

/** A refusal longer than this is no refusal. */
const READ_BYTES_MAX = 1024 * 1024;
const MESSAGE_CHARS_MAX = 2000;
const LOADING_MS = 5000;
const OVERLOADED_MS = 2000;

/**
 * The meaning of an answer that is not a good one. `status` is the answer's; for an error that came without one of its
 * own (in a stream, or with 200) say 500, and an integer `code` in it is taken for the status, as vLLM and llama.cpp mean it.
 */
export function meaningOf(status: number, refusal: Refusal, { secrets, retry_after, context }: About): GatewayError {
  const told = ownStatus(status, refusal);
  const cause = `status ${told}`;
  // OVMS: 500 for a wrong key, since its table of statuses lacks 401.
  const unknown_key = told === 500 && /^unauthorized\b/i.test(refusal.message);
  if (told === 401 || told === 403 || told === 407 || unknown_key) {
    return new GatewayError(
      'upstream_auth',
      "The backend refused the gateway's own key for it; yours is not at fault.",
      {
        cause,
      },
    );
  }
  // OVMS: a full KV cache ends the request.
  const exhausted = told === 500 && /RESOURCE_EXHAUSTED/.test(refusal.message);
  if (told === 429 || told === 503 || told === 529 || exhausted) return busy(refusal, retry_after, cause);
  const overflow = overflowMessage(refusal.message, [refusal.type ?? '', refusal.code ?? ''], refusal.tokens, context);
  if (overflow !== undefined) {
    return new GatewayError('context_length_exceeded', overflow, { param: 'messages', cause: 'overflow' });
  }
  if (isUnknownModel(told, refusal)) {
    const message = 'The backend that serves this model does not have it, or has it not loaded.';
    return new GatewayError('model_not_found', message, { param: 'model', cause: 'unknown model' });
  }
  // LM Studio: "Failed to load model …" as 400 or 404, though no call can help it.
  if (/^failed to load model/i.test(refusal.message)) {
    return new GatewayError('upstream_error', 'The backend could not load the model.', { cause: 'load failed' });
  }
  // LM Studio answers any path it does not know with 200 (bug 618).
  if (told === 404 || told === 410 || /^unexpected endpoint or method/i.test(refusal.message)) {
    return new GatewayError('upstream_error', 'The backend has no such route.', { cause: 'no such route' });
  }
  if (told === 405 || told === 501) {
    return new GatewayError(
      'unsupported_endpoint',
      'The backend that serves this model does not support this endpoint.',
      {
        cause,
      },
    );
  }
  if (CALLERS_FAULT.has(told)) return invalidRequest(told, refusal, secrets);
  return new GatewayError('upstream_error', `The backend failed with status ${told}.`, { cause });
}

/**
 * 402, 408, 411, 414, 415, 421, 426 and 431 are not here: what they find fault with (the payment, the head, the media
 * type, the pace) is between gateway and backend.
 */
const CALLERS_FAULT: ReadonlySet<number> = new Set([400, 406, 409, 412, 413, 416, 418, 422, 423, 425, 428, 451]);

/** The same words for what is busy, whoever is, and a time to come back at. */
function busy(refusal: Refusal, retry_after: string | undefined, cause: string): GatewayError {
  const told_ms = /^\d{1,6}$/.test(retry_after?.trim() ?? '') ? Number(retry_after) * 1000 : undefined;
  // llama.cpp: 503 "Loading model", unavailable_error; OVMS: "Mediapipe graph is not yet loaded".
  if (
    /\bnot yet loaded\b|\bloading\b[^]{0,20}\bmodel|\bmodel\b[^]{0,40}\b(?:loading|being loaded)\b/i.test(
      refusal.message,
    )
  ) {
    const retry_ms = told_ms ?? LOADING_MS;
    return new GatewayError('model_loading', 'The model is being loaded. Try again soon.', {
      retry_ms,
      cause: 'loading',
    });
  }
  const retry_ms = told_ms ?? OVERLOADED_MS;
  return new GatewayError('server_is_overloaded', 'The backend is overloaded. Try again soon.', { retry_ms, cause });
}

function invalidRequest(status: number, refusal: Refusal, secrets: readonly string[]): GatewayError {
  const said = clean(refusal.message, secrets);
  const fallback =
    status === 413 ? 'The backend refused the request as too large.' : 'The backend refused the request.';
  const param = clean(refusal.param ?? '', secrets).slice(0, 200);
  return new GatewayError('invalid_request', said === '' ? fallback : said, {
    ...(param !== '' && { param }),
    cause: `status ${status}`,
  });
}

/** An error without a status of its own may carry one as its code. */
function ownStatus(status: number, { code }: Refusal): number {
  if (status >= 300 && status !== 500) return status;
  return code !== undefined && /^[45]\d\d$/.test(code) ? Number(code) : 500;
}

function isUnknownModel(status: number, { message, code, type, param }: Refusal): boolean {
  if (code === 'model_not_found' || type === 'model_not_found') return true;
  // vLLM, Ollama; OVMS: "Mediapipe graph … not found". A 404 that speaks of no model is a path's.
  if (status === 404) return param === 'model' || (/\b(?:model|graph)\b/i.test(message) && !/^failed/i.test(message));
  // Infinity: 400 "Invalid model: x"; llama.cpp's router with autoload off: 400 "model is not loaded"; LM Studio: "No
  // models loaded", at times with 200.
  return (
    (status === 400 || status === 422 || status === 500) &&
    /^(?:the )?(?:requested )?model\b[^]{0,300}\b(?:not found|does not exist|not loaded)|^invalid model\b|^no models loaded/i.test(
      message,
    )
  );
}

/** What may be told to the caller of an engine's own words. */
export function clean(text: string, secrets: readonly string[]): string {
  let told = text;
  // The longest first: a URL goes whole, not as what is left around its host.
  for (const secret of secrets.filter((each) => each.length >= 4).toSorted((a, b) => b.length - a.length)) {
    told = told.replaceAll(new RegExp(RegExp.escape(secret), 'gi'), '[…]');
  }
  return (
    told
      // Control characters, and those that turn the direction of writing.
      .replaceAll(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]+/gu, ' ')
      // OpenCode takes these two wordings for context overflow, and compacts the conversation.
      .replaceAll(/exceeds the limit of (?=\d)/gi, 'is above the limit of ')
      .replaceAll(/request entity too large/gi, 'request too large')
      .slice(0, MESSAGE_CHARS_MAX)
      .toWellFormed()
      .trim()
  );
}

// ---- reading ---------------------------------------------------------------------------------------------------

/** A refusal's body in any of the shapes known. Never throws. */
export function readRefusal(status: number, body: Buffer, contentType: string | undefined): Refusal {
  const text = body.length > READ_BYTES_MAX ? '' : body.toString('utf8').trim();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Plain words are axum's (TGI, TEI: 422) and Go's; a page is a proxy's, and says nothing its status does not.
    const page = /html|xml/i.test(contentType ?? '') || text.startsWith('<') || text.startsWith('{') || status < 400;
    return { ...NOTHING, message: page ? '' : text };
  }
  if (typeof value === 'string') return { ...NOTHING, message: value };
  return readShape(Array.isArray(value) ? value[0] : value);
}

const NOTHING: Refusal = { message: '', code: undefined, type: undefined, param: undefined };

function readShape(value: unknown): Refusal {
  if (!isRecord(value)) return NOTHING;
  const { error, detail } = value;
  // OpenAI, vLLM, llama.cpp, Ollama /v1.
  if (isRecord(error)) return readFlat(error);
  // Ollama, OVMS, LM Studio; TGI and TEI with `error_type`; vLLM's 401.
  if (typeof error === 'string') return { ...readFlat(value), message: error, type: word(value['error_type']) };
  // FastAPI: its own HTTPException, and pydantic's list.
  if (typeof detail === 'string') return { ...NOTHING, message: detail };
  if (isRecord(detail)) return readFlat(detail);
  if (Array.isArray(detail)) return readDetail(detail);
  // SGLang, TEI's OpenAI route.
  return readFlat(value);
}

function readFlat(object: Record<string, unknown>): Refusal {
  const { message, code, type, param, n_ctx, n_prompt_tokens } = object;
  const tokens = { limit: count(n_ctx), input: count(n_prompt_tokens) };
  return {
    message: Array.isArray(message)
      ? message.filter((each) => typeof each === 'string').join('; ')
      : (word(message) ?? ''),
    code: word(code),
    type: word(type),
    param: word(param),
    ...((tokens.limit !== undefined || tokens.input !== undefined) && { tokens }),
  };
}

/** `[{"loc":["body","messages",0,"role"],"msg":"…"}]`: only these two; pydantic's `input` quotes the call. */
function readDetail(detail: readonly unknown[]): Refusal {
  const faults = detail.filter(isRecord).map(({ loc, msg }) => ({
    at: Array.isArray(loc) ? loc.filter((step) => step !== 'body').join('.') : '',
    says: word(msg) ?? '',
  }));
  const message = faults.map(({ at, says }) => (at === '' ? says : `${at}: ${says}`)).join('; ');
  return { ...NOTHING, message, param: faults.find(({ at }) => at !== '')?.at };
}

/** Codes are strings to OpenAI's clients and integers to most engines. */
function word(value: unknown): string | undefined {
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : undefined;
}

function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}
