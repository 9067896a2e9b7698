// What `POST /v1/batches` asks: a small JSON object, read whole and checked field by field.
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { GatewayError } from '../wire/errors.ts';
import { isRecord } from '../wire/record.ts';
import type { Endpoint } from '../types.ts';

export interface AskedBatch {
  readonly input_file_id: string;
  readonly endpoint: Endpoint;
  readonly metadata: Readonly<Record<string, string>> | undefined;
  readonly output_age_ms: number | null;
}

const BYTES_MAX = 64 * 1024;
const ENDPOINTS: ReadonlyMap<unknown, Endpoint> = new Map([
  ['/v1/chat/completions', 'chat/completions'],
  ['/v1/completions', 'completions'],
  ['/v1/embeddings', 'embeddings'],
]);
const MEMBERS: readonly string[] = [
  'input_file_id',
  'endpoint',
  'completion_window',
  'metadata',
  'output_expires_after',
];
/** OpenAI's own bounds. */
const AGE_S = { least: 3600, most: 2_592_000 } as const;
const METADATA = { pairs: 16, key: 64, value: 512 } as const;

/** @throws GatewayError for what no batch can be made of; the signal's reason */
export async function readAsked(
  request: IncomingMessage,
  body_idle_ms: number,
  signal: AbortSignal,
): Promise<{ readonly asked: AskedBatch; readonly digest: string }> {
  if (!/^application\/json\s*(;|$)/i.test(request.headers['content-type'] ?? '')) {
    throw new GatewayError('unsupported_media_type', 'Send the body as Content-Type: application/json, in UTF-8.');
  }
  const body = await readSmall(request, body_idle_ms, signal);
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    throw new GatewayError('invalid_json', 'The body is not valid JSON.');
  }
  if (!isRecord(value)) throw new GatewayError('invalid_json', 'The body must be a JSON object.');
  return { asked: askedOf(value), digest: createHash('sha256').update(JSON.stringify(value)).digest('hex') };
}

function askedOf(value: Readonly<Record<string, unknown>>): AskedBatch {
  for (const name of Object.keys(value)) {
    if (!MEMBERS.includes(name)) {
      throw new GatewayError('unsupported_parameter', `A batch has only ${MEMBERS.join(', ')}.`);
    }
  }
  const { input_file_id, endpoint, completion_window, metadata, output_expires_after } = value;
  if (input_file_id === undefined) throw missing('input_file_id');
  if (typeof input_file_id !== 'string') throw wrong('input_file_id', 'must be a string');
  if (endpoint === undefined) throw missing('endpoint');
  const known = ENDPOINTS.get(endpoint);
  if (known === undefined) throw wrong('endpoint', `must be one of ${[...ENDPOINTS.keys()].join(', ')}`);
  if (completion_window === undefined) throw missing('completion_window');
  if (completion_window !== '24h') throw wrong('completion_window', 'must be "24h"');
  return {
    input_file_id,
    endpoint: known,
    metadata: metadataOf(metadata),
    output_age_ms: outputAgeOf(output_expires_after),
  };
}

function metadataOf(metadata: unknown): Readonly<Record<string, string>> | undefined {
  if (metadata === undefined || metadata === null) return undefined;
  const entries = isRecord(metadata) ? Object.entries(metadata) : [];
  const fits =
    isRecord(metadata) &&
    entries.length <= METADATA.pairs &&
    entries.every(
      ([key, text]) => key.length <= METADATA.key && typeof text === 'string' && text.length <= METADATA.value,
    );
  if (fits) return metadata as Record<string, string>;
  const { pairs, key, value } = METADATA;
  throw wrong(
    'metadata',
    `must be an object of at most ${pairs} texts, names up to ${key} and texts up to ${value} characters`,
  );
}

function outputAgeOf(asked: unknown): number | null {
  if (asked === undefined || asked === null) return null;
  if (!isRecord(asked) || asked['anchor'] !== 'created_at') {
    throw wrong('output_expires_after', 'must be an object with "anchor": "created_at" and "seconds"');
  }
  return ageOfSeconds(Number(asked['seconds']), 'output_expires_after');
}

/** Milliseconds. @throws GatewayError where it is not within OpenAI's bounds */
export function ageOfSeconds(seconds: number, param: string): number {
  if (Number.isInteger(seconds) && seconds >= AGE_S.least && seconds <= AGE_S.most) return seconds * 1000;
  const message = `"${param}.seconds" must be a whole number from ${AGE_S.least} to ${AGE_S.most}.`;
  throw new GatewayError('invalid_value', message, { param });
}

function missing(param: string): GatewayError {
  return new GatewayError('missing_required_parameter', `The field "${param}" is required.`, { param });
}

function wrong(param: string, what: string): GatewayError {
  return new GatewayError('invalid_value', `The field "${param}" ${what}.`, { param });
}

function readSmall(request: IncomingMessage, idle_ms: number, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let bytes = 0;
    const end = (error?: unknown): void => {
      clearTimeout(silence);
      signal.removeEventListener('abort', leave);
      request.off('data', take);
      if (error === undefined) resolve(Buffer.concat(parts));
      else reject(error);
    };
    const silence = setTimeout(() => {
      const message = `No byte of the request body arrived for ${idle_ms} ms (body_idle_ms).`;
      end(new GatewayError('request_timeout', message));
    }, idle_ms);
    const leave = (): void => end(signal.reason);
    const take = (part: Buffer): void => {
      silence.refresh();
      bytes += part.length;
      parts.push(part);
      if (bytes > BYTES_MAX) end(new GatewayError('request_too_large', `The body is larger than ${BYTES_MAX} bytes.`));
    };
    signal.addEventListener('abort', leave, { once: true });
    request.on('data', take);
    request.once('end', () => end());
    if (signal.aborted) leave();
  });
}
