// CORS: nothing at all unless origins are configured; then exactly those, never `*`, never with credentials.
import type { Middleware } from 'koa';

const ALLOWED = 'authorization, content-type, x-api-key, api-key, openai-organization, openai-project';
const EXPOSED = [
  'x-request-id, x-lanyard-model, x-lanyard-backend, openai-processing-ms, retry-after, retry-after-ms, x-should-retry',
  'x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests',
].join(', ');

export function allowOrigins(origins: () => readonly string[]): Middleware {
  return (ctx, next) => {
    const allowed = origins();
    if (allowed.length === 0) return next();
    ctx.res.setHeader('vary', 'Origin');
    const origin = ctx.req.headers.origin;
    if (origin === undefined || !allowed.includes(origin)) return next();
    ctx.res.setHeader('access-control-allow-origin', origin);
    ctx.res.setHeader('access-control-expose-headers', EXPOSED);
    if (ctx.method !== 'OPTIONS' || ctx.req.headers['access-control-request-method'] === undefined) return next();
    ctx.set({
      'access-control-allow-methods': 'GET, POST, HEAD, OPTIONS',
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
