// Pass it on: a stream event by event as it comes, with backpressure; a whole answer once it is whole and makes sense.
import type { Answer } from '../fleet/answer.ts';
import { encodesHere } from '../fleet/ask.ts';
import { HttpFault, brokenAnswer, brokenOff } from '../fleet/fault.ts';
import { readAll } from '../fleet/http.ts';
import type { Reply } from '../edge/reply.ts';
import type { Metrics } from '../ops/metrics.ts';
import { findMembers, setMember, splice } from '../wire/body.ts';
import { toBase64 } from '../wire/embeddings.ts';
import { GatewayError } from '../wire/errors.ts';
import { senseOf, type Sense } from '../wire/sense.ts';
import { Mender } from '../wire/mend.ts';
import { EventStream } from '../wire/sse.ts';
import { stopsOf } from '../wire/stops.ts';
import { asStream } from '../wire/tell.ts';
import { estimated, guessTokens, type Usage } from '../wire/usage.ts';
import type { Call, Limits, Outcome } from '../types.ts';

/** Where an answer goes: to a caller, or down in a batch. */
export type Sink = Pick<Reply, 'headers' | 'signal' | 'write' | 'drained' | 'endStream' | 'whole'>;

interface Means {
  readonly metrics: Metrics;
  readonly config: { readonly limits: Limits };
}

/** @throws GatewayError when the backend breaks off or makes no sense, or the reply's signal's reason */
export async function relay(answer: Answer, call: Call, reply: Sink, means: Means, outcome: Outcome): Promise<void> {
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
  reply: Sink,
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
        fail: (fault) => reject(signal.aborted ? signal.reason : brokenAnswer(fault)),
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

async function relayWhole(answer: Answer, call: Call, reply: Sink, limits: Limits, outcome: Outcome): Promise<void> {
  const embeds = call.endpoint === 'embeddings';
  const sense = await readSense(answer, limits, reply.signal, !embeds);
  outcome.first_byte_at = performance.now();
  if (sense.usage !== undefined) counted(sense.usage, answer, call, outcome, false);
  const passed = embeds ? vectors(sense, call, answer, outcome) : mended(sense, call, answer, outcome);
  answer.completed();
  reply.whole(200, { 'content-type': 'application/json', [SPENT]: spentOn(outcome) }, passed);
}

function vectors({ body, tells_usage }: Sense, call: Call, answer: Answer, outcome: Outcome): Buffer {
  const encoded = encodesHere(call, answer.backend) ? toBase64(body) : body;
  if (tells_usage) return encoded;
  const tokens = guessTokens(call.prompt_bytes());
  counted({ tokens_in: tokens, tokens_out: undefined }, answer, call, outcome, true);
  const usage = JSON.stringify({ prompt_tokens: tokens, total_tokens: tokens, estimated: true });
  return splice(encoded, [setMember(encoded, findMembers(encoded), 'usage', usage)]);
}

/** What differs between engines made alike; the bytes themselves where nothing does. */
function mended({ body, parsed, tells_usage }: Sense, call: Call, answer: Answer, outcome: Outcome): Buffer {
  if (parsed === undefined) return body;
  const better = menderOf(call, answer, outcome).whole(parsed);
  if (tells_usage) return better === parsed ? body : Buffer.from(JSON.stringify(better));
  const tokens_in = guessTokens(call.prompt_bytes());
  const tokens_out = guessTokens(body.length - ENVELOPE_BYTES);
  counted({ tokens_in, tokens_out }, answer, call, outcome, true);
  return Buffer.from(JSON.stringify({ ...better, usage: estimated(tokens_in, tokens_out) }));
}

/** What an answer has beside its text, by and large. */
const ENVELOPE_BYTES = 250;

function menderOf(call: Call, { backend }: Answer, outcome: Outcome): Mender {
  const stops = backend.engine.keeps_stop && call.streamed ? stopsOf(call) : [];
  return new Mender({ id: outcome.id.replace(/^req_/, ''), stops });
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

/** `parses`: it is wanted as an object. */
async function readSense(answer: Answer, limits: Limits, signal: AbortSignal, parses: boolean): Promise<Sense> {
  try {
    return senseOf(await readAll(answer.http, limits.answer_bytes_max), answer.backend.secrets, parses);
  } catch (fault) {
    signal.throwIfAborted();
    throw fault instanceof HttpFault ? brokenAnswer(fault) : fault;
  }
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
