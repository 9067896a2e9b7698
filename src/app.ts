// Koa's edge: the request id and the headers of every response, the error envelope, and the table of routes. The hot
// routes take the response over (`ctx.respond = false`) and the line writes it; everything else is a small page.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Router } from '@koa/router';
import Koa, { type Context, type Middleware } from 'koa';
import { allowOrigins } from './edge/cors.ts';
import { everyResponse, refuseAmbiguity } from './edge/refusal.ts';
import { Reply } from './edge/reply.ts';
import { describeError } from './ops/log.ts';
import { about } from './pages/about.ts';
import { health, ready, type Condition } from './pages/health.ts';
import { metricsPage } from './pages/metrics.ts';
import { listModels, oneModel } from './pages/models.ts';
import { serve, type Ground, type Visit } from './serve.ts';
import { identify } from './steps/identify.ts';
import { clientAddress, type Trusted } from './wire/address.ts';
import { GatewayError, errorBody, errorHeaders } from './wire/errors.ts';
import type { Caller, Endpoint, Listener } from './types.ts';

/** What the app asks of the gateway at each request; a reload changes the answers. */
export interface Host {
  readonly instance: string;
  readonly version: string;
  ground(): Ground;
  proxies(): Trusted;
  metricsAllow(): Trusted;
  condition(): Condition;
  /** Lets the gateway end this reply when it must; the returned function forgets it. */
  enter(reply: Reply): () => void;
}

const ENDPOINTS: readonly Endpoint[] = ['chat/completions', 'completions', 'embeddings'];
/** Without /v1 for editors that are set up so (Continue often is), and under OpenVINO's /v3. */
const PREFIXES = ['/v1', '', '/v3'];
/** An unread body may go on this long after its request was refused. */
const LINGER_MS = 2_000;

export function createApp(
  host: Host,
): (request: IncomingMessage, response: ServerResponse, listener: Listener) => void {
  const koa = new Koa();
  // Failures are answered in the envelope; what reaches Koa is a socket that died, which the outcome tells already. By
  // default Koa prints it.
  koa.on('error', () => undefined);
  const listeners = new WeakMap<IncomingMessage, Listener>();
  const visitOf = (ctx: Context): Omit<Visit, 'reply'> => {
    const listener = listeners.get(ctx.req);
    if (listener === undefined) throw new Error('a request without a listener');
    const forwarded = ctx.req.headers['x-forwarded-for'];
    const address = clientAddress(
      ctx.req.socket.remoteAddress ?? '',
      typeof forwarded === 'string' ? forwarded : undefined,
      host.proxies(),
    );
    return { id: String(ctx.state['id']), request: ctx.req, listener, address };
  };
  const callerOf = async (ctx: Context): Promise<Caller> => {
    const { keys, failures } = host.ground();
    const { address, listener } = visitOf(ctx);
    return await identify(ctx.req.headers, address, listener, keys, failures);
  };

  const router = new Router({ sensitive: true });
  for (const prefix of PREFIXES) {
    for (const endpoint of ENDPOINTS) {
      router.post(`${prefix}/${endpoint}`, async (ctx) => {
        ctx.respond = false;
        const reply = new Reply(ctx.res, host.ground().config.limits);
        ctx.res.once('malformed', (refusal: GatewayError) => reply.stop(refusal));
        const leave = host.enter(reply);
        try {
          await serve(host.ground(), endpoint, { ...visitOf(ctx), reply });
        } finally {
          leave();
        }
      });
    }
    router.get(`${prefix}/models`, async (ctx) => {
      ctx.body = listModels(host.ground().fleet, await callerOf(ctx));
    });
  }
  // An id may hold slashes and colons, raw or percent-encoded: it is whatever follows, decoded once.
  router.get(/^(?:\/v1|\/v3)?\/models\/(.+)$/, async (ctx) => {
    ctx.body = oneModel(host.ground().fleet, await callerOf(ctx), rawId(ctx.path));
  });
  router.get('/health', (ctx) => {
    ctx.body = health(host.version);
  });
  router.get('/health/ready', (ctx) => {
    const { status, body } = ready(host.condition());
    ctx.status = status;
    ctx.body = body;
  });
  router.get('/metrics', async (ctx) => {
    const { address } = visitOf(ctx);
    const { type, body } = await metricsPage(
      host.ground().metrics,
      ctx.req,
      address,
      host.metricsAllow(),
      host.proxies(),
      () => callerOf(ctx),
    );
    ctx.type = type;
    ctx.body = body;
  });
  router.get('/', (ctx) => {
    ctx.body = about(host.version, visitOf(ctx).address);
  });

  koa.use(envelope(host));
  koa.use(allowOrigins(() => host.ground().config.cors_origins));
  koa.use(router.routes());
  koa.use(router.allowedMethods());
  const handle = koa.callback();
  return (request, response, listener) => {
    listeners.set(request, listener);
    void handle(request, response);
  };
}

/** The outermost ring: headers on every response, and every failure of a page as the OpenAI error object. */
function envelope(host: Host): Middleware {
  return async (ctx, next) => {
    const headers = everyResponse(host.instance);
    for (const [name, value] of Object.entries(headers)) ctx.res.setHeader(name, value);
    ctx.state['id'] = headers['x-request-id'];
    ctx.res.once('finish', () => linger(ctx.req));
    try {
      refuseAmbiguity(ctx.req);
      await next();
      if (ctx.respond === false) return;
      if (ctx.method === 'OPTIONS' && ctx.status === 200) ctx.status = 204;
      // What the router leaves behind where no route took the request; `Allow` it has set where there is one.
      if (ctx.body === undefined && [404, 405, 501].includes(ctx.status)) throw nothingHere(ctx);
    } catch (error) {
      const failure = error instanceof GatewayError ? error : new GatewayError('internal_error', 'The gateway failed.');
      if (failure !== error) host.ground().log.error('bug', { id: headers['x-request-id'], ...describeError(error) });
      host.ground().metrics.refused(failure.code);
      if (ctx.respond === false) {
        ctx.res.destroy();
        return;
      }
      ctx.status = failure.status;
      ctx.set(errorHeaders(failure));
      ctx.type = 'application/json';
      ctx.body = errorBody(failure);
    }
  };
}

function nothingHere(ctx: Context): GatewayError {
  if (ctx.response.get('allow')) {
    return new GatewayError('method_not_allowed', 'This path does not take this method.');
  }
  ctx.remove('allow');
  return new GatewayError('unknown_url', 'This path is not served here. The OpenAI routes are under /v1.');
}

/** A refused body is read on for a moment, so that the refusal is not lost to a reset; then the connection is cut. */
function linger(request: IncomingMessage): void {
  if (request.complete) return;
  request.resume();
  const timer = setTimeout(() => request.socket.destroy(), LINGER_MS).unref();
  request.once('end', () => clearTimeout(timer));
}

/** @throws GatewayError `model_not_found` for an id that is not percent-encoded as it should be */
function rawId(path: string): string {
  const id = path.slice(path.indexOf('/models/') + '/models/'.length);
  try {
    return decodeURIComponent(id);
  } catch {
    throw new GatewayError('model_not_found', 'The model id in the path is not valid.', { param: 'model' });
  }
}
