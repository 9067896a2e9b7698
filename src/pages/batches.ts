// Files and batches as OpenAI's clients ask for them, each path with what it does. Without `batch:` in the configuration none of
// them is served.
import type { Context } from 'koa';
import type { Desk } from '../batch/desk.ts';
import { askable } from '../batch/query.ts';
import type { Caller } from '../types.ts';

export interface BatchPage {
  readonly method: 'get' | 'post' | 'delete';
  readonly path: string;
  /** What the answer's body is to be. */
  readonly answer: (desk: Desk, ctx: Context, caller: Caller, signal: AbortSignal) => Promise<unknown>;
}

const id = (ctx: Context): string => askable((ctx['params'] as { readonly id: string }).id);

const PAGES: readonly BatchPage[] = [
  { method: 'post', path: '/files', answer: (desk, { req }, caller, signal) => desk.upload(req, caller, signal) },
  { method: 'get', path: '/files', answer: (desk, { query }, caller) => desk.listFiles(caller, query) },
  { method: 'get', path: '/files/:id', answer: (desk, ctx, caller) => desk.file(caller, id(ctx)) },
  { method: 'delete', path: '/files/:id', answer: (desk, ctx, caller) => desk.removeFile(caller, id(ctx)) },
  {
    method: 'get',
    path: '/files/:id/content',
    answer: async (desk, ctx, caller) => {
      const { body, bytes } = await desk.content(caller, id(ctx));
      ctx.type = 'application/octet-stream';
      ctx.length = bytes;
      return body;
    },
  },
  { method: 'post', path: '/batches', answer: (desk, { req }, caller, signal) => desk.create(req, caller, signal) },
  { method: 'get', path: '/batches', answer: (desk, { query }, caller) => desk.listBatches(caller, query) },
  { method: 'get', path: '/batches/:id', answer: (desk, ctx, caller) => desk.batch(caller, id(ctx)) },
  { method: 'post', path: '/batches/:id/cancel', answer: (desk, ctx, caller) => desk.cancel(caller, id(ctx)) },
  {
    method: 'get',
    path: '/get-batch-status',
    answer: async (desk, ctx, caller) => {
      // RFC 9745; it is here for those who have it in their scripts.
      ctx.set('deprecation', '@1764374400');
      ctx.set('link', '</v1/batches>; rel="successor-version"');
      return await desk.status(caller, ctx.query);
    },
  },
  { method: 'get', path: '/get-batch-report', answer: (desk, { query }, caller) => desk.report(caller, query) },
];

/** Under each prefix that the hot routes have. */
export const BATCH_PAGES: readonly BatchPage[] = ['/v1', '', '/v3'].flatMap((prefix) =>
  PAGES.map((page) => ({ ...page, path: `${prefix}${page.path}` })),
);
