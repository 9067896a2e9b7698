// Embeddings as clients ask for them and engines take them: many inputs in parts, many small calls together, the same inputs
// once; each caller its own answer, or its own error.
import { describe, expect, onTestFinished, test } from 'vitest';
import { vector } from '../engines/answers.ts';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { call } from '../stage/caller.ts';
import { openGateway, type Stage } from '../stage/gateway.ts';
import { openLine } from '../stage/line.ts';

const PATH = '/v1/embeddings';

interface Answer {
  readonly object: string;
  readonly model: string;
  readonly data: readonly { readonly index: number; readonly embedding: readonly number[] | string }[];
  readonly usage: { readonly prompt_tokens: number; readonly total_tokens: number; readonly estimated?: boolean };
  readonly error?: { readonly code: string; readonly message: string; readonly param: string | null };
}

const words = (count: number, from = 0): string[] => Array.from({ length: count }, (_, at) => `word ${from + at}`);

async function embed(gateway: Stage, input: unknown, more: object = {}): Promise<Answer & { status: number }> {
  const answer = await gateway.ask(PATH, { model: 'coder', input, ...more });
  return { status: answer.status, ...((await answer.json()) as Answer) };
}

function inputs(engine: FakeEngine): string[][] {
  return engine.asked.map(({ body }) => [(JSON.parse(body.toString()) as { input: string[] }).input].flat());
}

describe('more inputs than the engine takes', () => {
  test('go in parts as large as it says, and come back as one answer in order', async () => {
    const { engine, gateway } = await openLine({ kind: 'tei' });
    const input = words(100);
    const { status, data, usage } = await embed(gateway, input);
    expect(status).toBe(200);
    expect(data.map(({ index }) => index)).toEqual(input.map((_, at) => at));
    expect(data.map(({ embedding }) => embedding)).toEqual(input.map((word) => vector(word)));
    // text-embeddings-inference says 32 in /info.
    expect(inputs(engine).map((part) => part.length)).toEqual([25, 25, 25, 25]);
    expect(inputs(engine).flat().toSorted()).toEqual(input.toSorted());
    // The sum of what the engine counted for each part.
    expect(usage.prompt_tokens).toBeGreaterThan(100);
    expect(usage.total_tokens).toBe(usage.prompt_tokens);
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'complete', tokens_in: usage.prompt_tokens }]);
  });

  test('the parts take no more than eight of the slots, whatever there is', async () => {
    const { engine, gateway } = await openLine({ kind: 'vllm', backend: 'inputs_max: 1' });
    engine.always({ kind: 'hold' });
    const answer = embed(gateway, words(20));
    await engine.until(({ held }) => held === 8);
    engine.always(undefined);
    engine.release();
    expect((await answer).data).toHaveLength(20);
    expect(engine.peak_in_flight).toBe(8);
  });

  test('and base64 is made of each part where the engine gives floats', async () => {
    const { gateway } = await openLine({ kind: 'lmstudio', backend: 'inputs_max: 3' });
    const input = words(7);
    const { data } = await embed(gateway, input, { encoding_format: 'base64' });
    const floats = data.map(({ embedding }) => {
      const bytes = Buffer.from(String(embedding), 'base64');
      return Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readFloatLE(at * 4));
    });
    expect(floats).toEqual(input.map((word) => vector(word)));
  });

  test('one part that fails is the whole call’s failure, and ends the others in the engine', async () => {
    const { engine, gateway } = await openLine({ kind: 'vllm', backend: 'inputs_max: 2' });
    engine.next({ kind: 'hold' }, { kind: 'error', what: 'internal' }, { kind: 'hold' });
    const { status, error } = await embed(gateway, words(6));
    expect([status, error?.code]).toEqual([502, 'upstream_error']);
    await engine.until(({ in_flight }) => in_flight === 0);
    const ends = engine.asked.map(({ ended }) => ended);
    expect(ends.filter((end) => end === 'aborted')).toHaveLength(2);
    expect(gateway.fleet.in_flight).toBe(0);
  });

  test('a part that breaks off in its answer is counted as any other answer that does', async () => {
    const { engine, gateway } = await openLine({ kind: 'vllm', backend: 'inputs_max: 2' });
    engine.next({ kind: 'die_after', events: 1 });
    const { status } = await embed(gateway, words(3));
    expect(status).toBe(502);
    expect(await gateway.metric('lanyard_upstream_errors_total', { backend: 'rack', kind: 'answer' })).toBe(1);
    expect(gateway.fleet.in_flight).toBe(0);
  });

  test('a caller who leaves ends every part', async () => {
    const { engine, gateway } = await openLine({ kind: 'vllm', backend: 'inputs_max: 1' });
    engine.always({ kind: 'hold' });
    const caller = await call(gateway.port, PATH, { model: 'coder', input: words(5) });
    await engine.until(({ held }) => held === 5);
    caller.leave('fin');
    await engine.until(({ in_flight }) => in_flight === 0);
    expect(new Set(engine.asked.map(({ ended }) => ended))).toEqual(new Set(['aborted']));
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'client_closed', backend: 'rack' }]);
  });

  test('parts may be answered by different backends of the model', async () => {
    const [one, two] = await Promise.all([
      startEngine({ kind: 'vllm', models: ['m'] }),
      startEngine({ kind: 'vllm', models: ['m'] }),
    ]);
    onTestFinished(async () => void (await Promise.all([one.stop(), two.stop()])));
    const gateway = await openGateway(`
backends:
  one: { engine: vllm, url: "${one.url}", inputs_max: 1, slots: 2 }
  two: { engine: vllm, url: "${two.url}", inputs_max: 1, slots: 2 }
models: { coder: [one/m, two/m] }
`);
    const input = words(40);
    expect((await embed(gateway, input)).data.map(({ embedding }) => embedding)).toEqual(
      input.map((word) => vector(word)),
    );
    expect(Math.min(one.asked.length, two.asked.length)).toBeGreaterThan(0);
  });
});

describe('the same inputs asked by several at once', () => {
  test('are asked of the engine once, and each has the answer', async () => {
    const { engine, gateway } = await openLine();
    engine.next({ kind: 'hold' });
    const first = embed(gateway, 'the same');
    await engine.until(({ held }) => held === 1);
    const others = [1, 2, 3].map(() => embed(gateway, 'the same'));
    await expect.poll(() => gateway.metric('lanyard_in_flight')).toBe(4);
    engine.release();
    for (const { data } of await Promise.all([first, ...others]))
      expect(data[0]?.embedding).toEqual(vector('the same'));
    expect(engine.asked).toHaveLength(1);
    await expect.poll(() => gateway.outcomes()).toHaveLength(4);
    const ids = new Set(gateway.outcomes().map(({ id }) => id));
    expect(ids.size).toBe(4);
    for (const outcome of gateway.outcomes())
      expect(outcome).toMatchObject({ end: 'complete', backend: 'rack', model: 'coder' });
  });

  test('go on for those who stay when the one who asked first leaves', async () => {
    const { engine, gateway } = await openLine();
    engine.next({ kind: 'hold' });
    const first = await call(gateway.port, PATH, { model: 'coder', input: 'the same' });
    await engine.until(({ held }) => held === 1);
    const second = await call(gateway.port, PATH, { model: 'coder', input: 'the same' });
    await expect.poll(() => gateway.metric('lanyard_in_flight')).toBe(2);
    first.leave('fin');
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'client_closed' }]);
    expect(engine.in_flight).toBe(1);
    engine.release();
    expect((JSON.parse(await second.whole()) as Answer).data[0]?.embedding).toEqual(vector('the same'));
  });

  test('are given up when the last has left', async () => {
    const { engine, gateway } = await openLine();
    engine.next({ kind: 'hold' });
    const callers = [
      await call(gateway.port, PATH, { model: 'coder', input: 'the same' }),
      await call(gateway.port, PATH, { model: 'coder', input: 'the same' }),
    ];
    await engine.until(({ held }) => held === 1);
    await expect.poll(() => gateway.metric('lanyard_in_flight')).toBe(2);
    for (const caller of callers) caller.leave('fin');
    await engine.until(({ in_flight }) => in_flight === 0);
    expect(engine.asked.map(({ ended }) => ended)).toEqual(['aborted']);
    // Asked again, it is asked anew.
    expect((await embed(gateway, 'the same')).status).toBe(200);
    expect(engine.asked).toHaveLength(2);
  });

  test('a failure is told to all who waited, each with its own request id', async () => {
    const { engine, gateway } = await openLine();
    const failed = { kind: 'status', status: 500, body: { error: { message: 'it broke', type: 'x' } } } as const;
    engine.next({ kind: 'all', faults: [{ kind: 'hold' }, failed] });
    const first = gateway.ask(PATH, { model: 'coder', input: 'the same' });
    await engine.until(({ held }) => held === 1);
    const second = gateway.ask(PATH, { model: 'coder', input: 'the same' });
    await expect.poll(() => gateway.metric('lanyard_in_flight')).toBe(2);
    engine.release();
    const answers = await Promise.all([first, second]);
    expect(answers.map(({ status }) => status)).toEqual([502, 502]);
    expect(new Set(answers.map(({ headers }) => headers.get('x-request-id'))).size).toBe(2);
  });
});

describe('small calls for a backend that is busy', () => {
  /** A backend with one slot that is taken, until the returned function is called. */
  async function busy(
    more: Parameters<typeof openLine>[0] = {},
  ): Promise<Awaited<ReturnType<typeof openLine>> & { free: () => Promise<void> }> {
    // So long that a slow machine's calls are still together.
    const line = await openLine({ backend: 'slots: 1', window_ms: 300, ...more });
    line.engine.next({ kind: 'hold' });
    const holder = embed(line.gateway, 'the holder');
    await line.engine.until(({ held }) => held === 1);
    return {
      ...line,
      free: async () => {
        line.engine.release();
        await holder;
      },
    };
  }

  test('are sent together, and each caller has its own part', async () => {
    const { engine, gateway, free } = await busy();
    const asked = [['a'], ['b', 'c'], 'd', ['e']];
    const answers = asked.map((input) => embed(gateway, input));
    await expect.poll(() => gateway.fleet.queue.length).toBe(1);
    await free();
    for (const [at, { data, usage }] of (await Promise.all(answers)).entries()) {
      const own = [asked[at] ?? []].flat();
      expect(data.map(({ embedding }) => embedding)).toEqual(own.map((word) => vector(word)));
      expect(data.map(({ index }) => index)).toEqual(own.map((_, n) => n));
      expect(usage).toMatchObject({ estimated: true });
    }
    expect(inputs(engine)).toEqual([['the holder'], ['a', 'b', 'c', 'd', 'e']]);
  });

  test('are sent apart where they differ in more than their inputs', async () => {
    const { engine, gateway, free } = await busy();
    const answers = [embed(gateway, 'a'), embed(gateway, 'b', { encoding_format: 'base64' })];
    await expect.poll(() => gateway.fleet.queue.length).toBe(2);
    await free();
    await Promise.all(answers);
    expect(inputs(engine)).toHaveLength(3);
  });

  test('an input that is at fault harms its own call only', async () => {
    const { engine, gateway, free } = await busy();
    const refused = {
      kind: 'status',
      status: 400,
      body: { error: { message: 'no', type: 'x', param: null, code: null } },
    } as const;
    const answers = ['good', 'bad', 'fine'].map((input) => embed(gateway, input));
    await expect.poll(() => gateway.fleet.queue.length).toBe(1);
    // All together are refused, and then the second of the three by itself.
    engine.next(refused);
    await free();
    await engine.until(({ asked }) => asked.length >= 2);
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(inputs(engine).slice(1)).toEqual([['good', 'bad', 'fine'], ['good'], ['bad'], ['fine']]);
  });

  test('a failure of the backend is everyone’s, and nobody’s calls are sent again one by one', async () => {
    const { engine, gateway, free } = await busy();
    const answers = ['a', 'b', 'c'].map((input) => embed(gateway, input));
    await expect.poll(() => gateway.fleet.queue.length).toBe(1);
    engine.next({ kind: 'error', what: 'internal' });
    await free();
    expect((await Promise.all(answers)).map(({ error }) => error?.code)).toEqual(Array(3).fill('upstream_error'));
    expect(engine.asked).toHaveLength(2);
  });

  test('one caller who leaves takes nothing from the others', async () => {
    const { engine, gateway, free } = await busy();
    const leaver = await call(gateway.port, PATH, { model: 'coder', input: 'leaving' });
    const stays = embed(gateway, 'staying');
    await expect.poll(() => gateway.fleet.queue.length).toBe(1);
    leaver.leave('fin');
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'client_closed' }]);
    await free();
    expect((await stays).data[0]?.embedding).toEqual(vector('staying'));
    expect(engine.asked).toHaveLength(2);
  });

  test('an idle backend is asked at once, each call by itself', async () => {
    const { engine, gateway } = await openLine();
    for (const input of ['a', 'b']) await embed(gateway, input);
    expect(inputs(engine)).toEqual([['a'], ['b']]);
  });
});

describe('token ids', () => {
  test.each([
    ['a list of ids', [1, 2, 3]],
    ['lists of ids', [[1, 2], [3]]],
  ])('%s are passed to an engine that takes them', async (_name, input) => {
    const { gateway } = await openLine({ kind: 'vllm' });
    const { status, data } = await embed(gateway, input);
    expect([status, data.length]).toEqual([200, Array.isArray(input[0]) ? 2 : 1]);
  });

  test.each(['ollama', 'openvino', 'lmstudio', 'infinity'] as const)(
    'for %s are refused, with what to set',
    async (kind) => {
      const { engine, gateway } = await openLine({ kind });
      const { status, error } = await embed(gateway, [1, 2, 3]);
      expect([status, error?.code, error?.param]).toEqual([400, 'invalid_value', 'input']);
      expect(error?.message).toContain('check_embedding_ctx_length=False');
      expect(engine.asked).toHaveLength(0);
    },
  );
});

test('usage that the engine leaves out is estimated, and says so', async () => {
  const { engine, gateway } = await openLine();
  engine.next({
    kind: 'status',
    status: 200,
    body: '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1]}]}',
  });
  const { usage } = await embed(gateway, 'twelve bytes');
  expect(usage).toMatchObject({ estimated: true });
  expect(usage.prompt_tokens).toBeGreaterThan(0);
});

test.each(['tei', 'infinity'] as const)(
  'a chat with a model on %s, which only embeds, says that there is none',
  async (kind) => {
    const { engine, gateway } = await openLine({ kind });
    const answer = await gateway.ask('/v1/chat/completions', { model: 'coder', messages: [] });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: { code: 'unsupported_endpoint' } });
    expect(engine.asked).toHaveLength(0);
  },
);
