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
import { Mender } from '../wire/mend.ts';
import { parseRecord } from '../wire/record.ts';
import { EventStream } from '../wire/sse.ts';
import { stopsOf } from '../wire/stops.ts';
import { asStream } from '../wire/tell.ts';
import { estimated, guessTokens, readUsage, type Usage } from '../wire/usage.ts';
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
  const { backend, body } = answer;
  const events = new EventStream({
    strip_usage: !call.wants_usage,
    choices: choicesOf(call),
    secrets: backend.secrets,
    mender: menderOf(call, answer, outcome),
    prompt_tokens: () => guessTokens(call.prompt_bytes()),
  });
  const { signal } = reply;
  const write = (bytes: Buffer): boolean => {
    if (bytes.length === 0) return true;
    outcome.first_byte_at ??= performance.now();
    return reply.write(bytes);
  };
  const told = answer.content_type.startsWith('text/event-stream')
    ? undefined
    : await readAsStream(answer, limits, signal);
  reply.headers[SPENT] = spentOn(outcome);
  const relayed = told === undefined ? relayEvents() : Promise.resolve(void write(events.push(told)));
  await relayed.finally(() => {
    if (events.usage !== undefined) counted(events.usage, answer, call, outcome, events.usage_estimated);
    if (events.invalid > 0) metrics.stream_events_invalid.inc({ backend: backend.name }, events.invalid);
    outcome.tokens_told = events.events;
  });
  answer.completed();
  reply.endStream(events.close());

  function relayEvents(): Promise<void> {
    return new Promise<void>((resolve, reject) => {
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
    });
  }
}

/** A whole answer to a call for a stream, of a backend that has none. */
async function readAsStream(answer: Answer, limits: Limits, signal: AbortSignal): Promise<Buffer> {
  // LM Studio says some errors with 200 and JSON (bugs 618, 1323).
  const { parsed = {} } = await readSense(answer, limits, signal, true);
  const told = asStream(parsed);
  if (told !== undefined) return told;
  throw new GatewayError('upstream_invalid', 'The backend did not stream its answer.', { cause: 'no event stream' });
}

async function relayWhole(answer: Answer, call: Call, reply: Reply, limits: Limits, outcome: Outcome): Promise<void> {
  const embeds = call.endpoint === 'embeddings';
  const sense = await readSense(answer, limits, reply.signal, !embeds);
  outcome.first_byte_at = performance.now();
  const passed = encodesHere(call, answer.backend) ? toBase64(sense.body) : mended(sense, call, answer, outcome);
  if (sense.usage !== undefined) counted(sense.usage, answer, call, outcome, false);
  answer.completed();
  reply.whole(200, { 'content-type': 'application/json', [SPENT]: spentOn(outcome) }, passed);
}

/** What differs between engines made alike; the bytes themselves where nothing does. */
function mended({ body, parsed }: Sense, call: Call, answer: Answer, outcome: Outcome): Buffer {
  if (parsed === undefined || call.endpoint === 'embeddings') return body;
  const better = menderOf(call, answer, outcome).whole(parsed);
  if (isTold(parsed['usage'])) return better === parsed ? body : Buffer.from(JSON.stringify(better));
  const tokens_in = guessTokens(call.prompt_bytes());
  const tokens_out = guessTokens(body.length - ENVELOPE_BYTES);
  counted({ tokens_in, tokens_out }, answer, call, outcome, true);
  return Buffer.from(JSON.stringify({ ...better, usage: estimated(tokens_in, tokens_out) }));
}

/** Whatever an engine says of its usage is the engine's. */
function isTold(usage: unknown): boolean {
  return usage !== undefined && usage !== null;
}

/** What an answer has beside its text, by and large. */
const ENVELOPE_BYTES = 250;

function menderOf(call: Call, { backend }: Answer, outcome: Outcome): Mender {
  const stops = backend.engine.keeps_stop && call.streamed ? stopsOf(call) : [];
  return new Mender({ id: outcome.id.replaceAll('-', ''), stops });
}

/** Tokens are the caller's; what an engine counted also teaches how long this model's tokens are. */
function counted(usage: Usage, answer: Answer, call: Call, outcome: Outcome, guessed: boolean): void {
  outcome.tokens_in = usage.tokens_in;
  outcome.tokens_out = usage.tokens_out;
  if (guessed || usage.tokens_in === undefined || call.body.length < MEASURED_BYTES_MIN) return;
  answer.backend.measure.learn(answer.name, call.prompt_bytes(), usage.tokens_in);
}

/** In a small call most is not text. */
const MEASURED_BYTES_MIN = 2_000;

/** OpenAI's name for the milliseconds from arrival to the answer, to its beginning where it is streamed. */
const SPENT = 'openai-processing-ms';

function spentOn({ started_at }: Outcome): string {
  return String(Math.round(performance.now() - started_at));
}

/** A whole answer, once it is known to be a JSON object that is not an error. */
interface Sense {
  readonly body: Buffer;
  readonly usage: Usage | undefined;
  /** Where it was worth parsing. */
  readonly parsed: Record<string, unknown> | undefined;
}

/** `parses`: it is wanted as an object. Else a large one is only looked through, which builds nothing. */
async function readSense(answer: Answer, limits: Limits, signal: AbortSignal, parses: boolean): Promise<Sense> {
  let body: Buffer;
  try {
    body = await readAll(answer.http, limits.answer_bytes_max);
  } catch (fault) {
    signal.throwIfAborted();
    throw fault instanceof HttpFault ? streamFault(fault) : fault;
  }
  const sense = parses || body.length <= PARSED_BYTES_MAX ? parsed(body) : scanned(body);
  // A 200 that carries an error is an error.
  if (sense.failed)
    throw meaningOf(500, readRefusal(500, body, 'application/json'), { secrets: answer.backend.secrets });
  return { body, ...sense };
}

/** Up to here V8's parser is faster than our scan, which builds nothing but is not compiled C++. */
const PARSED_BYTES_MAX = 16 * 1024;

function parsed(body: Buffer): Omit<Sense, 'body'> & { readonly failed: boolean } {
  const answer = parseAnswer(body);
  const { error } = answer;
  const failed =
    error !== undefined && error !== null && answer['choices'] === undefined && answer['data'] === undefined;
  return { failed, usage: readUsage(answer['usage']), parsed: answer };
}

function scanned(body: Buffer): Omit<Sense, 'body'> & { readonly failed: boolean } {
  const { members } = findMembers(body);
  const error = members.get('error');
  const failed = error !== undefined && !isNull(body, error) && !members.has('choices') && !members.has('data');
  const field = members.get('usage');
  const usage = field === undefined ? undefined : usageIn(body.subarray(field.value_start, field.value_end));
  return { failed, usage, parsed: undefined };
}

/** Usage that cannot be read is no reason to withhold an answer. */
function usageIn(json: Buffer): Usage | undefined {
  return readUsage(parseRecord(json.toString('utf8')));
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
