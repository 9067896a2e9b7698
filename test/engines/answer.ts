// One request answered: what the engine refuses, the faults that come instead of an answer, and the answer itself.
import { setImmediate, setTimeout } from 'node:timers/promises';
import type { Ask, Endpoint, Said } from './answers.ts';
import type { Fault, Mistake } from './faults.ts';
import type { Pipe } from './pipe.ts';
import type { ModelSpec, Reply, Shape, Telling } from './shapes/shape.ts';
import type { Engine } from './state.ts';
import type { Line } from './tell.ts';
import type { Visit } from './visit.ts';
import { base64_of, default_tokens, inputs_of, read_ask, say, usage_of, vector } from './answers.ts';
import { calls_of, thought, thoughts_of, whole_calls, with_delta } from './extras.ts';
import { pick } from './faults.ts';
import { forever, Gone, pause } from './pipe.ts';
import { finished, mistake, pipe_for, refuse, reply } from './reply.ts';
import { choices_of, tell_stream, tell_whole } from './tell.ts';

/** So that what was written has left the peer's kernel before a reset: on some systems a reset discards it unread. */
const BEFORE_RESET_MS = 10;

export async function answer(engine: Engine, visit: Visit, endpoint: Endpoint): Promise<void> {
  const { shape, options } = engine;
  const { faults, gone } = visit;
  const ask = read_ask(endpoint, visit.entry.body, visit.native);
  if (await instead(engine, visit, ask)) return;
  if (await refuse(engine, visit, undefined)) return;
  const model = ask && engine.models.find(({ name }) => name === ask.model || name === `${ask.model}:latest`);
  const wrong = wrong_with(engine, ask, model);
  if (wrong !== undefined) return reply(engine, visit, mistake(engine, wrong, ask, model));
  if (ask === undefined) throw new Error('a request without a body was let through');
  if (shape.too_many !== undefined && endpoint === 'embeddings' && (inputs_of(ask)?.length ?? 0) > shape.inputs_max)
    return reply(engine, visit, shape.too_many);

  const load = engine.load(model?.name ?? ask.model);
  if (load) await Promise.race([load, forever(gone)]);
  await engine.slots.take(gone);
  try {
    visit.entry.began = true;
    engine.ledger.changed();
    const telling: Telling = { ask, id: engine.next_id(), created: Math.floor(Date.now() / 1000) };
    const tokens = options.reply?.(ask.body) ?? default_tokens(options.tokens);
    const said = say(ask, tokens, shape.limits, shape.keeps_stop && ask.streamed);
    if (pick(faults, 'hold')) await engine.gate.wait(gone);
    const pipe = pipe_for(visit);
    const line = line_for(engine, visit, pipe);
    if (ask.streamed) {
      const length: Record<string, string> = pick(faults, 'truncated') ? { 'content-length': String(2 ** 30) } : {};
      await pipe.head(200, {
        ...shape.headers,
        'content-type': ask.native ? 'application/x-ndjson' : shape.stream_type,
        'cache-control': 'no-cache',
        ...length,
      });
      await delay(visit, 'delay_body');
      await tell_stream(shape, telling, said, options.tps ?? 0, line);
    } else {
      await whole(engine, visit, telling, said, line);
    }
    await finished(visit);
  } finally {
    if (pick(faults, 'deaf') && visit.entry.ended === 'aborted') await engine.gate.wait(new AbortController().signal);
    engine.slots.give();
  }
}

function wrong_with(
  { shape, models }: Engine,
  ask: Ask | undefined,
  model: ModelSpec | undefined,
): Mistake | undefined {
  if (ask === undefined) return 'bad_request';
  if (model === undefined && !(shape.any_model && models.length > 0)) return 'unknown_model';
  const { endpoint, body } = ask;
  if (endpoint === 'chat/completions' && !Array.isArray(body['messages'])) return 'bad_request';
  if (
    endpoint === 'completions' &&
    !(typeof body['prompt'] === 'string' || (shape.token_inputs && Array.isArray(body['prompt'])))
  )
    return 'bad_request';
  if (endpoint === 'embeddings') {
    const inputs = inputs_of(ask);
    if (inputs === undefined) return 'bad_request';
    if (!shape.token_inputs && inputs.some((input) => typeof input !== 'string')) return 'bad_request';
  }
  const options = (body['options'] ?? {}) as { num_ctx?: number };
  const context = options.num_ctx ?? model?.context;
  const cuts = shape.cuts_overflow && body['truncate'] !== false;
  // Each input has the context to itself.
  const tokens =
    endpoint === 'embeddings' ? Math.max(...(inputs_of(ask) ?? []).map((one) => one.length / 4)) : ask.prompt_tokens;
  if (context !== undefined && tokens > context && !cuts) return 'overflow';
  return undefined;
}

/** The faults that come in place of an answer; true when that was all. */
async function instead(engine: Engine, visit: Visit, ask: Ask | undefined): Promise<boolean> {
  const { faults, socket } = visit;
  await delay(visit, 'delay');
  const tell = async (told: Reply): Promise<true> => {
    await reply(engine, visit, told);
    return true;
  };
  const cut = (how: 'reset' | 'fin', bytes: string | Buffer = ''): true => {
    visit.leave('broken');
    if (bytes.length > 0) socket.write(bytes);
    if (how === 'reset') socket.resetAndDestroy();
    else socket.destroySoon();
    return true;
  };
  const status = pick(faults, 'status');
  if (status !== undefined && pick(faults, 'hold')) await engine.gate.wait(visit.gone);
  if (status) {
    const { body } = mistake(engine, status.status >= 429 ? 'overloaded' : 'bad_request', ask, undefined);
    return tell({ ...status, body: status.body ?? body });
  }
  const error = pick(faults, 'error');
  if (error) return tell(mistake(engine, error.what, ask, undefined));
  if (pick(faults, 'error_200')) return tell({ ...mistake(engine, 'internal', ask, undefined), status: 200 });
  const bad_json = pick(faults, 'bad_json');
  if (bad_json) return tell({ status: 200, body: bad_json.body ?? '{"id":"chatcmpl-1","choices":[{"index":0,' });
  const html = pick(faults, 'html');
  if (html) return tell({ status: html.status ?? 502, body: HTML, type: 'text/html' });
  const garbage = pick(faults, 'garbage');
  if (garbage) return cut('fin', garbage.bytes ?? 'SSH-2.0-OpenSSH_9.9\r\n\u0000\u0001\u0002');
  if (pick(faults, 'reset')) return cut('reset');
  if (pick(faults, 'close')) return cut('fin');
  if (pick(faults, 'hang')) await forever(visit.gone);
  return false;
}

// As nginx 1.2x words it when its upstream is away.
const HTML =
  '<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n';

const CHUNKED = new Set<Fault['kind']>(['endless', 'bad_chunk', 'end_after', 'error_event_after', 'raw_json_after']);

async function whole(engine: Engine, visit: Visit, telling: Telling, said: Said, line: Line): Promise<void> {
  const { shape, options } = engine;
  const { ask } = telling;
  const { faults, gone } = visit;
  const choices = choices_of(shape, ask);
  const made = ask.endpoint === 'embeddings' ? 0 : said.tokens.length * choices;
  if (made > 0 && options.tps) await pause((said.tokens.length * 1000) / options.tps, gone);
  const huge = pick(faults, 'huge_event');
  const text = huge ? 'x'.repeat(huge.bytes) : said.text;
  const told =
    ask.endpoint === 'embeddings'
      ? shape.embeddings(telling, vectors(engine, ask))
      : whole_of(shape, telling, { ...said, text }, made, choices);
  const body = Buffer.from(JSON.stringify(told));
  const missing = pick(faults, 'truncated')?.missing ?? (pick(faults, 'truncated') ? 100 : 0);
  // Where the body is to go on for ever, or its chunks are to be broken, it has to be chunked.
  const chunked = faults.some(({ kind }) => CHUNKED.has(kind));
  await line.pipe.head(200, {
    ...shape.headers,
    'content-type': shape.json_type,
    ...(chunked ? {} : { 'content-length': String(body.length + missing) }),
  });
  await delay(visit, 'delay_body');
  if (pick(faults, 'endless')) {
    const more = Buffer.alloc(16_384, 'x');
    await line.pipe.write(Buffer.from('{"id":"'));
    for (;;) {
      await line.pipe.write(more);
      line.sent({ bytes: more.length });
      await setImmediate();
    }
  }
  await tell_whole(body, shape, telling, made, line);
}

/** With what it thinks and the tools it calls, in place of text. */
function whole_of(shape: Shape, telling: Telling, said: Said, made: number, choices: number): object {
  const { ask } = telling;
  const calls = calls_of(ask);
  const thoughts = thoughts_of(ask, shape.kind).join('');
  const usage = usage_of(ask, made);
  if (calls.length === 0 && thoughts === '') return shape.whole(telling, said, usage, choices);
  const told = calls.length > 0 ? { ...said, text: '', reason: 'tool_calls' as const } : said;
  return with_delta(shape.whole(telling, told, usage, choices), {
    ...(thoughts !== '' && thought(shape.kind, thoughts)),
    ...(calls.length > 0 && { tool_calls: whole_calls(shape.kind, calls) }),
  });
}

function vectors({ shape }: Engine, ask: Ask): (string | number[])[] {
  const dimensions =
    shape.dimensions && typeof ask.body['dimensions'] === 'number' ? ask.body['dimensions'] : undefined;
  const coded = shape.base64 && ask.body['encoding_format'] === 'base64';
  return (inputs_of(ask) ?? []).map((input) => {
    const floats = vector(input, dimensions);
    return coded ? base64_of(floats) : floats;
  });
}

function line_for(engine: Engine, visit: Visit, pipe: Pipe): Line {
  const { entry, socket, gone, faults } = visit;
  return {
    pipe,
    gone,
    faults,
    reset: async () => {
      await setTimeout(BEFORE_RESET_MS);
      visit.leave('broken');
      socket.resetAndDestroy();
      throw new Gone();
    },
    fin: async () => {
      await setImmediate();
      visit.leave('broken');
      socket.destroySoon();
      throw new Gone();
    },
    raw: async (bytes) => {
      // Node's response may still hold the last chunk until the next turn.
      await setImmediate();
      socket.write(bytes);
    },
    held: () => engine.gate.wait(gone),
    forever: () => forever(gone),
    sent: ({ tokens = 0, events = 0, bytes }) => {
      entry.tokens_sent += tokens;
      entry.events_sent += events;
      entry.bytes_sent += bytes;
      engine.ledger.changed();
    },
  };
}

async function delay(visit: Visit, kind: 'delay' | 'delay_body'): Promise<void> {
  const fault = pick(visit.faults, kind);
  if (fault) await pause(fault.ms, visit.gone);
}
