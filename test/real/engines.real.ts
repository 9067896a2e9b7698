// The same truths as test/flows/engines, of real engines with a model of random weights: `npm run test:engines`. What they
// taught is in the fakes and in src/fleet/engines; this shows that it still holds.
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { call } from '../stage/caller.ts';
import { KEY, openGateway, type Stage } from '../stage/gateway.ts';
import { CONTEXT, isThere, startReal, type RealEngine, type RealKind } from './engine.ts';

const CHAT = '/v1/chat/completions';
const messages = [{ role: 'user' as const, content: 'Say something.' }];

interface Failure {
  readonly error: { readonly code: string; readonly message: string };
}

async function before({ engine, url, model }: RealEngine, options = ''): Promise<Stage> {
  const coder = options === '' ? `"rack/${model}"` : `{ deployment: rack/${model}, ${options} }`;
  return await openGateway(`
backends: { rack: { engine: ${engine}, url: "${url}" } }
models: { coder: [${coder}], unknown: [rack/not-there] }
`);
}

describe.each(['llama.cpp', 'ollama'] as const)('%s', (kind) => {
  const there = isThere(kind);
  let real: RealEngine;
  beforeAll(async () => {
    if (there) real = await startReal(kind);
  });
  afterAll(async () => {
    if (there) await real.stop();
  });
  const it = test.runIf(there);

  it('is what auto takes it for, and lists the model with its context', async () => {
    const gateway = await openGateway(`backends: { rack: { url: "${real.url}" } }`);
    expect(gateway.fleet.backends.get('rack')?.engine.name).toBe(kind);
    const { data } = (await (await gateway.ask('/v1/models')).json()) as { data: { id: string }[] };
    expect(data.map(({ id }) => id)).toEqual([kind === 'ollama' ? 'tiny:latest' : 'tiny']);
  });

  it('answers whole, with usage that adds up', async () => {
    const gateway = await before(real);
    const client = new OpenAI({ apiKey: KEY, baseURL: `${gateway.url}/v1`, maxRetries: 0 });
    const { id, choices, usage } = await client.chat.completions.create({ model: 'coder', messages, max_tokens: 7 });
    expect(id).toMatch(/\S/);
    expect(choices).toMatchObject([{ finish_reason: 'length', message: { role: 'assistant' } }]);
    expect([usage?.completion_tokens, usage?.total_tokens]).toEqual([7, (usage?.prompt_tokens ?? 0) + 7]);
  });

  it('streams through the official SDK, usage last for who asks', async () => {
    const gateway = await before(real);
    const client = new OpenAI({ apiKey: KEY, baseURL: `${gateway.url}/v1`, maxRetries: 0 });
    const stream = await client.chat.completions.create({
      model: 'coder',
      messages,
      max_tokens: 9,
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    expect(chunks.flatMap(({ choices }) => choices.flatMap((one) => one.finish_reason ?? []))).toEqual(['length']);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 9 } });
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'complete', tokens_out: 9 }]);
  });

  it('obeys max_completion_tokens, which Ollama itself does not know', async () => {
    const gateway = await before(real);
    const answer = await gateway.ask(CHAT, { model: 'coder', messages, max_completion_tokens: 5 });
    expect(await answer.json()).toMatchObject({ usage: { completion_tokens: 5 } });
  });

  it('completes text, whole and streamed', async () => {
    const gateway = await before(real);
    const whole = await gateway.ask('/v1/completions', { model: 'coder', prompt: 'the', max_tokens: 4 });
    expect(await whole.json()).toMatchObject({ object: 'text_completion', choices: [{ finish_reason: 'length' }] });
    const text = await (
      await call(gateway.port, '/v1/completions', { model: 'coder', prompt: 'the', max_tokens: 4, stream: true })
    ).whole();
    expect(text).toMatch(/data: \[DONE\]\n\n$/);
  });

  it('never says the stop string, whole or streamed', async () => {
    const gateway = await before(real);
    // Whatever words come, a space stands between them.
    const asked = { model: 'coder', messages, max_tokens: 200, stop: [' the'], seed: 7 };
    const whole = (await (await gateway.ask(CHAT, asked)).json()) as { choices: { message: { content: string } }[] };
    expect(whole.choices[0]?.message.content).not.toContain(' the');
    const text = await (await call(gateway.port, CHAT, { ...asked, stream: true })).whole();
    const said = [...text.matchAll(/"content":"((?:[^"\\]|\\.)*)"/g)].map(([, part]) => part).join('');
    expect(said).not.toContain(' the');
  });

  it('a prompt that is too long is refused in the one form, and nothing of it is cut', async () => {
    const gateway = await before(real);
    const long = [{ role: 'user', content: 'word '.repeat(CONTEXT) }];
    const answer = await gateway.ask(CHAT, { model: 'coder', messages: long, max_tokens: 4 });
    const { error } = (await answer.json()) as Failure;
    expect([answer.status, error.code]).toEqual([400, 'context_length_exceeded']);
    expect(error.message).toMatch(/^This model's maximum context length is 4096 tokens/);
    // Streamed it is a refusal too, and not a stream.
    const streamed = await gateway.ask(CHAT, { model: 'coder', messages: long, max_tokens: 4, stream: true });
    expect(streamed.status).toBe(400);
  });

  it('what it does not have is model_not_found, where it looks at the name', async () => {
    const gateway = await before(real);
    const answer = await gateway.ask(CHAT, { model: 'unknown', messages, max_tokens: 2 });
    // A llama-server of one model serves it under any name.
    expect(answer.status).toBe(kind === 'ollama' ? 404 : 200);
  });

  it.each([
    ['messages that are none', { messages: 7 }],
    ['no messages at all', {}],
  ])('%s are a 400', async (_name, more) => {
    const gateway = await before(real);
    expect((await gateway.ask(CHAT, { model: 'coder', ...more })).status).toBe(400);
  });

  it('stops when its client leaves: the next one is served at once', async () => {
    const gateway = await before(real);
    const callers = await Promise.all(
      [1, 2].map(() => call(gateway.port, CHAT, { model: 'coder', messages, max_tokens: 3_500, stream: true })),
    );
    await callers[0]?.until('data: ');
    for (const caller of callers) caller.leave('fin');
    await expect.poll(() => gateway.fleet.in_flight).toBe(0);
    if (kind === 'llama.cpp') {
      const slots = async (): Promise<boolean[]> =>
        ((await (await fetch(`${real.url}/slots`)).json()) as { is_processing: boolean }[]).map(
          (one) => one.is_processing,
        );
      await expect.poll(slots, { timeout: 5_000 }).toEqual([false, false]);
    }
    const answer = await gateway.ask(CHAT, { model: 'coder', messages, max_tokens: 2 });
    expect(answer.status).toBe(200);
    expect(await gateway.metric('lanyard_cancel_seconds_count')).toBeGreaterThan(0);
  });
});

describe('ollama, in its own form', () => {
  const there = isThere('ollama');
  let real: RealEngine;
  beforeAll(async () => {
    if (there) real = await startReal('ollama');
  });
  afterAll(async () => {
    if (there) await real.stop();
  });
  const loaded = async (): Promise<{ name: string; context_length?: number; expires_at: string }[]> =>
    (
      (await (await fetch(`${real.url}/api/ps`)).json()) as {
        models: { name: string; context_length?: number; expires_at: string }[];
      }
    ).models;

  test.runIf(there)(
    'a cold model is loaded once, with the context and the time in memory that the file says',
    async () => {
      const gateway = await before(real, 'num_ctx: 2048, keep_alive: forever');
      const all = await Promise.all(
        [1, 2, 3].map(() => gateway.ask(CHAT, { model: 'coder', messages, max_tokens: 3 })),
      );
      expect(all.map(({ status }) => status)).toEqual([200, 200, 200]);
      const [model] = await loaded();
      expect(model).toMatchObject({ name: 'tiny:latest', context_length: 2_048 });
      expect(Date.parse(model?.expires_at ?? '')).toBeGreaterThan(Date.now() + 365 * 86_400_000);
      for (const outcome of gateway.outcomes()) expect(outcome['load_ms']).toBeGreaterThan(0);
    },
  );

  test.runIf(there).each([false, true])('answers as OpenAI does (stream: %s)', async (stream) => {
    const gateway = await before(real, 'num_ctx: 2048');
    const text = await (
      await call(gateway.port, CHAT, {
        model: 'coder',
        messages,
        max_tokens: 6,
        stream,
        stream_options: { include_usage: true },
      })
    ).whole();
    expect(text).toContain('"finish_reason":"length"');
    expect(text).toContain('"completion_tokens":6');
    expect(text.endsWith('data: [DONE]\n\n')).toBe(stream);
  });

  test.runIf(there)('refuses what does not fit its num_ctx', async () => {
    const gateway = await before(real, 'num_ctx: 2048');
    const long = [{ role: 'user', content: 'word '.repeat(2_000) }];
    const answer = await gateway.ask(CHAT, { model: 'coder', messages: long, max_tokens: 2 });
    expect([answer.status, ((await answer.json()) as Failure).error.code]).toEqual([400, 'context_length_exceeded']);
  });
});

describe.each(['llama.cpp, embeddings', 'ollama'] as const satisfies RealKind[])('embeddings of %s', (kind) => {
  test.runIf(isThere(kind))('are the same numbers as floats and as base64, one by one and in parts', async () => {
    const real = await startReal(kind);
    onTestFinished(() => real.stop());
    const gateway = await openGateway(`
backends: { rack: { engine: ${real.engine}, url: "${real.url}", inputs_max: 2 } }
models: { coder: [rack/${real.model}] }
`);
    const embed = async (input: string | string[], encoding_format: string): Promise<number[][]> => {
      const answer = await gateway.ask('/v1/embeddings', { model: 'coder', input, encoding_format });
      expect(answer.status).toBe(200);
      const { data } = (await answer.json()) as { data: { embedding: string | number[] }[] };
      return data.map(({ embedding }) =>
        typeof embedding === 'string'
          ? [...new Float32Array(Uint8Array.from(Buffer.from(embedding, 'base64')).buffer)]
          : embedding.map(Math.fround),
      );
    };
    const input = ['one', 'two words', 'three words here', 'and four of them', 'five'];
    const floats = await embed(input, 'float');
    expect(floats).toHaveLength(5);
    const near = (a: number[][], b: number[][]): number =>
      Math.max(...a.flatMap((row, at) => row.map((value, n) => Math.abs(value - (b[at]?.[n] ?? Infinity)))));
    expect(near(floats, await embed(input, 'base64'))).toBeLessThan(1e-4);
    // A llama-server of a model that also talks gives another vector for the same text after another (11434): its own affair.
    if (kind !== 'ollama') return;
    const alone = await Promise.all(input.map(async (one) => (await embed(one, 'float'))[0] ?? []));
    expect(near(floats, alone)).toBeLessThan(1e-3);
  });
});
