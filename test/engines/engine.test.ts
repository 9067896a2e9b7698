// Each engine, as a client meets it: it lists, streams, answers, embeds, and errs in its own shape.
import { afterEach, describe, expect, test } from 'vitest';
import type { Answer } from './ask.ts';
import type { EngineOptions, FakeEngine } from './engine.ts';
import { base64_of, vector } from './answers.ts';
import { base, chunks, messages, model, post, text } from './ask.ts';
import { startEngine } from './engine.ts';
import { ENGINE_KINDS, KINDS } from './kinds.ts';
import { dial, request } from './talk.ts';

const started: FakeEngine[] = [];

async function start(options: EngineOptions): Promise<FakeEngine> {
  const engine = await startEngine(options);
  started.push(engine);
  return engine;
}

afterEach(async () => {
  await Promise.all(started.splice(0).map((engine) => engine.stop()));
});

describe.each(ENGINE_KINDS)('%s', (kind) => {
  test('lists its model, and says 404 or its own thing for paths it does not know', async () => {
    const engine = await start({ kind });
    const list = (await (await fetch(`${base(engine)}/models`)).json()) as Answer;
    expect(list.data?.map(({ id }) => id)).toEqual([model(engine)]);
    const lost = await fetch(`${engine.url}/no/such/path`);
    expect(lost.status).toBe(kind === 'lmstudio' ? 200 : 404);
    if (kind === 'lmstudio') expect(await lost.json()).toHaveProperty('error');
    expect(engine.seen).toHaveLength(2);
    expect(engine.asked).toHaveLength(0);
  });

  test('streams chat: the role first, one finish reason, usage only when asked for', async () => {
    const engine = await start({ kind });
    const plain = await chunks(
      await post(engine, 'chat/completions', { model: model(engine), messages, stream: true }),
    );
    expect(plain[0]?.choices[0]?.delta?.role).toBe('assistant');
    expect(text(plain)).toBe(engine.says);
    expect(plain.map(({ choices }) => choices[0]?.finish_reason).filter(Boolean)).toEqual(['stop']);
    expect(plain.some(({ usage }) => usage)).toBe(false);
    expect('id' in plain[0]!).toBe(kind !== 'openvino');

    const options = { stream: true, stream_options: { include_usage: true } };
    const counted = await chunks(
      await post(engine, 'chat/completions', { model: model(engine), messages, ...options }),
    );
    expect(counted.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 8 } });
    expect(counted.slice(0, -1).some(({ usage }) => usage)).toBe(false);
    await engine.until(({ in_flight }) => in_flight === 0);
    expect(engine.asked.map(({ ended, tokens_sent }) => [ended, tokens_sent])).toEqual([
      ['complete', 8],
      ['complete', 8],
    ]);
  });

  test('streams and answers completions', async () => {
    const engine = await start({ kind });
    const asked = { model: model(engine), prompt: 'hi', stream_options: { include_usage: true } };
    const told = await chunks(await post(engine, 'completions', { ...asked, stream: true }));
    expect(text(told)).toBe(engine.says);
    expect(told[0]?.object).toBe(kind === 'openvino' ? 'text_completion.chunk' : 'text_completion');
    const zero = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };
    expect(told[0]?.usage ?? undefined).toEqual(kind === 'ollama' ? zero : undefined);
    const whole = (await (await post(engine, 'completions', asked)).json()) as Answer;
    expect(whole.choices[0]).toMatchObject({ text: engine.says, finish_reason: 'stop' });
  });

  test('answers whole, and stops where it is told to', async () => {
    const engine = await start({ kind });
    const ask = async (more: object): Promise<Answer> =>
      (await (await post(engine, 'chat/completions', { model: model(engine), messages, ...more })).json()) as Answer;
    const whole = await ask({});
    expect(whole.choices[0]).toMatchObject({ message: { content: engine.says }, finish_reason: 'stop' });
    expect(whole.usage).toMatchObject({ completion_tokens: 8, total_tokens: 9 });
    expect((await ask({ max_tokens: 2 })).choices[0]).toMatchObject({
      message: { content: 'Grüß' },
      finish_reason: 'length',
    });
    expect((await ask({ stop: ['界'] })).choices[0]?.message?.content).toBe('Grüße, 世');
    const newer = await ask({ max_completion_tokens: 3 });
    expect(newer.choices[0]?.message?.content).toBe(kind === 'ollama' ? engine.says : 'Grüße');
  });

  test('embeds: floats, and base64 and token ids where it can', async () => {
    const engine = await start({ kind });
    const ask = async (more: object): Promise<Response> =>
      post(engine, 'embeddings', { model: model(engine), ...more });
    const floats = (await (await ask({ input: ['a', 'b'] })).json()) as Answer;
    expect(floats.data?.map(({ embedding }) => embedding)).toEqual([vector('a'), vector('b')]);
    const coded = (await (await ask({ input: 'a', encoding_format: 'base64' })).json()) as Answer;
    const floats_only = kind === 'lmstudio' || kind === 'sglang';
    expect(coded.data?.[0]?.embedding).toEqual(floats_only ? vector('a') : base64_of(vector('a')));
    const ids = await ask({ input: [[1, 2, 3]] });
    expect(ids.ok).toBe(!['ollama', 'lmstudio', 'openvino'].includes(kind));
  });

  test('demands its key in its own words', async () => {
    const engine = await start({ kind, key: 'sk-engine' });
    const asked = { model: model(engine), messages };
    const refused = await post(engine, 'chat/completions', asked, { authorization: 'Bearer other' });
    expect(refused.status).toBe(kind === 'openvino' ? 500 : 401);
    expect(await refused.json()).toHaveProperty('error');
    expect((await post(engine, 'chat/completions', asked, { authorization: 'Bearer sk-engine' })).status).toBe(200);
  });

  test('notes a client that leaves in the middle, at once', async () => {
    const engine = await start({ kind });
    engine.next({ kind: 'hold_after', events: 3 });
    const socket = await dial(engine.port);
    socket.write(request(`${KINDS[kind].bases[0]}/chat/completions`, { model: model(engine), messages, stream: true }));
    await engine.until(({ asked }) => asked[0]?.events_sent === 3);
    expect(engine.in_flight).toBe(1);
    const left_at = performance.now();
    socket.destroy();
    await engine.until(({ asked }) => asked[0]?.ended === 'aborted');
    expect((engine.asked[0]?.aborted_at ?? Infinity) - left_at).toBeLessThan(100);
    expect(engine.in_flight).toBe(0);
  });
});

const OVERFLOWING = [{ role: 'user', content: 'word '.repeat(400) }];

test.each([
  [
    'ollama',
    'unknown_model',
    404,
    {
      error: { message: 'model "x" not found, try pulling it first', type: 'not_found_error', param: null, code: null },
    },
  ],
  ['ollama', 'overloaded', 503, { error: { type: 'api_error', code: null } }],
  [
    'vllm',
    'unknown_model',
    404,
    { error: { message: 'The model `x` does not exist.', type: 'NotFoundError', code: 404 } },
  ],
  ['vllm', 'unauthorized', 401, { error: 'Unauthorized' }],
  ['vllm', 'overloaded', 503, { error: { code: 503 } }],
  [
    'llama.cpp',
    'overflow',
    400,
    { error: { code: 400, type: 'exceed_context_size_error', n_ctx: 32_768, n_prompt_tokens: 32_769 } },
  ],
  ['llama.cpp', 'loading', 503, { error: { code: 503, message: 'Loading model', type: 'unavailable_error' } }],
  ['openvino', 'unknown_model', 404, { error: 'Mediapipe graph definition with requested name is not found' }],
  ['openvino', 'bad_request', 412, { error: 'Cannot parse JSON body' }],
  ['sglang', 'overflow', 400, { object: 'error', param: null, code: 400 }],
  ['lmstudio', 'internal', 500, { error: 'The model has crashed without additional information. (Exit code: null)' }],
  ['openai', 'overflow', 400, { error: { code: 'context_length_exceeded', param: 'messages' } }],
] as const)('%s says %s as it really does', async (kind, what, status, body) => {
  const engine = await start({ kind });
  engine.next({ kind: 'error', what });
  const response = await post(engine, 'chat/completions', { model: 'x', messages });
  expect(response.status).toBe(status);
  expect(await response.json()).toMatchObject(body);
});

test('an unknown model, a prompt too long, and no JSON are found out without a fault', async () => {
  const engine = await start({ kind: 'vllm', models: [{ name: 'm', context: 100 }] });
  expect((await post(engine, 'chat/completions', { model: 'x', messages })).status).toBe(404);
  const long = await post(engine, 'chat/completions', { model: 'm', messages: OVERFLOWING });
  expect(long.status).toBe(400);
  expect(await long.text()).toContain('maximum context length is 100 tokens');
  expect((await fetch(`${engine.url}/v1/chat/completions`, { method: 'POST', body: '{' })).status).toBe(400);
  const quiet = await start({ kind: 'ollama', models: [{ name: 'm', context: 100 }] });
  expect((await post(quiet, 'chat/completions', { model: 'm', messages: OVERFLOWING })).status).toBe(200);
  const other = await start({ kind: 'llama.cpp' });
  const any = (await (await post(other, 'chat/completions', { model: 'any', messages })).json()) as Answer;
  expect(any.model).toBe('any');
});

test('LM Studio tells an overflow within a stream, under a 200', async () => {
  const engine = await start({ kind: 'lmstudio', models: [{ name: 'm', context: 100 }] });
  const response = await post(engine, 'chat/completions', { model: 'm', messages: OVERFLOWING, stream: true });
  expect(response.status).toBe(200);
  expect(await response.text()).toMatch(/^event: error\ndata: \{"error":\{"message":".*context length/);
});

test('several choices, where the engine knows n', async () => {
  const engine = await start({ kind: 'openai' });
  const told = await chunks(
    await post(engine, 'chat/completions', { model: model(engine), messages, n: 2, stream: true }),
  );
  const ends = told.flatMap(({ choices }) => choices).filter(({ finish_reason }) => finish_reason);
  expect(ends.map(({ index }) => index)).toEqual([0, 1]);
});

test('OVMS leaves the stop string in a stream, and only there', async () => {
  const engine = await start({ kind: 'openvino' });
  const asked = { model: model(engine), messages, stop: '界' };
  expect(text(await chunks(await post(engine, 'chat/completions', { ...asked, stream: true })))).toBe('Grüße, 世界');
  const whole = (await (await post(engine, 'chat/completions', asked)).json()) as Answer;
  expect(whole.choices[0]?.message?.content).toBe('Grüße, 世');
});
