// A small server with the shapes of the gateway's Files and Batch API, for what stands in front of it: batches that go through
// the states they are told to, and answers that go wrong on request.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

type Body = Record<string, unknown>;

/** Instead of the answer: another one, or none. */
type Trouble =
  | {
      readonly status: number;
      readonly headers?: Record<string, string>;
      readonly body?: unknown;
      /** Before the request's own body has come. */
      readonly early?: true;
    }
  | 'reset';

interface Asked {
  /** `GET /v1/batches?limit=100` */
  readonly what: string;
  readonly key: string | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  readonly bytes: number;
}

export interface Stub {
  readonly url: string;
  readonly asked: Asked[];
  /** Newest first. */
  readonly batches: Body[];
  /** Of a file, its text. */
  readonly files: Map<string, string>;
  /** What a batch becomes each time it is asked for. */
  readonly turns: Map<string, Body[]>;
  /** What chat completions answer. */
  chat: { status: number; body: unknown };
  /** What a file is told that waits for being welcome. */
  unwelcome?: { readonly status: number; readonly body: unknown };
  /** The next requests of this kind, such as /^GET .*batches/. */
  trouble(of: RegExp, ...troubles: Trouble[]): void;
  /** Once so many requests of this kind have come. */
  until(of: RegExp, count: number): Promise<void>;
  /** No more connections, and none kept. */
  stop(): Promise<void>;
}

/** More of an upload is only counted. */
const KEPT_BYTES_MAX = 1 << 20;

/** @param key what callers must show; none is asked for by default */
export async function startStub({ key, port = 0 }: { key?: string; port?: number } = {}): Promise<Stub> {
  const troubles: { of: RegExp; trouble: Trouble }[] = [];
  const waiting = new Set<() => void>();
  const server = createServer((request, response) => void answer(request, response).catch(() => response.destroy()));
  const stub: Stub = {
    url: '',
    asked: [],
    batches: [],
    files: new Map(),
    turns: new Map(),
    chat: { status: 200, body: {} },
    trouble: (of, ...many) => void troubles.push(...many.map((trouble) => ({ of, trouble }))),
    until: (of, count) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (stub.asked.filter(({ what }) => of.test(what)).length < count) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
    async stop() {
      server.closeAllConnections();
      if (server.listening) await new Promise((resolve) => server.close(resolve));
    },
  };

  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    if (stub.unwelcome !== undefined) {
      stub.asked.push({ what: `POST ${request.url}`, key: undefined, headers: request.headers, body: '', bytes: 0 });
      return send(response, stub.unwelcome.status, stub.unwelcome.body, { connection: 'close' });
    }
    response.writeContinue();
    // Whoever asks may leave in the middle.
    return void answer(request, response).catch(() => response.destroy());
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const what = `${request.method} ${request.url}`;
    const at = troubles.findIndex(({ of }) => of.test(what));
    const trouble = at < 0 ? undefined : troubles.splice(at, 1)[0]?.trouble;
    if (typeof trouble === 'object' && trouble.early === true) {
      send(response, trouble.status, trouble.body ?? '', trouble.headers);
      return void request.resume();
    }
    const { body, bytes } = await bodyOf(request);
    const shown = request.headers.authorization?.replace('Bearer ', '');
    stub.asked.push({ what, key: shown, headers: request.headers, body, bytes });
    if (trouble === 'reset') request.socket.destroy();
    else if (trouble !== undefined) send(response, trouble.status, trouble.body ?? '', trouble.headers);
    else if (key !== undefined && shown !== key)
      send(response, 401, fault('invalid_api_key', 'The API key is not valid.'));
    else route(what, body, response);
    for (const look of waiting) look();
  }

  function route(what: string, body: string, response: ServerResponse): void {
    const url = new URL(what.split(' ')[1] ?? '', 'http://stub');
    const [, , kind, id, verb] = url.pathname.split('/').map(decodeURIComponent);
    const found = stub.batches.find((batch) => batch['id'] === id);
    const ask = `${what.split(' ')[0]} ${kind}${id === undefined ? '' : ' ID'}${verb === undefined ? '' : ` ${verb}`}`;
    if (kind === 'batches' && id !== undefined && found === undefined)
      return send(response, 404, fault('batch_not_found', `No such batch: ${id}`));
    switch (ask) {
      case 'GET batches':
        return send(response, 200, page(stub.batches, url.searchParams));
      case 'POST batches': {
        const { input_file_id, endpoint, completion_window, metadata } = JSON.parse(body) as Body;
        const count = (stub.files.get(String(input_file_id)) ?? '').split('\n').filter(Boolean).length;
        const request_counts = { total: count, completed: 0, failed: 0 };
        const made = makeBatch(`batch_${stub.batches.length + 1}`, 'validating', { request_counts, endpoint });
        stub.batches.unshift({ ...made, input_file_id, completion_window, metadata: metadata ?? null });
        return send(response, 200, served(stub.batches[0] ?? {}));
      }
      case 'GET batches ID':
        Object.assign(found ?? {}, stub.turns.get(id ?? '')?.shift());
        return send(response, 200, served(found ?? {}));
      case 'POST batches ID cancel':
        Object.assign(found ?? {}, { status: 'cancelling' });
        return send(response, 200, served(found ?? {}));
      case 'POST files': {
        const file = `file-${stub.files.size + 1}`;
        stub.files.set(file, /\r\n\r\n(?!batch\r\n)([\s\S]*)\r\n--[^\r\n]+--\r\n$/.exec(body)?.[1] ?? '');
        return send(response, 200, { id: file, object: 'file', purpose: 'batch' });
      }
      case 'DELETE files ID':
        stub.files.delete(id ?? '');
        return send(response, 200, { id, object: 'file', deleted: true });
      case 'GET files ID content': {
        const text = stub.files.get(id ?? '');
        if (text === undefined) return send(response, 404, fault('file_not_found', `No such file: ${id}`));
        return void response.writeHead(200, { 'content-type': 'application/jsonl' }).end(text);
      }
      case 'POST chat ID':
        return send(response, stub.chat.status, stub.chat.body);
      default:
        return send(response, 404, fault('unknown_url', 'This path is not served here.'));
    }
  }

  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => stub.stop());
  return Object.assign(stub, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
}

/** A Batch object as the gateway has it; its times are set as its status wants. */
export function makeBatch(id: string, status: string, more: Body = {}): Body {
  const created_at = 1_790_000_000;
  const began = ['validating', 'failed'].includes(status) ? null : created_at + 5;
  const at = (name: string): number | null => (status === name ? created_at + 100 : null);
  return {
    id,
    object: 'batch',
    endpoint: '/v1/chat/completions',
    model: 'qwen-coder',
    errors: null,
    input_file_id: 'file-in',
    completion_window: '24h',
    status,
    output_file_id: null,
    error_file_id: null,
    created_at,
    in_progress_at: began,
    expires_at: created_at + 86_400,
    finalizing_at: at('finalizing'),
    completed_at: at('completed'),
    failed_at: at('failed'),
    expired_at: at('expired'),
    cancelling_at: at('cancelling'),
    cancelled_at: at('cancelled'),
    request_counts: { total: 10, completed: 0, failed: 0 },
    usage: { input_tokens: 0, output_tokens: 0, total_tokens: 0 },
    metadata: null,
    ...more,
  };
}

export function fault(code: string, message: string): Body {
  return { error: { message, type: 'invalid_request_error', param: null, code } };
}

function served(batch: Body): Body {
  return { ...batch, batch };
}

function page(all: readonly Body[], query: URLSearchParams): Body {
  const status = query.get('status');
  const wanted = all.filter((batch) => status === null || batch['status'] === status);
  const from = wanted.findIndex(({ id }) => id === query.get('after')) + 1;
  const limit = Number(query.get('limit') ?? 20);
  const data = wanted.slice(from, from + limit).map((batch) => {
    const { owner, ...rest } = batch;
    return served(query.get('all') === 'true' ? { ...rest, owner: owner ?? 'master' } : rest);
  });
  return {
    object: 'list',
    data,
    first_id: data[0]?.['id'] ?? null,
    last_id: data.at(-1)?.['id'] ?? null,
    has_more: from + limit < wanted.length,
  };
}

async function bodyOf(request: IncomingMessage): Promise<{ body: string; bytes: number }> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes <= KEPT_BYTES_MAX) pieces.push(piece);
  }
  return { body: Buffer.concat(pieces).toString(), bytes };
}

function send(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text);
}
