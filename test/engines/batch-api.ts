// OpenAI's Files and Batch API on a real port, as strict as the original and more: whatever a gateway may not rely on is
// refused, and results come in another order than the requests. A batch goes on by being polled, never by the clock, and
// a test decides what fails and when.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { open_batches } from './batch-api/batches.ts';
import { open_files } from './batch-api/files.ts';
import { error_body, Refusal } from './batch-api/refusal.ts';
import { act, type Api, find, ROUTES } from './batch-api/routes.ts';
import { tell, until } from './batch-api/tell.ts';
import type { Answer, Batch, Direct, Fault, Passing, Route, Upload, Verdict } from './batch-api/shapes.ts';

export type { Batch, Route, Verdict } from './batch-api/shapes.ts';
export { token_limit_exceeded } from './batch-api/shapes.ts';

export interface BatchApiOptions {
  /** What callers must send. */
  readonly key?: string;
  /** 0, for any. */
  readonly port?: number;
  readonly models?: readonly string[];
  /** OpenAI's is 200 MB, which are taken for 200,000,000 as the stricter reading. */
  readonly file_bytes_max?: number;
  /** OpenAI's is 50,000. */
  readonly lines_max?: number;
  /** How many polls each state is seen by; one unless told. */
  readonly steps?: Partial<Record<Passing, number>>;
  /** Of the order of the results. */
  readonly seed?: number;
  /** The id of a file that is not there is '' and not null. */
  readonly empty_ids?: boolean;
  readonly answer?: Answer;
}

/** What a test knows of a batch. */
interface BatchRecord {
  readonly id: string;
  readonly endpoint: string;
  readonly metadata: Readonly<Record<string, string>> | null;
  readonly input_file_id: string;
  readonly line_count: number;
  /** Of the first line, whether it was validated or not. */
  readonly model: string | undefined;
  /** As it is now, which is no poll. */
  readonly batch: Batch;
  /** `performance.now()` of its creation. */
  readonly at: number;
}

export interface BatchApi {
  /** http://127.0.0.1:port, no path. */
  readonly url: string;
  readonly port: number;
  /** Accepted uploads, in order, deleted ones too. */
  readonly uploads: readonly Upload[];
  /** In the order of their creation. */
  readonly batches: readonly BatchRecord[];
  /** By batch, `performance.now()` of each poll that reached it. */
  readonly polls: ReadonlyMap<string, readonly number[]>;
  /** Ids of files. */
  readonly deleted: readonly string[];
  /** Ids of files that are there now. */
  readonly files: readonly string[];
  readonly directs: readonly Direct[];
  /** Every Authorization header seen, '' for none. */
  readonly authorizations: ReadonlySet<string>;
  /** Requests by route, refused and failed ones too. */
  readonly requests: Readonly<Record<Route, number>>;
  /** Requests that wait for `release()`. */
  readonly held: number;
  /** The text of each line of a file as it was uploaded, or written as a result; of a deleted one too. */
  lines(file_id: string): string[];
  /** For the next requests of a route, one each. */
  next(route: Route, ...faults: Fault[]): void;
  /** For the next batches, one each. */
  verdict(...verdicts: Verdict[]): void;
  /** No batch goes on, however often it is polled, until `release()`. */
  hold(): void;
  release(): void;
  /** A batch to its end at once, held or not. */
  finish(batch_id: string, verdict?: Verdict): Promise<Batch>;
  /** Resolves when the predicate holds; looked at when a request comes, has acted, waits and ends. Rejects after `timeout_ms` (5 s). */
  until(predicate: (api: BatchApi) => boolean, timeout_ms?: number): Promise<void>;
  /** Closes the port and removes the files. */
  stop(): Promise<void>;
}

export async function startBatchApi(options: BatchApiOptions = {}): Promise<BatchApi> {
  const { key = 'sk-upstream-test', models = ['gpt-3.5-turbo', 'gpt-4o-mini', 'text-embedding-3-small'] } = options;
  const files = open_files();
  const batches = open_batches(files, {
    models,
    lines_max: options.lines_max ?? 50_000,
    steps: { validating: 1, in_progress: 1, finalizing: 1, cancelling: 1, ...options.steps },
    seed: options.seed ?? 1,
    empty_ids: options.empty_ids ?? false,
    answer: options.answer,
  });
  const directs: Direct[] = [];
  const bytes_max = options.file_bytes_max ?? 200_000_000;
  const api: Api = { files, batches, directs, models, bytes_max, answer: options.answer };
  const records: BatchRecord[] = [];
  const authorizations = new Set<string>();
  const requests = Object.fromEntries(ROUTES.map((route) => [route, 0])) as Record<Route, number>;
  const faults = new Map<Route, Fault[]>();
  const waiting = new Set<() => void>();
  const watching = new Set<() => void>();

  const changed = (): void => {
    for (const look of watching) look();
  };
  const wait = async (): Promise<void> => {
    await new Promise<void>((resolve) => {
      waiting.add(resolve);
      changed();
    });
  };

  const record = (batch: Batch): void => {
    const { id, endpoint, metadata, input_file_id } = batch;
    const line_count = files.uploads.find((upload) => upload.id === input_file_id)?.line_count ?? 0;
    records.push({
      id,
      endpoint,
      metadata,
      input_file_id,
      line_count,
      at: performance.now(),
      get model() {
        return model_of(files.lines(input_file_id)[0] ?? '');
      },
      get batch() {
        return batches.get(id);
      },
    });
  };

  const serve = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const url = new URL(req.url ?? '/', 'http://127.0.0.1');
    const found = find(req.method ?? 'GET', url.pathname);
    const authorization = req.headers.authorization ?? '';
    authorizations.add(authorization);
    if (found !== undefined) requests[found.route] += 1;
    changed();
    if (authorization !== `Bearer ${key}`) {
      const told = authorization.replace(/^Bearer /, '').slice(0, 8);
      throw new Refusal(401, `Incorrect API key provided: ${told}***.`, null, 'invalid_api_key');
    }
    if (found === undefined) throw new Refusal(404, `Invalid URL (${req.method} ${url.pathname})`);
    const { route, id } = found;
    const fault = faults.get(route)?.shift();
    if (fault !== undefined) {
      if ('reset' in fault) return void req.socket.resetAndDestroy();
      if ('status' in fault) {
        const body = fault.body ?? error_body('The server had an error.', null, null, 'server_error');
        return await tell(req, res, { status: fault.status, body }, fault.headers);
      }
      if ('held' in fault) await wait();
      if (req.socket.destroyed) return;
    }
    const reply = await act(api, route, { req, url, id });
    if (route === 'create' && 'body' in reply) record(reply.body as Batch);
    changed();
    if (fault !== undefined && 'held_after' in fault) await wait();
    if (fault !== undefined && 'reset_after' in fault) return void req.socket.resetAndDestroy();
    await tell(req, res, reply);
  };

  const server = createServer({ requestTimeout: 0 }, (req, res) => {
    serve(req, res)
      .catch(async (error: unknown) => {
        if (!(error instanceof Refusal)) throw error;
        await tell(req, res, { status: error.status, body: error.body });
      })
      .catch(() => req.socket.destroy())
      .finally(changed);
  });
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  const release = (): void => {
    batches.held = false;
    for (const go of waiting) go();
    waiting.clear();
  };
  let stopped: Promise<unknown> | undefined;
  const stop = async (): Promise<void> => {
    if (stopped === undefined) {
      stopped = once(server, 'close');
      server.close();
      server.closeAllConnections();
      release();
    }
    await stopped;
    files.stop();
  };
  in_a_test(stop);

  const fake: BatchApi = {
    url: `http://127.0.0.1:${port}`,
    port,
    uploads: files.uploads,
    batches: records,
    polls: batches.polls,
    deleted: files.deleted,
    get files() {
      return files.list().map(({ id }) => id);
    },
    directs,
    authorizations,
    requests,
    get held() {
      return waiting.size;
    },
    lines: (file_id) => files.lines(file_id),
    next: (route, ...told) => void faults.set(route, [...(faults.get(route) ?? []), ...told]),
    verdict: (...verdicts) => void batches.verdicts.push(...verdicts),
    hold: () => void (batches.held = true),
    release,
    finish: (batch_id, verdict = 'completed') => batches.finish(batch_id, verdict),
    until: (predicate, timeout_ms = 5000) => until(watching, fake, predicate, timeout_ms),
    stop,
  };
  return fake;
}

function model_of(line: string): string | undefined {
  try {
    const { body } = JSON.parse(line) as { body: { model: string } };
    return body.model;
  } catch {
    return undefined;
  }
}

/** Outside of a test, as in a `beforeAll`, the caller stops it. */
function in_a_test(stop: () => Promise<void>): void {
  try {
    onTestFinished(stop);
  } catch {
    // Vitest says so by throwing.
  }
}
