// Loading a model that is not in memory, before it is asked: once for all who wait for it, by the engine's own route for
// it, which infers nothing. It goes on when they leave.
import { setTimeout as pause } from 'node:timers/promises';
import type { Candidate } from './backend.ts';
import { HttpFault, Refused } from './fault.ts';
import { readAll, type Ask, type HttpAnswer } from './http.ts';
import { GatewayError } from '../wire/errors.ts';
import { parseRecord } from '../wire/record.ts';
import { meaningOf, readRefusal } from '../wire/refusals.ts';
import type { Endpoint, Limits } from '../types.ts';

const POLL_MS = 250;
const ANSWER_BYTES_MAX = 4 << 20;
const HEADERS = {
  'content-type': 'application/json',
  accept: 'application/json',
  'accept-encoding': 'identity',
  'user-agent': 'lanyard',
};

/** Whether this model must be loaded first, and we know how. */
export function isCold({ backend, name }: Candidate): boolean {
  return backend.engine.load !== undefined && backend.resident(name) === false;
}

/** Resolves once it is loaded. @throws HttpFault, Refused */
export async function load(
  { backend, name, deployment }: Candidate,
  endpoint: Endpoint,
  limits: Limits,
): Promise<void> {
  const how = backend.engine.load;
  if (how === undefined) return;
  const until = performance.now() + limits.load_ms;
  try {
    const { path, body } = how.ask(name, endpoint, deployment);
    await whole({ method: 'POST', path: backend.at(path), headers: HEADERS, body: [Buffer.from(body)] });
    const { poll } = how;
    if (poll === undefined) return;
    for (;;) {
      const told = parseRecord(
        await whole({ method: 'GET', path: backend.at(poll.path), headers: HEADERS, body: undefined }),
      );
      const state = poll.read(told ?? {}, name);
      if (state === 'loaded') return;
      if (state === 'failed')
        throw new Refused(500, new GatewayError('upstream_error', 'The backend could not load the model.'), true);
      if (performance.now() > until) throw new HttpFault('timeout', 'load_ms');
      await pause(POLL_MS);
    }
  } catch (error) {
    if (!(error instanceof HttpFault && error.kind === 'timeout')) throw error;
    const message = 'The model was not loaded in time (load_ms). Try again shortly.';
    throw new Refused(503, new GatewayError('model_loading', message, { retry_ms: 60_000, cause: 'load_ms' }), true);
  }

  async function whole(ask: Ask): Promise<string> {
    const left_ms = Math.max(1, until - performance.now());
    const waits = { connect_ms: limits.connect_ms, first_byte_ms: left_ms, idle_ms: left_ms };
    const answer = await backend.send(ask, waits, undefined);
    const bytes = await readAll(answer, ANSWER_BYTES_MAX, left_ms);
    if (answer.status === 200) return bytes.toString('utf8');
    throw refusal(answer, bytes, backend.secrets);
  }
}

function refusal({ status, headers }: HttpAnswer, bytes: Buffer, secrets: readonly string[]): Refused {
  const meaning = meaningOf(status, readRefusal(status, bytes, headers.get('content-type')), {
    secrets,
    retry_after: headers.get('retry-after'),
  });
  return new Refused(status, meaning, true);
}
