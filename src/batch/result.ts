// Lines of output and error files, as OpenAI's clients read them. An answer's bytes are the engine's own, put on one line.
import { lineId } from './ids.ts';
import type { Claimed, Result, Tokens } from './records/lines.ts';
import { findMembers } from '../wire/body.ts';
import { errorBody, type GatewayError } from '../wire/errors.ts';
import { onOneLine } from '../wire/jsonl.ts';
import { isRecord, parseRecord } from '../wire/record.ts';

type Of = Pick<Claimed, 'batch' | 'n' | 'custom_id'>;

/** `request_id`: of the request that had the answer. */
export function answered(line: Of, status: number, request_id: string, body: Buffer): Result {
  const head = `{"id":"${lineId()}","custom_id":${JSON.stringify(line.custom_id)},"response":`;
  const response = `{"status_code":${status},"request_id":${JSON.stringify(request_id)},"body":`;
  const text = Buffer.concat([Buffer.from(head + response), onOneLine(body), Buffer.from('},"error":null}')]);
  const ok = status >= 200 && status < 300;
  return { batch: line.batch, n: line.n, ok, text, tokens: ok ? tokensOf(body) : undefined };
}

/** Refused, by the gateway or by an engine, in words that are the gateway's own. */
export function refused(line: Of, request_id: string, error: GatewayError): Result {
  return answered(line, error.status, request_id, Buffer.from(errorBody(error)));
}

/** It never ran. */
export function unanswered({ batch, n, custom_id }: Of, code: string, message: string): Result {
  const text = { id: lineId(), custom_id, response: null, error: { code, message } };
  return { batch, n, ok: false, text: Buffer.from(JSON.stringify(text)) };
}

export const EXPIRED = {
  code: 'batch_expired',
  message: 'This request could not be executed before the completion window expired.',
} as const;

export const CANCELLED = {
  code: 'batch_cancelled',
  message: 'This batch was cancelled before the request ran.',
} as const;

/** What a line's end says, for a client that waited for it. */
export interface LineEnd {
  /** Absent where it never ran. */
  readonly response: { readonly status: number; readonly body: Buffer } | undefined;
  readonly error: { readonly code: string; readonly message: string } | undefined;
}

/** Of a line that is made here; an answer in it is not parsed, which may be large. */
export function readEnd(text: Buffer): LineEnd {
  const at = text.indexOf(RESPONSE) + RESPONSE.length;
  if (at >= RESPONSE.length) {
    const status = Number.parseInt(text.toString('latin1', at, at + 3), 10);
    return { response: { status, body: bodyOf(text) }, error: undefined };
  }
  const { error } = parseRecord(text.toString('utf8')) ?? {};
  const { code, message } = isRecord(error) ? error : {};
  return { response: undefined, error: { code: textOf(code), message: textOf(message) } };
}

/** The answer's bytes as they stand in a line that `answered` has made. No string has these bytes: its quotes are escaped. */
function bodyOf(text: Buffer): Buffer {
  const start = text.indexOf(BODY, text.indexOf(RESPONSE)) + BODY.length;
  return text.subarray(start, text.length - END.length);
}

const RESPONSE = Buffer.from('"response":{"status_code":');
const BODY = Buffer.from(',"body":');
const END = Buffer.from('},"error":null}');

function tokensOf(body: Buffer): Tokens | undefined {
  const usage = usageOf(body);
  if (!isRecord(usage)) return undefined;
  const { prompt_tokens, completion_tokens, prompt_tokens_details: had, completion_tokens_details: made } = usage;
  return {
    in: countOf(prompt_tokens),
    out: countOf(completion_tokens),
    cached: countOf(isRecord(had) ? had['cached_tokens'] : 0),
    reasoning: countOf(isRecord(made) ? made['reasoning_tokens'] : 0),
  };
}

/** A large answer is looked through and not parsed (as wire/sense.ts has it). */
function usageOf(body: Buffer): unknown {
  if (body.length <= PARSED_BYTES_MAX) return parseRecord(body.toString('utf8'))?.['usage'];
  try {
    const field = findMembers(body).members.get('usage');
    return field && parseRecord(body.toString('utf8', field.value_start, field.value_end));
  } catch {
    return undefined;
  }
}

const PARSED_BYTES_MAX = 16 * 1024;
/** More than any answer has: a batch's sum of them is still exact, whatever an engine says. */
const TOKENS_MAX = 1e10;

function countOf(value: unknown): number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 && value <= TOKENS_MAX ? value : 0;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
