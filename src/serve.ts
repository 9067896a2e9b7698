// The line: the life of one request, seven verbs in order.
//
//     identify → admit → read → route → dispatch → relay → account
//
// Steps pass values; none knows another. What a step takes (a place in the limits, a slot on a backend) is given back
// where its scope closes, on every exit. One outcome is opened at the door and written once.
import type { IncomingMessage } from 'node:http';
import type { Batching } from './batch/batching.ts';
import { away } from './batch/fault.ts';
import type { AnswerCache } from './cache/cache.ts';
import type { Bodies } from './edge/bodies.ts';
import type { Keyring } from './edge/keyring.ts';
import { requestId } from './edge/refusal.ts';
import { ClientGone, type Reply } from './edge/reply.ts';
import type { Embeddings } from './embed/embed.ts';
import type { Answer } from './fleet/answer.ts';
import type { Candidate } from './fleet/backend.ts';
import { upstreamOf, type Fleet } from './fleet/fleet.ts';
import { unavailable } from './fleet/queue.ts';
import { describeError, type Log } from './ops/log.ts';
import type { Metrics } from './ops/metrics.ts';
import { account } from './steps/account.ts';
import { admit } from './steps/admit.ts';
import { dispatch } from './steps/dispatch.ts';
import { identify } from './steps/identify.ts';
import { mode } from './steps/mode.ts';
import { read } from './steps/read.ts';
import { relay, type Sink } from './steps/relay.ts';
import { published, route } from './steps/route.ts';
import type { Failures } from './store/failures.ts';
import type { Limits as LimitStore } from './store/limits.ts';
import { parseAnswer } from './wire/body.ts';
import { callFrom } from './wire/call.ts';
import { GatewayError } from './wire/errors.ts';
import { asStream } from './wire/tell.ts';
import type { Call, Caller, Config, End, Endpoint, Listener, Outcome } from './types.ts';

/** What the line stands on. A reload puts another one in its place; a request keeps the one it began with. */
export interface Ground {
  readonly config: Config;
  readonly keys: Keyring;
  readonly store: LimitStore;
  readonly failures: Failures;
  readonly fleet: Fleet;
  readonly bodies: Bodies;
  readonly embeddings: Embeddings;
  /** `undefined`: the configuration has none. */
  readonly cache: AnswerCache | undefined;
  readonly batching: Batching | undefined;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** One request as it came in by the door. */
export interface Visit {
  readonly id: string;
  readonly request: IncomingMessage;
  readonly reply: Reply;
  readonly listener: Listener;
  /** The caller's address, trusted proxies taken off. */
  readonly address: string;
}

/** Answers one request on a hot route. Resolves when the last byte is out or the caller has gone; never rejects. */
export async function serve(ground: Ground, endpoint: Endpoint, visit: Visit): Promise<void> {
  const { config, fleet, metrics, log } = ground;
  const { request, reply } = visit;
  const outcome = openOutcome(visit.id, endpoint);
  metrics.accept();
  try {
    const caller = await identify(request.headers, visit.address, visit.listener, ground.keys, ground.failures);
    outcome.key = caller.key;
    using place = await admit(caller, config.limits.ip, ground.store, metrics);
    Object.assign(reply.headers, place.headers);
    using call = await read(request, endpoint, caller, ground, reply);
    outcome.streamed = call.streamed;
    // A name that is published, or none: what a client made up reaches neither log nor metrics.
    outcome.model = fleet.models.get(call.model)?.id ?? '';
    const sink = await otherwise(caller, call, visit, ground, outcome);
    if (sink !== undefined) {
      const candidates = route(caller, call, fleet.models, Math.random, config.limits.queue_wait_ms);
      if (call.streamed) reply.openStream();
      using answer = await answerOf(call, candidates, ground, reply.signal, outcome);
      await relay(answer, call, sink, ground, outcome);
    }
    await reply.closed;
    settle(outcome, reply, reply.gone ? 'client_closed' : 'complete');
  } catch (error) {
    await fail(error, reply, outcome, log);
  } finally {
    account(outcome, log, metrics);
  }
}

/** Answers out of the cache or by a batch, where the call's mode says so. Mostly it is answered at once, and this is where to. */
async function otherwise(
  caller: Caller,
  call: Call,
  visit: Visit,
  ground: Ground,
  outcome: Outcome,
): Promise<Sink | undefined> {
  const { config, fleet, cache, batching, metrics } = ground;
  const { reply, request, listener } = visit;
  const { headers } = request;
  const has = { batch: config.batch !== undefined, cache: cache !== undefined };
  const how = mode(headers, caller, fleet.models.get(call.model)?.mode, listener, has);
  if (how !== 'direct') outcome.mode = how;
  const lookup = cache?.lookup(call, caller, headers, how === 'cache');
  if (lookup?.reads === true) {
    // Another key's answer does not tell what this one may not ask.
    published(caller, call.model, fleet.models);
    const kept = await cache?.get(lookup.id);
    metrics.cached(kept === undefined ? 'miss' : 'hit');
    reply.headers['x-cache'] = kept === undefined ? 'miss' : 'hit';
    if (kept !== undefined) {
      again(kept, call, reply);
      return undefined;
    }
  }
  if (how === 'cache') {
    throw new GatewayError('not_in_cache', 'There is no answer to this in the cache, and none is asked for.');
  }
  if (how === 'direct') return lookup?.keeps === true ? keeping(reply, (body) => cache?.put(lookup.id, body)) : reply;
  if (batching === undefined) throw away();
  // Whoever can answer now: a batch can wait for who cannot.
  const upstream = upstreamOf(published(caller, call.model, fleet.models))?.backend.name;
  const answer = lookup?.keeps === true ? lookup.id : null;
  metrics.collected(how);
  await batching.collecting.answer({ id: visit.id, caller, call, headers, reply, mode: how, upstream, answer });
  return undefined;
}

/** An answer from before. */
function again(body: Buffer, call: Call, reply: Reply): void {
  if (!call.streamed) return reply.whole(200, { 'content-type': 'application/json' }, body);
  const told = asStream(parseAnswer(body));
  if (told === undefined) throw new GatewayError('not_in_cache', 'The answer in the cache cannot be told as a stream.');
  reply.openStream();
  reply.endStream(told);
}

/** The same reply, and what is told by it is kept. */
function keeping(reply: Reply, keep: (body: Buffer) => void): Sink {
  return {
    headers: reply.headers,
    signal: reply.signal,
    write: (events) => reply.write(events),
    drained: (go_on) => reply.drained(go_on),
    endStream: (events) => reply.endStream(events),
    whole: (status, headers, body) => {
      if (status === 200) keep(Buffer.from(body));
      reply.whole(status, headers, body);
    },
  };
}

/** What a line of a batch asks, and for whom. */
export interface Line {
  readonly caller: Caller;
  readonly endpoint: Endpoint;
  readonly body: Buffer;
  /** Aborted when its batch is, or when it must yield. */
  readonly signal: AbortSignal;
  /** Called when others want its slot back. */
  readonly yields: () => void;
}

/**
 * A line of a batch: the line from `route` on, in class `batch`, its answer in hand. Of a model's backends those are asked that
 * run it themselves. @throws GatewayError, or the signal's reason
 */
export async function serveLine(ground: Ground, { caller, endpoint, body, signal, yields }: Line): Promise<LineAnswer> {
  const { config, fleet, metrics, log } = ground;
  const outcome = openOutcome(requestId(), endpoint, true);
  outcome.key = caller.key;
  const { bodies_bytes_max } = config.limits;
  let told: Buffer | undefined;
  const sink: Sink = {
    headers: {},
    signal,
    write: () => true,
    drained: (go_on) => go_on(),
    endStream: () => undefined,
    whole: (_status, _headers, bytes) => void (told = Buffer.from(bytes)),
  };
  ground.bodies.hold(body.length, bodies_bytes_max);
  try {
    const call = { ...callFrom(body, endpoint, caller.default_model), yields };
    outcome.model = fleet.models.get(call.model)?.id ?? '';
    const able = route(caller, call, fleet.models, Math.random, config.limits.queue_wait_ms);
    // It can wait: another model does not answer for the one that was asked.
    const candidates = able.filter(({ backend, model }) => backend.config.batch !== 'upstream' && model === call.model);
    if (candidates.length === 0) throw unavailable(able);
    using answer = await answerOf(call, candidates, ground, signal, outcome);
    await relay(answer, call, sink, ground, outcome);
    if (told === undefined) throw new Error('an answer was relayed and not told');
    outcome.end = 'complete';
    outcome.status = 200;
    return { id: outcome.id, body: told };
  } catch (error) {
    const known = error instanceof GatewayError ? error : undefined;
    outcome.end = known === undefined ? (signal.aborted ? 'client_closed' : 'bug') : endOf(known);
    outcome.status = known?.status ?? 499;
    outcome.code = known?.code ?? '';
    outcome.cause = known?.details.cause ?? '';
    if (outcome.end === 'bug') log.error('bug', { id: outcome.id, ...describeError(error) });
    throw error;
  } finally {
    ground.bodies.release(body.length);
    account(outcome, log, metrics);
  }
}

export interface LineAnswer {
  /** Of this request, as the log has it. */
  readonly id: string;
  readonly body: Buffer;
}

/** Embeddings may be sent in parts, together, or once for several; all else is one call to one backend. */
function answerOf(
  call: Call,
  candidates: readonly Candidate[],
  ground: Ground,
  signal: AbortSignal,
  outcome: Outcome,
): Promise<Answer> {
  if (call.endpoint !== 'embeddings') return dispatch(call, candidates, ground, signal, outcome);
  return ground.embeddings.embed(dispatch, call, candidates, ground, signal, outcome);
}

function openOutcome(id: string, endpoint: Endpoint, line = false): Outcome {
  return {
    id,
    endpoint,
    line,
    started_at: performance.now(),
    key: '',
    model: '',
    backend: '',
    streamed: false,
    status: 0,
    end: 'bug',
    code: '',
    cause: '',
    retries: 0,
    shared: false,
    tokens_in: undefined,
    tokens_out: undefined,
    tokens_told: 0,
    queued_ms: 0,
    load_ms: 0,
    first_byte_at: undefined,
    cancel_ms: undefined,
  };
}

async function fail(error: unknown, reply: Reply, outcome: Outcome, log: Log): Promise<void> {
  if (error instanceof ClientGone) {
    if (outcome.backend !== '') outcome.cancel_ms = performance.now() - error.at;
    return settle(outcome, reply, 'client_closed');
  }
  const failure = error instanceof GatewayError ? error : new GatewayError('internal_error', 'The gateway failed.');
  if (failure !== error) log.error('bug', { id: outcome.id, ...describeError(error) });
  outcome.code = failure.code;
  outcome.cause = failure.details.cause ?? '';
  outcome.status = failure.status;
  reply.fail(failure);
  await reply.closed;
  settle(outcome, reply, reply.gone ? 'client_closed' : endOf(failure));
}

/** A status told in-band is still the status of the outcome. */
function settle(outcome: Outcome, reply: Reply, end: End): void {
  outcome.end = end;
  if (end === 'client_closed') outcome.status = 499;
  else if (outcome.status === 0) outcome.status = reply.status;
}

function endOf({ code }: GatewayError): End {
  if (code === 'internal_error') return 'bug';
  return code.startsWith('upstream_') ? 'backend_failed' : 'rejected';
}
