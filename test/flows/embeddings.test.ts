// Embeddings through the line: base64, which the OpenAI SDKs ask for by default, from engines that know it and from those
// that give only floats; and every number the same.
import { describe, expect, test } from 'vitest';
import { vector } from '../engines/answers.ts';
import type { EngineKind } from '../engines/engine.ts';
import { call } from '../stage/caller.ts';
import { openLine } from '../stage/line.ts';

const PATH = '/v1/embeddings';
const INPUT = ['Grüße', '世界'];

interface Answer {
  readonly data: readonly { readonly index: number; readonly embedding: string | readonly number[] }[];
}

function decode(text: string | readonly number[] | undefined): number[] {
  expect(text).toBeTypeOf('string');
  const bytes = Buffer.from(String(text), 'base64');
  return Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(index * 4));
}

const native = ['vllm', 'ollama', 'llama.cpp', 'openvino'] as const satisfies EngineKind[];
const plain = ['lmstudio', 'sglang', 'openai'] as const satisfies EngineKind[];

describe('base64', () => {
  test.for(native)('from %s is its own, asked for as the caller did', async (kind) => {
    const { engine, gateway } = await openLine({ kind });
    const caller = await call(gateway.port, PATH, { model: 'coder', input: INPUT, encoding_format: 'base64' });
    const { data } = JSON.parse(await caller.whole()) as Answer;
    expect(data.map(({ embedding }) => decode(embedding))).toEqual(INPUT.map((input) => vector(input)));
    expect(engine.asked[0]?.body.toString()).toContain('"encoding_format":"base64"');
  });

  test.for(plain)('from %s is made here of the floats it gives', async (kind) => {
    const { engine, gateway, model } = await openLine({ kind });
    const body = `{"input":${JSON.stringify(INPUT)}, "encoding_format" : "base64" ,"model":"coder","user":"x"}`;
    const caller = await call(gateway.port, PATH, body);
    const text = await caller.whole();
    expect((await caller.head).headers['content-length']).toBe(String(caller.bytes().length));
    const { data } = JSON.parse(text) as Answer;
    expect(data.map(({ embedding }) => decode(embedding))).toEqual(INPUT.map((input) => vector(input)));
    expect(engine.asked[0]?.body.toString()).toBe(body.replace('"base64"', '"float"').replace('coder', model));
    await expect
      .poll(() => gateway.outcomes())
      .toMatchObject([{ end: 'complete', endpoint: 'embeddings', streamed: false }]);
  });

  test('rounds as float32 does, and leaves every other byte of the answer alone', async () => {
    const { engine, gateway } = await openLine({ kind: 'lmstudio' });
    const floats = [0.1, -1e-40, 3.4e38, 1.0000000001, -0, 16_777_217, 1e-50];
    const make = (embedding: string): string =>
      `{ "data":[ {"embedding": ${embedding} ,"index":0} ],\n "usage":{"prompt_tokens":12345678901234567890}, "x":"\\u00e9" }`;
    engine.next({ kind: 'status', status: 200, body: make('[0.1,-1e-40,3.4e38,1.0000000001,-0,16777217,1e-50]') });
    const text = await (
      await call(gateway.port, PATH, { model: 'coder', input: 'a', encoding_format: 'base64' })
    ).whole();
    const [row] = (JSON.parse(text) as Answer).data;
    expect(decode(row?.embedding)).toEqual(floats.map(Math.fround));
    expect(text).toBe(make(JSON.stringify(row?.embedding)));
  });

  test('that cannot be made of what came is a clean error', async () => {
    const { engine, gateway } = await openLine({ kind: 'lmstudio' });
    engine.next({ kind: 'status', status: 200, body: '{"data":[{"embedding":[1,null],"index":0}]}' });
    const caller = await call(gateway.port, PATH, { model: 'coder', input: 'a', encoding_format: 'base64' });
    expect((await caller.head).status).toBe(502);
    expect(await caller.whole()).toContain('"code":"upstream_invalid"');
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'backend_failed', code: 'upstream_invalid' }]);
  });
});

describe('floats', () => {
  test.for([...native, ...plain])('from %s come as they are, and the request goes as it was', async (kind) => {
    const { engine, gateway, model } = await openLine({ kind });
    for (const more of [{}, { encoding_format: 'float' }]) {
      const body = { model: 'coder', input: INPUT, ...more };
      const { data } = JSON.parse(await (await call(gateway.port, PATH, body)).whole()) as Answer;
      expect(data.map(({ embedding }) => embedding)).toEqual(INPUT.map((input) => vector(input)));
      expect(engine.asked.at(-1)?.body.toString()).toBe(JSON.stringify({ ...body, model }));
    }
  });

  test('of token ids, and of fewer dimensions', async () => {
    const { gateway } = await openLine();
    const caller = await call(gateway.port, PATH, { model: 'coder', input: [[1, 2], [3]], dimensions: 4 });
    const { data } = JSON.parse(await caller.whole()) as Answer;
    expect(data.map(({ embedding }) => embedding)).toEqual([vector([1, 2], 4), vector([3], 4)]);
  });
});

test('embeddings are never streamed, whatever the request says', async () => {
  const { gateway } = await openLine();
  const caller = await call(gateway.port, PATH, { model: 'coder', input: 'a', stream: true });
  expect((await caller.head).headers['content-type']).toBe('application/json');
  expect(JSON.parse(await caller.whole())).toHaveProperty('data');
});
