// The routes: what each of them does, and its answer.
import type { IncomingMessage } from 'node:http';
import { ENDPOINTS, usual } from './answers.ts';
import type { Batches } from './batches.ts';
import { type Files, seconds } from './files.ts';
import { page, queried } from './pages.ts';
import { Refusal } from './refusal.ts';
import { type Answer, type Direct, is_object, type Route } from './shapes.ts';
import { order } from './validate.ts';

export interface Api {
  readonly files: Files;
  readonly batches: Batches;
  readonly directs: Direct[];
  readonly models: readonly string[];
  readonly bytes_max: number;
  readonly answer: Answer | undefined;
}

export interface Request {
  readonly req: IncomingMessage;
  readonly url: URL;
  /** Out of the path. */
  readonly id: string;
}

export type Reply =
  | { readonly status: number; readonly body: unknown }
  | { readonly path: string; readonly bytes: number };

const TABLE: readonly (readonly [method: string, path: RegExp, route: Route])[] = [
  ['GET', /^\/v1\/models$/, 'models'],
  ['POST', /^\/v1\/(?:chat\/completions|embeddings|completions)$/, 'direct'],
  ['POST', /^\/v1\/files$/, 'upload'],
  ['GET', /^\/v1\/files$/, 'list_files'],
  ['GET', /^\/v1\/files\/([^/]+)$/, 'retrieve_file'],
  ['DELETE', /^\/v1\/files\/([^/]+)$/, 'delete'],
  ['GET', /^\/v1\/files\/([^/]+)\/content$/, 'content'],
  ['POST', /^\/v1\/batches$/, 'create'],
  ['GET', /^\/v1\/batches$/, 'list'],
  ['GET', /^\/v1\/batches\/([^/]+)$/, 'poll'],
  ['POST', /^\/v1\/batches\/([^/]+)\/cancel$/, 'cancel'],
];

export const ROUTES: readonly Route[] = TABLE.map(([, , route]) => route);

export function find(method: string, path: string): { readonly route: Route; readonly id: string } | undefined {
  for (const [known, pattern, route] of TABLE) {
    const found = known === method ? pattern.exec(path) : null;
    if (found !== null) return { route, id: decodeURIComponent(found[1] ?? '') };
  }
  return undefined;
}

/** Throws a `Refusal`. */
export async function act(api: Api, route: Route, { req, url, id }: Request): Promise<Reply> {
  const { files, batches } = api;
  const query = url.searchParams;
  if (route === 'list') queried(query, ['limit', 'after']);
  else queried(query, route === 'list_files' ? ['limit', 'after', 'order', 'purpose'] : []);
  const ok = (body: unknown): Reply => ({ status: 200, body });
  const created = seconds();
  const acts = {
    models: () =>
      ok({ object: 'list', data: api.models.map((id) => ({ id, object: 'model', created, owned_by: 'openai' })) }),
    direct: async () => direct(api, url.pathname, await json(req)),
    upload: async () => ok(await files.upload(req, api.bytes_max)),
    list_files: () => ok(page(listed(files, query), query, { usual: 10_000, most: 10_000 })),
    retrieve_file: () => ok(files.get(id)),
    content: () => ({ path: files.path(id), bytes: files.get(id).bytes }),
    delete: () => ok(files.delete(id)),
    create: async () => ok(batches.create(order((await json(req)).body, files))),
    list: () => ok(page(batches.list().toReversed(), query, { usual: 20, most: 100 })),
    poll: async () => ok(await batches.poll(id)),
    cancel: async () => ok(await batches.cancel(id)),
  } satisfies Record<Route, () => Reply | Promise<Reply>>;
  return await acts[route]();
}

function direct(api: Api, endpoint: string, { raw, body }: { raw: string; body: unknown }): Reply {
  if (!is_object(body)) throw new Refusal(400, 'The body must be an object.');
  const { model } = body;
  if (typeof model !== 'string') throw new Refusal(400, 'you must provide a model parameter');
  if (!api.models.includes(model)) {
    const message = `The model '${model}' does not exist or you do not have access to it.`;
    throw new Refusal(404, message, 'model', 'model_not_found');
  }
  if (body['stream'] === true) throw new Refusal(400, 'This server does not stream.', 'stream', 'unsupported_value');
  if (!ENDPOINTS.some((known) => known === endpoint)) throw new Refusal(404, `Invalid URL (POST ${endpoint})`);
  api.directs.push({ endpoint, model, body, raw });
  const asked = { custom_id: undefined, endpoint, model, body };
  const told = api.answer?.(asked) ?? usual(asked);
  // Only a batch can leave a line open.
  return told === 'unanswered' ? usual(asked) : told;
}

function listed(files: Files, query: URLSearchParams): ReturnType<Files['list']> {
  const purpose = query.get('purpose');
  const order = query.get('order') ?? 'desc';
  if (order !== 'asc' && order !== 'desc') {
    throw new Refusal(400, `Invalid value: '${order}'. Supported values are: 'asc', 'desc'.`, 'order', 'invalid_value');
  }
  const found = files.list().filter((file) => purpose === null || file.purpose === purpose);
  return order === 'asc' ? found : found.toReversed();
}

async function json(req: IncomingMessage): Promise<{ raw: string; body: unknown }> {
  const type = req.headers['content-type'] ?? '';
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new Refusal(400, `Invalid Content-Type header: expected application/json, got '${type}'.`);
  }
  const raw = Buffer.concat(chunks).toString('utf8');
  try {
    return { raw, body: JSON.parse(raw) as unknown };
  } catch {
    throw new Refusal(400, 'We could not parse the JSON body of your request.');
  }
}
