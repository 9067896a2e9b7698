// CORS: nothing at all unless origins are configured; then exactly those, never `*`, never with credentials.
import type { IncomingMessage } from 'node:http';
import type { Middleware } from 'koa';

const ALLOWED = [
  'authorization, content-type, x-api-key, api-key, openai-organization, openai-project',
  'idempotency-key, cache-control, x-lanyard-mode, x-lanyard-cache',
].join(', ');
const EXPOSED = [
  'x-request-id, x-lanyard-model, x-lanyard-backend, openai-processing-ms, retry-after, retry-after-ms, x-should-retry',
  'x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests',
  'x-lanyard-batch, x-cache',
].join(', ');

/** What an answer says to the browser of an allowed origin. */
export function corsHeaders(
  { headers }: IncomingMessage,
  origins: readonly string[],
): Readonly<Record<string, string>> {
  if (origins.length === 0) return NONE;
  const { origin } = headers;
  if (origin === undefined || !origins.includes(origin)) return { vary: 'Origin' };
  return { vary: 'Origin', 'access-control-allow-origin': origin, 'access-control-expose-headers': EXPOSED };
}

const NONE = {};

export function allowOrigins(origins: () => readonly string[]): Middleware {
  return (ctx, next) => {
    const headers = corsHeaders(ctx.req, origins());
    ctx.set(headers);
    const asks = ctx.method === 'OPTIONS' && ctx.req.headers['access-control-request-method'] !== undefined;
    if (!asks || headers['access-control-allow-origin'] === undefined) return next();
    ctx.set({
      'access-control-allow-methods': 'GET, POST, DELETE, HEAD, OPTIONS',
      'access-control-allow-headers': `${ALLOWED}, ${stainless(ctx.req.headers['access-control-request-headers'])}`,
      'access-control-max-age': '600',
    });
    ctx.status = 204;
    return Promise.resolve();
  };
}

/** The official SDK sends a dozen `x-stainless-*` headers of its own, which a browser asks about one by one. */
function stainless(asked: string | undefined): string {
  const names = (asked ?? '').split(',').map((name) => name.trim().toLowerCase());
  return [...names.filter((name) => /^x-stainless-[a-z-]{1,40}$/.test(name)), 'user-agent'].join(', ');
}
