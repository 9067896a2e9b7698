// The Files and Batch API as functions: a request's values in, an object out. Whose it is decides what is there: another key's
// file or batch is not found, in whatever state it is.
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { faultOf } from './db/fault.ts';
import type { Books } from './books.ts';
import { full } from './fault.ts';
import { fileId } from './ids.ts';
import { batchObject, fileObject, listOf } from './object.ts';
import { ageOfSeconds, readAsked } from './ask.ts';
import { newBatch } from './new-batch.ts';
import { oneOf, pageOf, single, type Query } from './query.ts';
import type { Batch } from './records/batches.ts';
import type { StoredFile } from './records/files.ts';
import { receive } from './upload.ts';
import { GatewayError } from '../wire/errors.ts';
import type { Caller } from '../types.ts';

/** What a list has on a page. */
const PAGE = { files: { usual: 10_000, most: 10_000 }, batches: { usual: 20, most: 100 } } as const;
const STATUSES: readonly string[] = [
  'validating',
  'failed',
  'in_progress',
  'finalizing',
  'completed',
  'expired',
  'cancelling',
  'cancelled',
];

export class Desk {
  readonly #books: Books;
  readonly #idle_ms: () => number;
  readonly #poke: () => void;

  /** `body_idle_ms`: longest silence of an upload; `poke` tells that there is something to do. */
  constructor(books: Books, body_idle_ms: () => number, poke: () => void) {
    this.#books = books;
    this.#idle_ms = body_idle_ms;
    this.#poke = poke;
  }

  async upload(request: IncomingMessage, { key }: Caller, signal: AbortSignal): Promise<object> {
    const { contents, files, config } = this.#books;
    const { file_bytes_max, files_max, store_bytes_max, file_age_ms } = config();
    const held = await files.held(key);
    if (held.files >= files_max) throw tooMany(`This key has ${files_max} files, and no more are kept (files_max).`);
    if (held.bytes + Number(request.headers['content-length'] ?? 0) > store_bytes_max) throw full();
    const id = fileId();
    const limits = { file_bytes_max, body_idle_ms: this.#idle_ms() };
    const { filename, bytes, fields } = await receive(request, limits, signal, (source) => contents.write(id, source));
    try {
      const now = Date.now();
      const purpose = purposeOf(fields.get('purpose'));
      const age_ms = ageOf(fields.get('expires_after[anchor]'), fields.get('expires_after[seconds]')) ?? file_age_ms;
      const file = {
        id,
        owner: key,
        purpose,
        filename: nameOf(filename),
        bytes,
        created_at: now,
        expires_at: now + age_ms,
      };
      if (held.bytes + bytes > store_bytes_max) throw full();
      await files.add(file);
      return fileObject(file);
    } catch (error) {
      await contents.remove(id).catch(() => undefined);
      throw error;
    }
  }

  async file({ key }: Caller, id: string): Promise<object> {
    return fileObject(await this.#file(key, id));
  }

  async content({ key }: Caller, id: string): Promise<{ readonly body: Readable; readonly bytes: number }> {
    const { bytes } = await this.#file(key, id);
    return { body: Readable.from(wholeOf(this.#books.contents.read(id), bytes), { objectMode: false }), bytes };
  }

  async removeFile({ key }: Caller, id: string): Promise<object> {
    await this.#file(key, id);
    if (await this.#books.batches.needs(id)) {
      throw new GatewayError(
        'invalid_request',
        'The file is the input of a batch that has not ended: cancel it first.',
      );
    }
    await this.#books.files.remove(key, id);
    await this.#books.contents.remove(id);
    return { id, object: 'file', deleted: true };
  }

  async listFiles({ key }: Caller, query: Query): Promise<object> {
    const order = oneOf(query, 'order', ['asc', 'desc']) ?? 'desc';
    const purpose = single(query, 'purpose');
    const page = pageOf(query, PAGE.files);
    const { rows, has_more } = await this.#books.files.list(key, page, order as 'asc' | 'desc', purpose, Date.now());
    return listOf(
      rows.map(fileObject),
      rows.map(({ id }) => id),
      has_more,
    );
  }

  async create(request: IncomingMessage, { key }: Caller, signal: AbortSignal): Promise<object> {
    const { batches, config } = this.#books;
    const { asked, digest } = await readAsked(request, this.#idle_ms(), signal);
    const idempotency_key = idempotencyOf(request);
    const before = idempotency_key === null ? undefined : await batches.asked(key, idempotency_key);
    if (before !== undefined) return batchObject(sameAsked(before, digest));
    await this.#input(key, asked.input_file_id);
    const { batches_max } = config();
    if ((await batches.unfinished(key)) >= batches_max) {
      throw tooMany(`This key has ${batches_max} batches that have not ended (batches_max).`);
    }
    const batch = newBatch(key, asked, { idempotency_key, asked: digest }, Date.now());
    try {
      await batches.add(batch);
    } catch (error) {
      // Another request under the same key came first.
      if (idempotency_key === null || faultOf(error) !== 'unique') throw error;
      const first = await batches.asked(key, idempotency_key);
      if (first === undefined) throw error;
      return batchObject(sameAsked(first, digest));
    }
    this.#poke();
    return batchObject(batch);
  }

  async batch({ key }: Caller, id: string): Promise<object> {
    return batchObject(await this.#batch(key, id));
  }

  /** What the original service told: `GET /get-batch-status?batch_id=`. */
  async status(caller: Caller, query: Query): Promise<object> {
    const batch_id = single(query, 'batch_id');
    if (batch_id === undefined || batch_id === '') {
      throw new GatewayError('missing_required_parameter', 'The parameter "batch_id" is required.', {
        param: 'batch_id',
      });
    }
    const { status, total, completed, failed } = await this.#batch(caller.key, batch_id);
    return { batch_id, status, request_counts: { total, completed, failed } };
  }

  async listBatches(caller: Caller, query: Query): Promise<object> {
    const owner = ownerAsked(caller, query);
    const status = oneOf(query, 'status', STATUSES);
    const { rows, has_more } = await this.#books.batches.list(owner, pageOf(query, PAGE.batches), status);
    return listOf(
      rows.map((batch) => batchObject(batch, owner === undefined)),
      rows.map(({ id }) => id),
      has_more,
    );
  }

  /**
   * How many requests were collected, and how many calls of another's API that saved: each window is one batch there, however
   * many requests it has.
   */
  async report(caller: Caller, query: Query): Promise<object> {
    const sums = await this.#books.batches.sums(ownerAsked(caller, query));
    return {
      object: 'batch.report',
      since: sums.since === null ? null : Math.floor(sums.since / 1000),
      batches: sums.batches,
      requests: { completed: sums.completed, failed: sums.failed },
      tokens: { input: sums.tokens_in, output: sums.tokens_out },
      collected: { requests: sums.collected, windows: sums.windows },
      upstream: {
        requests: sums.upstream,
        windows: sums.upstream_windows,
        calls_saved: Math.max(0, sums.upstream - sums.upstream_windows),
      },
    };
  }

  async cancel({ key }: Caller, id: string): Promise<object> {
    const { batches } = this.#books;
    const batch = await this.#batch(key, id);
    const now = Date.now();
    const change = { status: 'cancelling', cancelling_at: now, ends_as: 'cancelled', open: 0 } as const;
    // One whose files are being written is as good as ended.
    if (!(await batches.turn(id, ['validating', 'in_progress'], change))) {
      const { status } = (await batches.one(key, id)) ?? batch;
      if (status === 'cancelling' || status === 'cancelled') return batchObject((await batches.one(key, id)) ?? batch);
      throw new GatewayError('invalid_request', `A batch that is ${status} cannot be cancelled.`);
    }
    this.#poke();
    return batchObject({ ...batch, ...change });
  }

  async #file(owner: string, id: string): Promise<StoredFile> {
    const file = await this.#books.files.one(owner, id, Date.now());
    if (file === undefined) throw noFile('id');
    return file;
  }

  async #input(owner: string, id: string): Promise<void> {
    const file = await this.#books.files.one(owner, id, Date.now());
    if (file === undefined) throw noFile('input_file_id');
    if (file.purpose === 'batch') return;
    const message = 'The file was not uploaded for batches: its purpose must be "batch".';
    throw new GatewayError('invalid_value', message, { param: 'input_file_id' });
  }

  async #batch(owner: string, id: string): Promise<Batch> {
    const batch = await this.#books.batches.one(owner, id);
    if (batch === undefined) {
      throw new GatewayError('batch_not_found', 'There is no such batch.', { param: 'batch_id' });
    }
    return batch;
  }
}

/** Whoever was promised so many bytes and gets fewer, as the file is removed meanwhile, is cut off: it would wait for the rest. */
async function* wholeOf(pieces: AsyncIterable<Buffer>, bytes: number): AsyncGenerator<Buffer> {
  let left = bytes;
  for await (const piece of pieces) {
    left -= piece.length;
    yield piece;
  }
  if (left !== 0) throw new Error('the file is shorter than it was');
}

/** `undefined`: every key's, which only the master key may ask. */
function ownerAsked({ key, admin }: Caller, query: Query): string | undefined {
  if (single(query, 'all') !== 'true') return key;
  if (!admin) throw new GatewayError('forbidden', 'Only the master key sees the batches of every key.');
  return undefined;
}

function idempotencyOf({ headers }: IncomingMessage): string | null {
  const key = headers['idempotency-key'];
  if (key === undefined || key === '') return null;
  if (typeof key === 'string' && key.length <= 255) return key;
  throw new GatewayError('invalid_value', 'The Idempotency-Key must have at most 255 characters.');
}

function sameAsked(batch: Batch, digest: string): Batch {
  if (batch.asked === digest) return batch;
  const message = 'This Idempotency-Key was used for another request.';
  throw new GatewayError('idempotency_conflict', message, { no_retry: true });
}

function noFile(param: string): GatewayError {
  return new GatewayError('file_not_found', 'There is no such file.', { param });
}

function tooMany(message: string): GatewayError {
  return new GatewayError('insufficient_storage', message, { cause: 'quota', no_retry: true });
}

function purposeOf(purpose: string | undefined): 'batch' {
  if (purpose === 'batch') return purpose;
  const message = 'The field "purpose" must be "batch": files are kept for batches only.';
  throw new GatewayError('invalid_value', message, { param: 'purpose' });
}

function ageOf(anchor: string | undefined, seconds: string | undefined): number | undefined {
  if (anchor === undefined && seconds === undefined) return undefined;
  if (anchor !== 'created_at') {
    const message = 'The field "expires_after[anchor]" must be "created_at".';
    throw new GatewayError('invalid_value', message, { param: 'expires_after' });
  }
  return ageOfSeconds(Number(seconds), 'expires_after');
}

/** A client's name for a file is told again and used for nothing else. */
function nameOf(filename: string): string {
  const plain = filename.toWellFormed().replaceAll(/[\p{Cc}\p{Cs}]/gu, '');
  return plain === '' ? 'file.jsonl' : plain.slice(0, 255);
}
