// One request to another's Batch API: its own connection, every wait bounded, nothing followed, and nothing told of what went
// over it but a kind and a status. What the service says of a refusal is kept for the caller's message, cleaned.
import http from 'node:http';
import https from 'node:https';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { FaultKind, Service } from './means.ts';
import { GatewayError } from '../../wire/errors.ts';
import { isRecord, parseRecord, type Json } from '../../wire/record.ts';
import { clean } from '../../wire/refusals.ts';

export class ApiFault extends Error {
  override readonly name = 'ApiFault';
  readonly kind: FaultKind;
  /** 0 where there was no answer. */
  readonly status: number;
  /** What the service asks to wait. */
  readonly retry_ms: number | undefined;
  /** The service's own code, where it has one. */
  readonly said: string | undefined;
  /** For a caller. */
  readonly told: GatewayError;

  constructor(kind: FaultKind, told: GatewayError, status = 0, retry_ms?: number, said?: string) {
    super(`${kind} ${status}`);
    this.kind = kind;
    this.told = told;
    this.status = status;
    this.retry_ms = retry_ms;
    this.said = said;
  }
}

export interface ApiAsk {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Behind the service's base. */
  readonly path: string;
  readonly body?: { readonly type: string; readonly bytes: number; readonly source: AsyncIterable<Buffer> } | undefined;
  readonly signal: AbortSignal;
  /** Longest silence, in either direction. */
  readonly idle_ms: number;
}

/**
 * A larger body is announced first (RFC 9110 §10.1.1): who refuses it, or the key, may close the connection with its answer, and
 * that answer would be lost among what was being sent. Not everybody says that it may come.
 */
const LARGE_BYTES = 1 << 20;
const CONTINUE_MS = 1_000;
/** A list's page, or a batch with all its errors. */
const JSON_BYTES_MAX = 8 << 20;
/** A refusal's words. */
const REFUSAL_BYTES_MAX = 64 << 10;
const RETRY_MS_MAX = 600_000;

/** @throws ApiFault; the signal's reason */
export async function askJson(service: Service, ask: ApiAsk): Promise<Json> {
  const answer = await askApi(service, ask);
  const value = parseRecord((await bytesOf(answer, JSON_BYTES_MAX, ask.signal)).toString('utf8'));
  answer.destroy();
  if (value === undefined) throw invalid();
  return value;
}

/** A good answer, whose body is still to come. @throws ApiFault; the signal's reason */
export async function askApi(service: Service, ask: ApiAsk): Promise<http.IncomingMessage> {
  const answer = await begin(service, ask);
  const { statusCode: status = 0 } = answer;
  if (status >= 200 && status < 300) return answer;
  const body = await bytesOf(answer, REFUSAL_BYTES_MAX, ask.signal).catch(() => Buffer.alloc(0));
  // Where it came before the request's end, that is not sent any more.
  answer.destroy();
  ask.signal.throwIfAborted();
  throw refusalOf(status, body, answer.headers['retry-after'], service.secrets);
}

/** The body, piece by piece. @throws ApiFault when it breaks off */
export async function* piecesOf(answer: http.IncomingMessage, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    for await (const piece of answer) yield piece as Buffer;
  } catch {
    signal.throwIfAborted();
    throw unreachable();
  }
}

async function begin(service: Service, { method, path, body, signal, idle_ms }: ApiAsk): Promise<http.IncomingMessage> {
  signal.throwIfAborted();
  const url = new URL(`${service.url}${path}`);
  const secure = url.protocol === 'https:';
  const headers: Record<string, string | number> = {
    accept: 'application/json',
    'accept-encoding': 'identity',
    'user-agent': 'lanyard',
  };
  if (service.key !== undefined) headers['authorization'] = `Bearer ${service.key}`;
  if (body !== undefined) {
    headers['content-type'] = body.type;
    headers['content-length'] = body.bytes;
    if (body.bytes > LARGE_BYTES) headers['expect'] = '100-continue';
  } else if (method === 'POST') headers['content-length'] = 0;
  const { ca, verify = true } = service.tls ?? {};
  // A connection of its own: some seconds lie between two requests, and a kept one that the service has closed meanwhile would
  // look like a lost answer.
  const options = { method, headers, signal, agent: false } as const;
  const request = secure
    ? https.request(url, { ...options, rejectUnauthorized: verify, ...(ca !== undefined && { ca }) })
    : http.request(url, options);
  const stop = (): void => void request.destroy();
  const connecting = setTimeout(stop, service.connect_ms);
  request.once('socket', (socket) => {
    socket.once(secure ? 'secureConnect' : 'connect', () => clearTimeout(connecting));
  });
  request.setTimeout(idle_ms, stop);
  try {
    return await new Promise<http.IncomingMessage>((resolve, reject) => {
      request.once('response', resolve);
      request.on('error', reject);
      request.once('close', () => reject(new Error('closed')));
      if (body === undefined) return void request.end();
      // What goes wrong with it is the request's error, unless the answer came first.
      const send = (): void => void pipeline(Readable.from(body.source, { objectMode: false }), request).catch(reject);
      if (headers['expect'] === undefined) return send();
      const go = once(send);
      const waiting = setTimeout(go, CONTINUE_MS);
      request.once('continue', go);
      for (const event of ['continue', 'response', 'close']) request.once(event, () => clearTimeout(waiting));
    });
  } catch {
    signal.throwIfAborted();
    throw unreachable();
  } finally {
    clearTimeout(connecting);
  }
}

function once(work: () => void): () => void {
  let done = false;
  return () => {
    if (!done) work();
    done = true;
  };
}

async function bytesOf(answer: http.IncomingMessage, most: number, signal: AbortSignal): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of piecesOf(answer, signal)) {
    bytes += piece.length;
    if (bytes > most) throw invalid();
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function refusalOf(
  status: number,
  body: Buffer,
  retry_after: string | undefined,
  secrets: readonly string[],
): ApiFault {
  const { error } = parseRecord(body.toString('utf8')) ?? {};
  const { code, message } = isRecord(error) ? error : {};
  const said = typeof code === 'string' ? code : undefined;
  if (status === 401 || status === 403 || status === 407) {
    const words = "The backend refused the gateway's own key for it; yours is not at fault.";
    return new ApiFault('auth', new GatewayError('upstream_auth', words, { cause: `status ${status}` }), status);
  }
  const busy = status >= 500 || LATER.has(status) || said === 'token_limit_exceeded';
  if (busy) {
    const told = new GatewayError('upstream_error', `The backend's Batch API failed with status ${status}.`);
    return new ApiFault('busy', told, status, retryOf(retry_after), said);
  }
  const words = typeof message === 'string' ? clean(message, secrets) : '';
  const why = words === '' ? `with status ${status}` : `it: ${words}`;
  const told = new GatewayError('upstream_error', `The backend's Batch API refused ${why}`);
  return new ApiFault('refused', told, status, undefined, said);
}

/** Request timeout, conflict, too early, too many. */
const LATER: ReadonlySet<number> = new Set([408, 409, 425, 429]);

/** RFC 9110 §10.2.3: seconds, or a date. */
function retryOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return ms > 0 ? Math.min(ms, RETRY_MS_MAX) : undefined;
}

export function unreachable(): ApiFault {
  const told = new GatewayError('upstream_unreachable', "The backend's Batch API cannot be reached now.");
  return new ApiFault('unreachable', told);
}

export function invalid(): ApiFault {
  const told = new GatewayError('upstream_invalid', "The backend's Batch API sent an answer that is none.");
  return new ApiFault('invalid', told);
}
