// Every engine × every case: whatever stands behind the gateway, a client sees one thing. What each engine says in its own
// way (test/engines/shapes, extras.ts) is told in one, and nothing of it is lost.
import { describe, expect, test } from 'vitest';
import type { EngineKind, Fault } from '../engines/engine.ts';
import { vector } from '../engines/answers.ts';
import { CALLS, THOUGHTS } from '../engines/extras.ts';
import { ENGINE_KINDS, KINDS, MODELS_DEFAULT } from '../engines/kinds.ts';
import { call } from '../stage/caller.ts';
import { openLine } from '../stage/line.ts';

const CHAT = '/v1/chat/completions';
const TOOLS = [{ type: 'function', function: { name: 'look', parameters: { type: 'object' } } }];
/** Of those, who thinks aloud. */
const THINKERS: ReadonlySet<EngineKind> = new Set(['ollama', 'vllm', 'llama.cpp', 'lmstudio', 'sglang']);

interface Piece {
  readonly index?: number;
  readonly id?: string;
  readonly type?: string;
  readonly function?: { readonly name?: string; readonly arguments?: string };
}

interface Said {
  readonly role?: string;
  readonly content?: string | null;
  readonly reasoning?: string;
  readonly reasoning_content?: string;
  readonly tool_calls?: readonly Piece[];
}

interface Chunk {
  readonly id: string;
  readonly choices: readonly {
    readonly index: number;
    readonly delta: Said;
    readonly message: Said;
    readonly finish_reason: string | null;
  }[];
  readonly usage?: {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly total_tokens: number;
  } | null;
  readonly error?: { readonly code: string; readonly message: string };
}

async function streamed(port: number, body: object): Promise<readonly Chunk[]> {
  const text = await (await call(port, CHAT, body)).whole();
  const events = text.split('\n\n').filter((event) => event !== '');
  expect(events.at(-1)).toBe('data: [DONE]');
  return events.slice(0, -1).map((event) => JSON.parse(event.slice('data: '.length)) as Chunk);
}

/** As the SDKs put tool calls together: by index, arguments joined. */
function gathered(chunks: readonly Chunk[]): { name: string; arguments: string; ids: Set<string>; names: number }[] {
  const calls: { name: string; arguments: string; ids: Set<string>; names: number }[] = [];
  for (const piece of chunks.flatMap(({ choices }) => choices[0]?.delta.tool_calls ?? [])) {
    expect(piece.index).toBeTypeOf('number');
    const one = (calls[piece.index ?? -1] ??= { name: '', arguments: '', ids: new Set(), names: 0 });
    if (piece.id !== undefined) one.ids.add(piece.id);
    if (piece.function?.name !== undefined) one.names += 1;
    one.name += piece.function?.name ?? '';
    one.arguments += piece.function?.arguments ?? '';
  }
  return calls;
}

describe.for(ENGINE_KINDS)('%s', (kind) => {
  test('lists its models without being asked anew', async () => {
    const { gateway, engine } = await openLine({ kind });
    const list = (await (await gateway.ask('/v1/models')).json()) as { data: { id: string; object: string }[] };
    expect(list.data).toMatchObject([{ id: 'coder', object: 'model' }]);
    expect(engine.asked).toHaveLength(0);
  });

  test('answers whole: an id, one choice, usage that adds up', async () => {
    const { gateway, chat } = await openLine({ kind });
    const answer = (await (await gateway.ask(CHAT, chat({ stream: false }))).json()) as Chunk;
    expect(answer.id).toMatch(/\S/);
    expect(answer.choices).toHaveLength(1);
    expect(answer.choices[0]).toMatchObject({ index: 0, message: { role: 'assistant' }, finish_reason: 'stop' });
    expect(answer.usage?.total_tokens).toBe(
      (answer.usage?.prompt_tokens ?? 0) + (answer.usage?.completion_tokens ?? 0),
    );
    expect(answer.usage?.completion_tokens).toBe(8);
  });

  test('streams: one id throughout, one finish, usage for who asks', async () => {
    const { gateway, chat } = await openLine({ kind });
    const chunks = await streamed(gateway.port, chat({ stream_options: { include_usage: true } }));
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    expect(chunks.flatMap(({ choices }) => choices.flatMap((one) => one.finish_reason ?? []))).toEqual(['stop']);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 8 } });
  });

  test('streams tool calls: numbered in order, an id of its own each, the name once', async () => {
    const { gateway, chat } = await openLine({ kind });
    const chunks = await streamed(gateway.port, chat({ tools: TOOLS }));
    const calls = gathered(chunks);
    expect(calls.map(({ name, arguments: given }) => ({ name, arguments: given }))).toEqual(CALLS);
    expect(calls.map(({ ids, names }) => [ids.size, names])).toEqual([
      [1, 1],
      [1, 1],
    ]);
    expect(new Set(calls.flatMap(({ ids }) => [...ids])).size).toBe(2);
    expect(chunks.flatMap(({ choices }) => choices.flatMap((one) => one.finish_reason ?? []))).toEqual(['tool_calls']);
  });

  test('calls tools in a whole answer', async () => {
    const { gateway, chat } = await openLine({ kind });
    const { choices } = (await (await gateway.ask(CHAT, chat({ stream: false, tools: TOOLS }))).json()) as Chunk;
    const calls = choices[0]?.message.tool_calls ?? [];
    expect(calls.map(({ function: called }) => called)).toEqual(CALLS);
    expect(new Set(calls.map(({ id }) => id)).size).toBe(2);
    expect(calls.every(({ type }) => type === 'function')).toBe(true);
    expect(choices[0]?.finish_reason).toBe('tool_calls');
  });

  test('leaves the tools where it is told to', async () => {
    const { gateway, chat } = await openLine({ kind });
    const body = chat({ stream: false, tools: TOOLS, tool_choice: 'none' });
    const { choices } = (await (await gateway.ask(CHAT, body)).json()) as Chunk;
    expect(choices[0]?.message.content).not.toBe('');
    expect(choices[0]?.finish_reason).toBe('stop');
  });

  test.runIf(THINKERS.has(kind)).for([true, false])('thinks under both names (stream: %s)', async (stream) => {
    const { gateway, chat } = await openLine({ kind });
    const body = chat({ stream, reasoning_effort: 'high' });
    const said = stream
      ? (await streamed(gateway.port, body)).flatMap(({ choices }) => choices[0]?.delta ?? [])
      : [((await (await gateway.ask(CHAT, body)).json()) as Chunk).choices[0]?.message ?? {}];
    for (const name of ['reasoning', 'reasoning_content'] as const) {
      expect(said.map((one) => one[name] ?? '').join('')).toBe(THOUGHTS.join(''));
    }
  });

  test('keeps the stop string to itself, whole and streamed', async () => {
    const { gateway, chat } = await openLine({ kind });
    const whole = (await (await gateway.ask(CHAT, chat({ stream: false, stop: ['世界'] }))).json()) as Chunk;
    const chunks = await streamed(gateway.port, chat({ stop: '世界' }));
    const text = chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('');
    expect([text, whole.choices[0]?.message.content]).toEqual(['Grüße, ', 'Grüße, ']);
    expect(chunks.flatMap(({ choices }) => choices.flatMap((one) => one.finish_reason ?? []))).toEqual(['stop']);
  });

  test.each(['max_tokens', 'max_completion_tokens'])('is told the most tokens by %s', async (name) => {
    const { gateway, chat } = await openLine({ kind });
    const { choices, usage } = (await (await gateway.ask(CHAT, chat({ stream: false, [name]: 3 }))).json()) as Chunk;
    expect([choices[0]?.finish_reason, usage?.completion_tokens]).toEqual(['length', 3]);
  });

  test.each(['float', 'base64'])('embeds as %s', async (encoding_format) => {
    const { gateway } = await openLine({ kind });
    const answer = await gateway.ask('/v1/embeddings', { model: 'coder', input: ['a', 'b'], encoding_format });
    const { data } = (await answer.json()) as { data: { embedding: string | number[] }[] };
    const floats = data.map(({ embedding }) =>
      typeof embedding === 'string'
        ? [...new Float32Array(Uint8Array.from(Buffer.from(embedding, 'base64')).buffer)]
        : embedding,
    );
    expect(data.every(({ embedding }) => (typeof embedding === 'string') === (encoding_format === 'base64'))).toBe(
      true,
    );
    expect(floats).toEqual([vector('a'), vector('b')]);
  });

  test('refuses a prompt that is too long in the one form that editors know, and cuts none', async () => {
    const long = 'so many words '.repeat(2_000);
    const { gateway, engine } = await openLine({ kind, models: [{ name: MODELS_DEFAULT[kind], context: 4_096 }] });
    const body = { model: 'coder', messages: [{ role: 'user', content: long }] };
    const answer = await gateway.ask(CHAT, body);
    expect(answer.status).toBe(400);
    const { error } = (await answer.json()) as Chunk;
    expect(error?.code).toBe('context_length_exceeded');
    expect(error?.message).toMatch(/^This model's maximum context length is \d+ tokens/);
    expect(engine.asked.every(({ tokens_sent }) => tokens_sent === 0)).toBe(true);
  });

  test('loading, a client waits for it or hears when to come back', async () => {
    const { gateway, engine, chat } = await openLine({ kind, load_ms: 300, probing: { soon_ms: 50 } });
    const answer = await gateway.ask(CHAT, chat({ stream: false }));
    if (KINDS[kind].loads === 'withheld') {
      expect(answer.status).toBe(200);
    } else {
      expect([answer.status, ((await answer.json()) as Chunk).error?.code]).toEqual([
        503,
        expect.stringMatching(/^(?:model_loading|server_is_overloaded|backend_unavailable)$/),
      ]);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    }
    await expect
      .poll(async () => (await gateway.ask(CHAT, chat({ stream: false }))).status, { timeout: 5_000 })
      .toBe(200);
    expect(engine.asked.length).toBeGreaterThan(0);
  });

  test('dying before its answer and in the middle of it is never a short answer', async () => {
    const { gateway, engine, chat } = await openLine({ kind });
    // The first on a socket that was kept may be no more than that: it is tried on a fresh one.
    engine.next({ kind: 'reset' }, { kind: 'reset' });
    expect((await gateway.ask(CHAT, chat({ stream: false }))).status).toBe(502);
    engine.next({ kind: 'die_after', events: 3 });
    const text = await (await call(gateway.port, CHAT, chat())).whole();
    expect(text).toMatch(
      /data: \{"error":\{"message":"[^"]+","type":"server_error","param":null,"code":"upstream_stream_aborted"\}\}\n\n$/,
    );
    expect(text).not.toContain('[DONE]');
  });

  test('stops when its client leaves', async () => {
    const { gateway, engine, chat } = await openLine({ kind });
    engine.next({ kind: 'hang_after', events: 3 });
    const caller = await call(gateway.port, CHAT, chat());
    await caller.until('data: ');
    caller.leave('fin');
    await engine.until(({ asked }) => asked.at(-1)?.ended === 'aborted');
    await expect.poll(() => gateway.metric('lanyard_cancel_seconds_count')).toBe(1);
    await expect.poll(() => gateway.metric('lanyard_tokens_after_disconnect_total')).toBeLessThan(8);
  });
});

describe.for(['tei', 'infinity'] as const)('%s, which only embeds', (kind) => {
  const PATH = '/v1/embeddings';
  const body = { model: 'coder', input: ['a', 'b'] };
  const refused = async (fault: Fault): Promise<[number, string | undefined]> => {
    const { gateway, engine } = await openLine({ kind });
    engine.next(fault);
    const answer = await gateway.ask(PATH, body);
    return [answer.status, ((await answer.json()) as Chunk).error?.code];
  };

  test('lists its model, and embeds as floats and as base64', async () => {
    const { gateway } = await openLine({ kind });
    expect(await (await gateway.ask('/v1/models')).json()).toMatchObject({ data: [{ id: 'coder' }] });
    for (const encoding_format of ['float', 'base64']) {
      const answer = await gateway.ask(PATH, { ...body, encoding_format });
      const { data, usage } = (await answer.json()) as { data: { embedding: string | number[] }[]; usage: object };
      const floats = data.map(({ embedding }) =>
        typeof embedding === 'string'
          ? [...new Float32Array(Uint8Array.from(Buffer.from(embedding, 'base64')).buffer)]
          : embedding,
      );
      expect([floats, usage]).toEqual([[vector('a'), vector('b')], expect.objectContaining({ prompt_tokens: 1 })]);
    }
  });

  test.each([
    ['too long', 'overflow', 400, 'context_length_exceeded'],
    ['overloaded', 'overloaded', 503, 'server_is_overloaded'],
    ['not well formed', 'bad_request', 400, 'invalid_request'],
    ['refusing our key', 'unauthorized', 502, 'upstream_auth'],
    ['failing', 'internal', 502, 'upstream_error'],
  ] as const)('%s means what it does of every engine', async (_name, what, status, code) => {
    expect(await refused({ kind: 'error', what })).toEqual([status, code]);
  });

  test.runIf(kind === 'infinity')('what it does not have is model_not_found', async () => {
    expect(await refused({ kind: 'error', what: 'unknown_model' })).toEqual([404, 'model_not_found']);
  });

  test('is waited for while it starts, and stops when its client leaves', async () => {
    const { gateway, engine } = await openLine({ kind, load_ms: 200, probing: { soon_ms: 50 } });
    await expect.poll(async () => (await gateway.ask(PATH, body)).status, { timeout: 5_000 }).toBe(200);
    engine.next({ kind: 'hang' });
    const caller = await call(gateway.port, PATH, { model: 'coder', input: 'leaving' });
    await engine.until(({ in_flight }) => in_flight === 1);
    caller.leave('fin');
    await engine.until(({ asked }) => asked.at(-1)?.ended === 'aborted');
  });

  test('that dies before its answer or in it is a failure', async () => {
    const { gateway, engine } = await openLine({ kind });
    engine.next({ kind: 'reset' }, { kind: 'reset' });
    expect((await gateway.ask(PATH, body)).status).toBe(502);
    engine.next({ kind: 'die_after', events: 1 });
    expect((await gateway.ask(PATH, body)).status).toBe(502);
  });
});
