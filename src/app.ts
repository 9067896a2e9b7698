// The edge: the request id and the headers of every response, the error envelope, and the table of routes, in Koa. The three
// hot routes are looked up before it, since a context and a router's walk are a third of what a request costs; the line
// writes their responses. Everything else is a small page.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Router } from '@koa/router';
import Koa, { type Context, type Middleware } from 'koa';
import { away, toldFault } from './batch/fault.ts';
import { allowOrigins, corsHeaders } from './edge/cors.ts';
import type { Handler, Malformed } from './edge/listener.ts';
import { everyResponse, refuseAmbiguity } from './edge/refusal.ts';
import { ClientGone, Reply, type Headers } from './edge/reply.ts';
import { describeError } from './ops/log.ts';
import type { Outbox } from './ops/outbox.ts';
import { about } from './pages/about.ts';
import { BATCH_PAGES } from './pages/batches.ts';
import { health, ready, type Condition } from './pages/health.ts';
import { metricsPage } from './pages/metrics.ts';
import { listModels, oneModel } from './pages/models.ts';
import { serve, type Ground } from './serve.ts';
import { admit } from './steps/admit.ts';
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
  /** Where replies put what they have to send. */
  readonly outbox: Outbox;
  /** Lets the gateway end this reply when it must; the returned function forgets it. */
  enter(reply: Reply): () => void;
}

const ENDPOINTS: readonly Endpoint[] = ['chat/completions', 'completions', 'embeddings'];
/** Without /v1 for editors that are set up so (Continue often is), and under OpenVINO's /v3. */
const PREFIXES = ['/v1', '', '/v3'];
/** An unread body may go on this long after its request was refused. */
const LINGER_MS = 2_000;

export function createApp(host: Host): Handler {
  const koa = new Koa();
  // Failures are answered in the envelope; what reaches Koa is a socket that died, which the outcome tells already. By
  // default Koa prints it.
  koa.on('error', () => undefined);
  const listeners = new WeakMap<IncomingMessage, Listener>();
  const listenerOf = ({ req }: Context): Listener => {
    const listener = listeners.get(req);
    if (listener === undefined) throw new Error('a request without a listener');
    return listener;
  };
  const callerOf = async (ctx: Context): Promise<Caller> => {
    const { keys, failures } = host.ground();
    return await identify(ctx.req.headers, addressOf(ctx.req, host), listenerOf(ctx), keys, failures);
  };

  const hot = new Map<string, Endpoint>(
    PREFIXES.flatMap((prefix) => ENDPOINTS.map((one) => [`${prefix}/${one}`, one] as const)),
  );
  const router = new Router({ sensitive: true });
  for (const [path, endpoint] of hot) {
    // Here for its other spellings (a slash at the end), and for what other methods are told of it.
    router.post(path, (ctx) => {
      ctx.respond = false;
      answerHot(host, endpoint, ctx.req, ctx.res, listenerOf(ctx));
    });
  }
  for (const prefix of PREFIXES) {
    router.get(`${prefix}/models`, async (ctx) => {
      ctx.body = listModels(host.ground().fleet, await callerOf(ctx));
    });
  }
  // An id may hold slashes and colons, raw or percent-encoded: it is whatever follows, decoded once.
  router.get(/^(?:\/v1|\/v3)?\/models\/(.+)$/, async (ctx) => {
    ctx.body = oneModel(host.ground().fleet, await callerOf(ctx), rawId(ctx.path));
  });
  for (const { method, path, answer } of BATCH_PAGES) {
    router[method](path, async (ctx) => {
      const { batching, config, store, metrics } = host.ground();
      if (config.batch === undefined) throw nothingHere(ctx);
      if (batching === undefined) throw away();
      const caller = await callerOf(ctx);
      using place = await admit(caller, config.limits.ip, store, metrics);
      ctx.set(place.headers);
      // Only now is a body wanted of who has asked first (`Expect: 100-continue`).
      if (ctx.req.headers.expect !== undefined) ctx.res.writeContinue();
      const left = new AbortController();
      ctx.res.once('close', () => left.abort(new ClientGone()));
      try {
        ctx.body = await answer(batching.desk, ctx, caller, left.signal);
      } catch (error) {
        // Nobody is there to be told.
        if (left.signal.aborted) ctx.respond = false;
        else throw toldFault(error);
      }
    });
  }
  router.get('/health', (ctx) => {
    ctx.body = health(host.version);
  });
  router.get('/health/ready', (ctx) => {
    const { status, body } = ready(host.condition());
    ctx.status = status;
    ctx.body = body;
  });
  router.get('/metrics', async (ctx) => {
    const { type, body } = await metricsPage(
      host.ground().metrics,
      ctx.req,
      addressOf(ctx.req, host),
      host.metricsAllow(),
      host.proxies(),
      () => callerOf(ctx),
    );
    ctx.type = type;
    ctx.body = body;
  });
  router.get('/', (ctx) => {
    ctx.body = about(host.version, addressOf(ctx.req, host), host.ground().config.batch !== undefined);
  });

  koa.use(envelope(host));
  koa.use(allowOrigins(() => host.ground().config.cors_origins));
  koa.use(router.routes());
  koa.use(router.allowedMethods());
  const handle = koa.callback();
  return (request, response, listener) => {
    const endpoint = request.method === 'POST' ? hot.get(pathOf(request)) : undefined;
    if (endpoint !== undefined) return answerHot(host, endpoint, request, response, listener);
    listeners.set(request, listener);
    void handle(request, response);
    return undefined;
  };
}

/** Takes the request through the line. */
function answerHot(
  host: Host,
  endpoint: Endpoint,
  request: IncomingMessage,
  response: ServerResponse,
  listener: Listener,
): Malformed {
  const ground = host.ground();
  const { config, metrics } = ground;
  const headers: Headers & ReturnType<typeof everyResponse> = everyResponse(host.instance);
  if (config.cors_origins.length > 0) Object.assign(headers, corsHeaders(request, config.cors_origins));
  const reply = new Reply(response, config.limits, host.outbox, headers);
  const leave = host.enter(reply);
  const end = (): void => {
    leave();
    linger(request);
  };
  try {
    refuseAmbiguity(request);
    const visit = { id: headers['x-request-id'], request, reply, listener, address: addressOf(request, host) };
    void serve(ground, endpoint, visit).then(end);
  } catch (error) {
    // The line itself never fails: this was refused before it.
    const failure = error instanceof GatewayError ? error : new GatewayError('internal_error', 'The gateway failed.');
    metrics.refused(failure.code);
    reply.fail(failure);
    void reply.closed.then(end);
  }
  return (refusal) => reply.stop(refusal);
}

function pathOf({ url = '' }: IncomingMessage): string {
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}

/** The caller's address, trusted proxies taken off. */
function addressOf({ socket, headers }: IncomingMessage, host: Host): string {
  const forwarded = headers['x-forwarded-for'];
  return clientAddress(socket.remoteAddress, typeof forwarded === 'string' ? forwarded : undefined, host.proxies());
}

/** The outermost ring: headers on every response, and every failure of a page as the OpenAI error object. */
function envelope(host: Host): Middleware {
  return async (ctx, next) => {
    const headers = everyResponse(host.instance);
    for (const [name, value] of Object.entries(headers)) ctx.res.setHeader(name, value);
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
  if (request.complete || request.destroyed) return;
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
