// OpenAI's Files and Batch API, as far as it is used here: each function is one request, or the pages of one list. Of what comes
// only what is needed is read, and nothing of it is taken for granted.
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { ApiFault, askApi, askJson, invalid, piecesOf, type ApiAsk } from './http.ts';
import type { Service } from './means.ts';
import type { Endpoint } from '../../types.ts';
import { isRecord, type Json } from '../../wire/record.ts';

/** A batch as the service tells it. */
export interface Seen {
  readonly id: string;
  readonly status: string;
  /** `undefined` for null, and for the empty text that some say instead. */
  readonly output: string | undefined;
  readonly error: string | undefined;
  readonly faults: readonly SeenFault[];
}

export interface SeenFault {
  readonly code: string;
  readonly message: string;
  readonly param: string | null;
  /** From 1. */
  readonly line: number | null;
}

export interface BatchApi {
  /** The file's id. */
  upload(path: string, bytes: number, filename: string): Promise<string>;
  /** One that was uploaded under this name since. */
  findFile(filename: string, since: number): Promise<{ readonly id: string; readonly bytes: number } | undefined>;
  create(file: string, endpoint: Endpoint, shard: string): Promise<Seen>;
  /** One that was created for this shard since. */
  findBatch(shard: string, since: number): Promise<Seen | undefined>;
  poll(batch: string): Promise<Seen>;
  cancel(batch: string): Promise<void>;
  content(file: string): Promise<AsyncIterable<Buffer>>;
  remove(file: string): Promise<void>;
}

const PAGES_MAX = 100;
/** Clocks differ: a list is read so much further back than it need be. */
const BACK_MS = 86_400_000;
const FAULTS_MAX = 100_000;

/** A service is silent no longer. */
export const SILENT_MS = 60_000;
/** It thinks about a large file for a while: so many bytes of it a millisecond. */
const THINKS = 2_000;

/** Every function throws ApiFault, or the signal's reason. `silent_ms`: longest silence of the service. */
export function openApi(service: Service, signal: AbortSignal, silent_ms = SILENT_MS): BatchApi {
  const json = (method: ApiAsk['method'], path: string, body?: ApiAsk['body']): Promise<Json> => {
    const idle_ms = Math.min(SILENT_MS, silent_ms + Math.ceil((body?.bytes ?? 0) / THINKS));
    return askJson(service, { method, path, body, signal, idle_ms });
  };

  /** Newest first, until one is found, or too old. */
  async function find<Found>(
    path: string,
    limit: number,
    since: number,
    look: (one: Json) => Found | undefined,
  ): Promise<Found | undefined> {
    let after = '';
    for (let page = 0; page < PAGES_MAX; page += 1) {
      const query = `${path.includes('?') ? '&' : '?'}limit=${limit}${after}`;
      const { data, has_more } = await json('GET', `${path}${query}`);
      if (!Array.isArray(data)) throw invalid();
      let oldest = Infinity;
      let last: unknown;
      for (const one of data.filter(isRecord)) {
        const found = look(one);
        if (found !== undefined) return found;
        last = one['id'];
        if (typeof one['created_at'] === 'number') oldest = Math.min(oldest, one['created_at'] * 1000);
      }
      if (has_more !== true || typeof last !== 'string' || oldest < since - BACK_MS) return undefined;
      after = `&after=${encodeURIComponent(last)}`;
    }
    return undefined;
  }

  return {
    async upload(path, bytes, filename) {
      const boundary = `lanyard-${randomBytes(24).toString('hex')}`;
      const head = Buffer.from(
        `--${boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n` +
          `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="${filename}"\r\n` +
          'content-type: application/jsonl\r\n\r\n',
      );
      const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
      const told = await json('POST', '/files', {
        type: `multipart/form-data; boundary=${boundary}`,
        bytes: head.length + bytes + tail.length,
        source: around(head, path, tail),
      });
      return idOf(told);
    },
    findFile: (filename, since) =>
      find('/files?purpose=batch&order=desc', 1000, since, (one) =>
        one['filename'] === filename
          ? { id: idOf(one), bytes: typeof one['bytes'] === 'number' ? one['bytes'] : -1 }
          : undefined,
      ),
    async create(input_file_id, endpoint, lanyard) {
      const order = { input_file_id, endpoint: `/v1/${endpoint}`, completion_window: '24h', metadata: { lanyard } };
      return seenOf(await json('POST', '/batches', jsonBody(order)));
    },
    findBatch: (shard, since) =>
      find('/batches', 100, since, (one) =>
        isRecord(one['metadata']) && one['metadata']['lanyard'] === shard ? seenOf(one) : undefined,
      ),
    poll: async (batch) => seenOf(await json('GET', `/batches/${encodeURIComponent(batch)}`)),
    async cancel(batch) {
      try {
        await json('POST', `/batches/${encodeURIComponent(batch)}/cancel`);
      } catch (error) {
        // It has ended meanwhile, or is gone: the next poll tells.
        if (!(error instanceof ApiFault && (error.kind === 'refused' || error.status === 409))) throw error;
      }
    },
    content: async (file) =>
      piecesOf(
        await askApi(service, { method: 'GET', path: `${fileAt(file)}/content`, signal, idle_ms: silent_ms }),
        signal,
      ),
    async remove(file) {
      try {
        await json('DELETE', fileAt(file));
      } catch (error) {
        if (!(error instanceof ApiFault && error.status === 404)) throw error;
      }
    },
  };
}

async function* around(head: Buffer, path: string, tail: Buffer): AsyncGenerator<Buffer> {
  yield head;
  for await (const piece of createReadStream(path, { highWaterMark: 256 << 10 })) yield piece as Buffer;
  yield tail;
}

function jsonBody(value: object): NonNullable<ApiAsk['body']> {
  const text = Buffer.from(JSON.stringify(value));
  return {
    type: 'application/json',
    bytes: text.length,
    source: (async function* once() {
      yield text;
    })(),
  };
}

function seenOf(one: Json): Seen {
  const { status, errors, output_file_id, error_file_id } = one;
  if (typeof status !== 'string') throw invalid();
  const data = isRecord(errors) && Array.isArray(errors['data']) ? errors['data'].filter(isRecord) : [];
  return {
    id: idOf(one),
    status,
    output: textOf(output_file_id),
    error: textOf(error_file_id),
    faults: data.slice(0, FAULTS_MAX).map(({ code, message, param, line }) => ({
      code: textOf(code)?.slice(0, 100) ?? 'invalid_request',
      message: textOf(message) ?? '',
      param: textOf(param)?.slice(0, 200) ?? null,
      line: typeof line === 'number' && Number.isSafeInteger(line) && line > 0 ? line : null,
    })),
  };
}

function idOf({ id }: Json): string {
  if (typeof id !== 'string' || id === '' || id.length > 500) throw invalid();
  return id;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function fileAt(file: string): string {
  return `/files/${encodeURIComponent(file)}`;
}
