// The line: the life of one request, seven verbs in order.
//
//     identify → admit → read → route → dispatch → relay → account
//
// Steps pass values; none knows another. What a step takes (a place in the limits, a slot on a backend) is given back
// where its scope closes, on every exit. One outcome is opened at the door and written once.
import type { IncomingMessage } from 'node:http';
import type { Bodies } from './edge/bodies.ts';
import type { Keyring } from './edge/keyring.ts';
import { ClientGone, type Reply } from './edge/reply.ts';
import type { Embeddings } from './embed/embed.ts';
import type { Answer } from './fleet/answer.ts';
import type { Candidate } from './fleet/backend.ts';
import type { Fleet } from './fleet/fleet.ts';
import { describeError, type Log } from './ops/log.ts';
import type { Metrics } from './ops/metrics.ts';
import { account } from './steps/account.ts';
import { admit } from './steps/admit.ts';
import { dispatch } from './steps/dispatch.ts';
import { identify } from './steps/identify.ts';
import { read } from './steps/read.ts';
import { relay } from './steps/relay.ts';
import { route } from './steps/route.ts';
import type { Failures } from './store/failures.ts';
import type { Limits as LimitStore } from './store/limits.ts';
import { GatewayError } from './wire/errors.ts';
import type { Call, Config, End, Endpoint, Listener, Outcome } from './types.ts';

/** What the line stands on. A reload puts another one in its place; a request keeps the one it began with. */
export interface Ground {
  readonly config: Config;
  readonly keys: Keyring;
  readonly store: LimitStore;
  readonly failures: Failures;
  readonly fleet: Fleet;
  readonly bodies: Bodies;
  readonly embeddings: Embeddings;
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
    const candidates = route(caller, call, fleet.models, Math.random, config.limits.queue_wait_ms);
    if (call.streamed) reply.openStream();
    {
      using answer = await answerOf(call, candidates, ground, reply.signal, outcome);
      await relay(answer, call, reply, ground, outcome);
    }
    await reply.closed;
    settle(outcome, reply, reply.gone ? 'client_closed' : 'complete');
  } catch (error) {
    await fail(error, reply, outcome, log);
  } finally {
    account(outcome, log, metrics);
  }
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

function openOutcome(id: string, endpoint: Endpoint): Outcome {
  return {
    id,
    endpoint,
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
