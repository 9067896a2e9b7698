// Pass it on: a stream event by event as it comes, with backpressure; a whole answer once it is whole and makes sense.
import type { Answer } from '../fleet/answer.ts';
import { encodesHere } from '../fleet/ask.ts';
import { HttpFault } from '../fleet/fault.ts';
import { readAll } from '../fleet/http.ts';
import type { Reply } from '../edge/reply.ts';
import type { Metrics } from '../ops/metrics.ts';
import { findMembers, isNull, parseAnswer } from '../wire/body.ts';
import { toBase64 } from '../wire/embeddings.ts';
import { GatewayError } from '../wire/errors.ts';
import { meaningOf, readRefusal } from '../wire/refusals.ts';
import { DONE, EventStream, readUsage, type Usage } from '../wire/sse.ts';
import type { Call, Limits, Outcome } from '../types.ts';

interface Means {
  readonly metrics: Metrics;
  readonly config: { readonly limits: Limits };
}

/** @throws GatewayError when the backend breaks off or makes no sense, or the reply's signal's reason */
export async function relay(answer: Answer, call: Call, reply: Reply, means: Means, outcome: Outcome): Promise<void> {
  reply.headers['x-lanyard-model'] = inHeader(outcome.model);
  reply.headers['x-lanyard-backend'] = answer.backend.name;
  try {
    if (call.streamed) await relayStream(answer, call, reply, means, outcome);
    else await relayWhole(answer, call, reply, means.config.limits, outcome);
  } catch (error) {
    if (error instanceof GatewayError && error.code.startsWith('upstream_')) {
      answer.broke();
      means.metrics.upstream_errors.inc({ backend: answer.backend.name, kind: 'answer' });
    }
    throw error;
  }
}

async function relayStream(
  answer: Answer,
  call: Call,
  reply: Reply,
  { metrics, config }: Means,
  outcome: Outcome,
): Promise<void> {
  const { limits } = config;
  // LM Studio says some errors with 200 and JSON (bugs 618, 1323); what else is not a stream cannot be passed as one.
  if (!answer.content_type.startsWith('text/event-stream')) {
    await readSense(answer, limits, reply.signal);
    throw new GatewayError('upstream_invalid', 'The backend did not stream its answer.', { cause: 'no event stream' });
  }
  const { backend, body } = answer;
  reply.headers[SPENT] = spentOn(outcome);
  const events = new EventStream({
    strip_usage: !call.wants_usage,
    choices: choicesOf(call),
    secrets: backend.secrets,
  });
  const { signal } = reply;
  await new Promise<void>((resolve, reject) => {
    const write = (bytes: Buffer): boolean => {
      if (bytes.length === 0) return true;
      outcome.first_byte_at ??= performance.now();
      return reply.write(bytes);
    };
    body.attach({
      data: (chunk) => {
        backend.alive(performance.now());
        const flowing = write(events.push(chunk));
        if (events.failure !== undefined) reject(events.failure);
        else if (events.done) resolve();
        else if (!flowing) {
          reply.drained(() => body.resume());
          return false;
        }
        return true;
      },
      end: () => {
        write(events.end());
        if (events.failure !== undefined) reject(events.failure);
        else if (events.complete) resolve();
        else reject(brokenOff('ended without finish_reason or [DONE]'));
      },
      // Even after every finish_reason: only a clean end says that nothing more was to come.
      fail: (fault) => reject(signal.aborted ? signal.reason : streamFault(fault)),
    });
    if (signal.aborted) reject(signal.reason);
  }).finally(() => {
    outcome.tokens_in = events.usage?.tokens_in;
    outcome.tokens_out = events.usage?.tokens_out;
    if (events.invalid > 0) metrics.stream_events_invalid.inc({ backend: backend.name }, events.invalid);
  });
  answer.completed();
  reply.endStream(events.done ? Buffer.alloc(0) : DONE);
}

async function relayWhole(answer: Answer, call: Call, reply: Reply, limits: Limits, outcome: Outcome): Promise<void> {
  const { body, usage } = await readSense(answer, limits, reply.signal);
  outcome.first_byte_at = performance.now();
  outcome.tokens_in = usage?.tokens_in;
  outcome.tokens_out = usage?.tokens_out;
  const passed = encodesHere(call, answer.backend) ? toBase64(body) : body;
  answer.completed();
  reply.whole(200, { 'content-type': 'application/json', [SPENT]: spentOn(outcome) }, passed);
}

/** OpenAI's name for the milliseconds from arrival to the answer, to its beginning where it is streamed. */
const SPENT = 'openai-processing-ms';

function spentOn({ started_at }: Outcome): string {
  return String(Math.round(performance.now() - started_at));
}

/** The whole answer, if it is a JSON object that is not an error. */
async function readSense(
  answer: Answer,
  limits: Limits,
  signal: AbortSignal,
): Promise<{ body: Buffer; usage: Usage | undefined }> {
  let body: Buffer;
  try {
    body = await readAll(answer.http, limits.answer_bytes_max);
  } catch (fault) {
    signal.throwIfAborted();
    throw fault instanceof HttpFault ? streamFault(fault) : fault;
  }
  const { failed, usage } = body.length <= PARSED_BYTES_MAX ? parsed(body) : scanned(body);
  // A 200 that carries an error is an error.
  if (failed) throw meaningOf(500, readRefusal(500, body, 'application/json'), { secrets: answer.backend.secrets });
  return { body, usage };
}

/** Up to here V8's parser is faster than our scan, which builds nothing but is not compiled C++. */
const PARSED_BYTES_MAX = 16 * 1024;

interface Sense {
  readonly failed: boolean;
  readonly usage: Usage | undefined;
}

function parsed(body: Buffer): Sense {
  const answer = parseAnswer(body);
  const { error } = answer;
  const failed =
    error !== undefined && error !== null && answer['choices'] === undefined && answer['data'] === undefined;
  return { failed, usage: readUsage(answer['usage']) };
}

function scanned(body: Buffer): Sense {
  const { members } = findMembers(body);
  const error = members.get('error');
  const failed = error !== undefined && !isNull(body, error) && !members.has('choices') && !members.has('data');
  const field = members.get('usage');
  return {
    failed,
    usage: field === undefined ? undefined : usageIn(body.subarray(field.value_start, field.value_end)),
  };
}

/** Usage that cannot be read is no reason to withhold an answer. */
function usageIn(json: Buffer): Usage | undefined {
  try {
    return readUsage(JSON.parse(json.toString('utf8')));
  } catch {
    return undefined;
  }
}

function streamFault(fault: HttpFault): GatewayError {
  if (fault.kind === 'timeout' && fault.code === 'first_byte_ms') {
    return new GatewayError('upstream_timeout', 'The backend did not answer in time (first_byte_ms).', {
      cause: fault.code,
    });
  }
  if (fault.kind === 'timeout') {
    return new GatewayError('upstream_timeout', 'The backend fell silent in the middle of its answer (idle_ms).', {
      cause: fault.code,
    });
  }
  if (fault.code === 'answer_bytes_max') {
    const message = "The backend's answer is too large to pass on (answer_bytes_max).";
    return new GatewayError('upstream_invalid', message, { cause: fault.code });
  }
  return brokenOff(`${fault.kind} ${fault.code}`);
}

function brokenOff(cause: string): GatewayError {
  return new GatewayError('upstream_stream_aborted', 'The backend broke off in the middle of its answer.', { cause });
}

/** A name as a header can carry it: what is not ASCII, or a space, as in a URL. A discovered model may have any name. */
function inHeader(name: string): string {
  if (/^[!-$&-~]*$/.test(name)) return name;
  return name.toWellFormed().replaceAll(/[^!-$&-~]+/g, encodeURIComponent);
}

/** How many choices the caller asked for: the engine's own check is the one that counts, so anything odd is one. */
function choicesOf({ body, fields }: Call): number {
  const field = fields.members.get('n');
  const n = field === undefined ? 1 : Number(body.toString('latin1', field.value_start, field.value_end));
  return Number.isSafeInteger(n) && n > 0 ? n : 1;
}
