// A single request that is answered by a batch: it joins one, and its client is told the batch at once, or waits for its own
// answer, whatever happens to the batch.
import type { IncomingHttpHeaders } from 'node:http';
import type { Books } from './books.ts';
import { itemOf, type Collator, type Joined } from './collate.ts';
import { toldFault } from './fault.ts';
import { batchObject } from './object.ts';
import type { Line, Place } from './records/lines.ts';
import { readEnd, type LineEnd } from './result.ts';
import type { Waiting } from './waiting.ts';
import type { Reply } from '../edge/reply.ts';
import { removeMember, splice } from '../wire/body.ts';
import { GatewayError } from '../wire/errors.ts';
import { onOneLine } from '../wire/jsonl.ts';
import { isRecord, parseRecord } from '../wire/record.ts';
import { asStream } from '../wire/tell.ts';
import type { Call, Caller } from '../types.ts';

/** One request, as the line has read it. */
export interface Collectable {
  readonly id: string;
  readonly caller: Caller;
  readonly call: Call;
  readonly headers: IncomingHttpHeaders;
  readonly reply: Reply;
  readonly mode: 'batch-sync' | 'batch-async';
  /** The backend whose Batch API it goes to. */
  readonly upstream: string | undefined;
  /** Under this its answer is kept. */
  readonly answer: string | null;
}

/** Of a digest, for the key; as many again for what is asked under it. */
const NAME_CHARS = 32;

export class Collecting {
  readonly #books: Books;
  readonly #collator: Collator;
  readonly #waiting: Waiting;
  readonly #keep: (id: string, body: Buffer) => void;
  /** Under an Idempotency-Key, and not on disk yet. */
  readonly #joining = new Map<string, { readonly item: string; readonly joined: Promise<Joined> }>();

  /** `keep`: an answer that may be given again, before its client knows it: who asks the same next finds it. */
  constructor(books: Books, collator: Collator, waiting: Waiting, keep: (id: string, body: Buffer) => void) {
    this.#books = books;
    this.#collator = collator;
    this.#waiting = waiting;
    this.#keep = keep;
  }

  /**
   * Answers the request. A failure of its line is told with the line's own status; once spaces have been sent, by cutting the
   * connection: the client's next try is told the status. @throws GatewayError, or the signal's reason
   */
  async answer(request: Collectable): Promise<void> {
    const { reply, call, mode } = request;
    if (mode === 'batch-async' && call.streamed) {
      const message =
        'A batch answers later: it cannot be streamed. Leave "stream" out, or take x-lanyard-mode: batch-sync.';
      throw new GatewayError('unsupported_parameter', message, { param: 'stream' });
    }
    const joined = await this.#join(request);
    reply.headers['x-lanyard-batch'] = joined.batch;
    if (mode === 'batch-async') return await this.#tellBatch(joined, reply);
    if (call.streamed) reply.openStream();
    else reply.openPadded();
    await this.#tellAnswer(joined, request);
  }

  async #join(request: Collectable): Promise<Joined> {
    const { caller, call, headers } = request;
    const body = bodyOf(call);
    const asked = itemOf(caller.key, call.endpoint, call.model, body);
    const named = headers['idempotency-key'];
    try {
      if (typeof named === 'string' && named !== '') return await this.#joinNamed(request, body, asked, named);
      // As official SDKs say that this is another try: the line of the first one, unless its client has had its answer.
      const retried = Number(headers['x-stainless-retry-count'] ?? 0) > 0;
      const line = retried ? await this.#books.items.latest(asked, true) : undefined;
      return (line && (await this.#before(line))) ?? (await this.#joinAnew(request, body, asked));
    } catch (error) {
      throw toldFault(error);
    }
  }

  /** Asked twice under one key it is one, though both come at once; of other bytes it is a fault. */
  async #joinNamed(request: Collectable, body: Buffer, asked: string, named: string): Promise<Joined> {
    const name = itemOf(request.caller.key, 'idempotency', named).slice(0, NAME_CHARS);
    const item = name + asked.slice(0, NAME_CHARS);
    const join = async (): Promise<Joined> => {
      const line = await this.#books.items.named(name);
      if (line !== undefined && line.item !== item) throw conflict();
      return (line && (await this.#before(line))) ?? (await this.#joinAnew(request, body, item));
    };
    const other = this.#joining.get(name);
    if (other !== undefined) {
      if (other.item !== item) throw conflict();
      return await other.joined;
    }
    const joined = join().finally(() => this.#joining.delete(name));
    this.#joining.set(name, { item, joined });
    return await joined;
  }

  async #joinAnew(request: Collectable, body: Buffer, item: string): Promise<Joined> {
    const { caller, call, id, upstream, answer, mode } = request;
    return await this.#collator.join({
      owner: caller.key,
      endpoint: call.endpoint,
      model: call.model,
      upstream,
      custom_id: id,
      body,
      item,
      answer,
      waits: mode === 'batch-sync',
    });
  }

  async #before({ batch, n, custom_id }: Pick<Line, 'batch' | 'n' | 'custom_id'>): Promise<Joined | undefined> {
    const row = await this.#books.batches.any(batch);
    return row && { batch, n, custom_id, batch_row: row };
  }

  async #tellBatch({ batch, batch_row, custom_id }: Joined, reply: Reply): Promise<void> {
    const row = (await this.#books.batches.any(batch)) ?? batch_row;
    const told = { ...batchObject(row), custom_id };
    reply.whole(202, { 'content-type': 'application/json', location: `/v1/batches/${batch}` }, JSON.stringify(told));
    await reply.closed;
  }

  async #tellAnswer(place: Place, { reply, answer, call: { streamed } }: Collectable): Promise<void> {
    const text = this.#waiting.wait(place, reply.signal);
    // Another try may come after the line has ended.
    this.#waiting.lookAt(place).catch(() => undefined);
    const end = readEnd(await text);
    const failure = failureOf(end);
    if (failure === undefined && answer !== null && end.response !== undefined) this.#keep(answer, end.response.body);
    // The client's next try finds the line, as long as this one has not been told.
    const tells = failure === undefined || !reply.committed || streamed;
    const in_band = streamed && reply.committed;
    if (failure !== undefined && (in_band || end.response === undefined)) reply.fail(failure);
    else if (streamed && failure === undefined) reply.endStream(streamOf(end.response?.body ?? Buffer.alloc(0)));
    else reply.whole(end.response?.status ?? 502, { 'content-type': 'application/json' }, end.response?.body ?? '');
    await reply.closed;
    if (tells && !reply.gone) await this.#books.items.told([place]).catch(() => undefined);
    if (failure !== undefined) throw failure;
  }
}

/** The client's bytes on one line, without what asks for a stream. @throws GatewayError `invalid_json` */
function bodyOf({ body, fields }: Call): Buffer {
  try {
    // A line of a file that is not JSON would spoil the file for all others.
    JSON.parse(body.toString('utf8'));
  } catch {
    throw new GatewayError('invalid_json', 'The body is not valid JSON.');
  }
  const whole = ['stream', 'stream_options'].filter((name) => fields.members.has(name));
  return onOneLine(
    splice(
      body,
      whole.map((name) => removeMember(body, fields, name)),
    ),
  );
}

/** Undefined for an answer. */
function failureOf({ response, error }: LineEnd): GatewayError | undefined {
  if (error !== undefined) {
    if (error.code === 'batch_expired') return new GatewayError('batch_expired', error.message);
    if (error.code === 'batch_cancelled') return new GatewayError('batch_cancelled', error.message);
    return new GatewayError('upstream_error', error.message);
  }
  if (response === undefined || (response.status >= 200 && response.status < 300)) return undefined;
  const { error: told } = parseRecord(response.body.toString('utf8')) ?? {};
  const message = isRecord(told) && typeof told['message'] === 'string' ? told['message'] : 'The request failed.';
  return new GatewayError(response.status < 500 ? 'invalid_request' : 'upstream_error', message);
}

/** @throws GatewayError for an answer that is no chat */
function streamOf(body: Buffer): Buffer {
  const told = asStream(parseRecord(body.toString('utf8')) ?? {});
  if (told !== undefined) return told;
  throw new GatewayError('upstream_invalid', 'The answer cannot be told as a stream.', { cause: 'no event stream' });
}

function conflict(): GatewayError {
  const message = 'This Idempotency-Key was used for another request.';
  return new GatewayError('idempotency_conflict', message, { no_retry: true });
}
