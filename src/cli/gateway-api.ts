// The gateway's Files and Batch API as a caller on the network uses it, with `fetch`: for the commands that stand in front of
// it. What went wrong is an `ApiFault`, in words for people; the key is in no word of it.
import { CannotRead } from './batch/files.ts';
import { readBatch, type Batch } from './batch/record.ts';
import { silence } from './batch/silence.ts';
import { clean } from './batch/text.ts';
import { upload, type Upload } from './batch/upload.ts';
import { VERSION } from './version.ts';
import { inWords, Unanswered } from '../doctor/ask.ts';
import { isRecord, parseRecord } from '../wire/record.ts';

/** The longest wait for an answer. */
const ANSWER_MS = 30_000;
/** The longest silence within a file. */
const SILENCE_MS = 60_000;

export interface Gateway {
  /** Without `/v1` or a slash at its end. */
  readonly url: string;
  readonly key: string | undefined;
}

export class ApiFault extends Error {
  override readonly name = 'ApiFault';
  /** The gateway's own code, or the system's where no answer came. */
  readonly code: string;
  /** Of HTTP; undefined where no answer came. */
  readonly status: number | undefined;
  readonly retry_after_ms: number | undefined;

  constructor(message: string, code: string, status?: number, retry_after_ms?: number) {
    super(message);
    this.code = code;
    this.status = status;
    this.retry_after_ms = retry_after_ms;
  }

  /** May the same question be answered later? A gateway that is started again, or busy, is no verdict. */
  get passing(): boolean {
    return this.status === undefined || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

interface Page {
  readonly batches: readonly Batch[];
  readonly more: boolean;
}

export interface GatewayApi {
  readonly gateway: Gateway;
  batch(id: string, signal?: AbortSignal): Promise<Batch>;
  /** Newest first, after the batch `after`. */
  page(query: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Page>;
  create(wanted: object): Promise<Batch>;
  cancel(id: string): Promise<Batch>;
  /** What its batches add up to, as the gateway tells it; `all`: of every key. */
  report(all: boolean): Promise<Record<string, unknown>>;
  /** @returns the file's id. @throws CannotRead too, where the file itself is not to be had */
  upload(file: Upload, sent: (bytes: number) => void): Promise<string>;
  remove(file_id: string): Promise<void>;
  /** A file's bytes as they come. */
  content(file_id: string): AsyncGenerator<Uint8Array>;
}

/** Every method throws ApiFault, or the reason of the signal it was given. */
export function openApi(gateway: Gateway): GatewayApi {
  const own = { 'user-agent': `lanyard/${VERSION}` };
  const headers = gateway.key === undefined ? own : { ...own, authorization: `Bearer ${gateway.key}` };
  const welcome = async (answer: Response): Promise<Response> => {
    if (!answer.ok) throw await refusal(answer, gateway.url);
    return answer;
  };
  const send = async (path: string, init: RequestInit, signal: AbortSignal): Promise<Response> => {
    const all = { ...headers, ...(init.headers as Record<string, string> | undefined) };
    // A redirect is told, not followed: the key is for this address.
    return welcome(await fetch(`${gateway.url}/v1${path}`, { ...init, headers: all, signal, redirect: 'manual' }));
  };
  const ask = async (path: string, init: RequestInit = {}, stop?: AbortSignal): Promise<unknown> => {
    const times = [AbortSignal.timeout(ANSWER_MS), ...(stop === undefined ? [] : [stop])];
    try {
      const answer = await send(path, init, AbortSignal.any(times));
      return parseRecord(await answer.text());
    } catch (error) {
      stop?.throwIfAborted();
      throw faultOf(error, gateway.url);
    }
  };
  const batchOf = (value: unknown): Batch => readBatch(value) ?? strange(gateway.url);
  const post = (path: string, body?: object): Promise<unknown> =>
    ask(path, {
      method: 'POST',
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
  return {
    gateway,
    batch: async (id, signal) => batchOf(await ask(`/batches/${encodeURIComponent(id)}`, {}, signal)),
    async page(query, signal) {
      const told = await ask(`/batches?${new URLSearchParams(query).toString()}`, {}, signal);
      if (!isRecord(told) || !Array.isArray(told['data'])) return strange(gateway.url);
      return { batches: told['data'].map(batchOf), more: told['has_more'] === true };
    },
    create: async (wanted) => batchOf(await post('/batches', wanted)),
    cancel: async (id) => batchOf(await post(`/batches/${encodeURIComponent(id)}/cancel`)),
    async report(all) {
      const told = await ask(`/get-batch-report${all ? '?all=true' : ''}`);
      return isRecord(told) ? told : strange(gateway.url);
    },
    async remove(file_id) {
      await ask(`/files/${encodeURIComponent(file_id)}`, { method: 'DELETE' });
    },
    async upload(file, sent) {
      try {
        const answer = await welcome(await upload(new URL(`${gateway.url}/v1/files`), headers, file, sent));
        const told = parseRecord(await answer.text());
        return typeof told?.['id'] === 'string' ? told['id'] : strange(gateway.url);
      } catch (error) {
        if (error instanceof CannotRead) throw error;
        const fault = faultOf(error, gateway.url);
        if (fault.code !== 'EPIPE' && fault.code !== 'ECONNRESET') throw fault;
        throw new ApiFault(`${gateway.url} hung up while the file was sent; it may be too large for it`, fault.code);
      }
    },
    async *content(file_id) {
      using watch = silence();
      let begun = false;
      try {
        watch.within(ANSWER_MS);
        const path = `/files/${encodeURIComponent(file_id)}/content`;
        const { body } = await send(path, { headers: { accept: 'application/binary' } }, watch.signal);
        begun = true;
        watch.within(SILENCE_MS);
        for await (const piece of body ?? []) {
          // However long the reader takes, that is not the gateway's silence.
          watch.rest();
          yield piece;
          watch.within(SILENCE_MS);
        }
      } catch (error) {
        const fault = faultOf(error, gateway.url);
        throw begun ? new ApiFault(`${gateway.url}: the file broke off`, fault.code) : fault;
      }
    },
  };
}

/** All batches that a query finds, page by page, and whether there are more than `limit`. */
export async function listBatches(
  api: GatewayApi,
  { limit, ...query }: { readonly limit: number; readonly status?: string; readonly all?: 'true' },
  signal?: AbortSignal,
): Promise<Page> {
  const found = new Map<string, Batch>();
  for (let after: string | undefined; ;) {
    const wanted = String(Math.min(PAGE_MAX, limit - found.size));
    const page = await api.page({ ...query, limit: wanted, ...(after === undefined ? {} : { after }) }, signal);
    const before = found.size;
    for (const batch of page.batches) if (found.size < limit) found.set(batch.id, batch);
    after = page.batches.at(-1)?.id;
    // A page that brings nothing new would be asked for for ever.
    const over = !page.more || found.size >= limit || found.size === before;
    if (over) return { batches: [...found.values()], more: page.more };
  }
}

/** OpenAI's own. */
const PAGE_MAX = 100;

async function refusal(answer: Response, url: string): Promise<ApiFault> {
  const { status, headers } = answer;
  const text = await answer.text();
  const where = URL.parse(headers.get('location') ?? '', url);
  if (status >= 300 && status < 400 && where !== null) {
    return new ApiFault(`${url} only points to ${where.origin}; give that with --url`, `http_${status}`, status);
  }
  const error = parseRecord(text)?.['error'];
  const { message, code } = isRecord(error) ? error : {};
  // Whole seconds (RFC 9110 §10.2.3), and finer where Lanyard says so.
  const [ms, seconds] = [headers.get('retry-after-ms') ?? '', headers.get('retry-after') ?? ''];
  const wait = /^\d{1,9}$/.test(ms) ? Number(ms) : /^\d{1,6}$/.test(seconds) ? Number(seconds) * 1000 : undefined;
  return new ApiFault(
    typeof message === 'string' && message !== ''
      ? clean(message)
      : `${url} answers with status ${status} and not as a Lanyard does`,
    typeof code === 'string' && code !== '' ? clean(code) : `http_${status}`,
    status,
    wait,
  );
}

function strange(url: string): never {
  throw new ApiFault(`${url} does not answer as a Lanyard with batches does`, 'strange_answer', 200);
}

/** By code alone: fetch's messages may quote what it was given. */
function faultOf(error: unknown, url: string): ApiFault {
  if (error instanceof ApiFault) return error;
  const code = codeOf(error);
  const words = inWords(new Unanswered(code)).replace(` (${code})`, '');
  return new ApiFault(`${url}: ${words}`, code);
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'UNKNOWN';
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return 'TIMEOUT';
  if ('code' in error && typeof error.code === 'string') return error.code;
  // fetch has a list of ports it never calls (https://fetch.spec.whatwg.org/#port-blocking), and gives no code.
  if (error.message === 'bad port') return 'BLOCKED_PORT';
  return codeOf(error.cause);
}
