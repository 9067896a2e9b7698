// What a team is promised by its three addresses: the gateway on this machine, the LAN, the internet. Through all of them the
// same five endpoints, one key, one form of refusal; and what its clients do when they are refused.
import OpenAI, { InternalServerError } from 'openai';
import { describe, expect, test } from 'vitest';
import { openDoors, type Doors } from '../clients/doors.ts';
import { ENGINES } from '../clients/engines.ts';
import { LAN, LOCAL, NET } from '../docs/stage.ts';
import { KEY } from '../stage/gateway.ts';

const ADDRESSES = [LOCAL, LAN, NET];
const CHAT = { model: 'deepseek-coder', messages: [{ role: 'user' as const, content: 'Hi' }] };
const VLLM = { kind: 'vllm', engine: 'vllm', base: '' } as const;

/** Each endpoint with a body that it answers; the last asks for no key. */
const ENDPOINTS = [
  { path: '/v1/models', body: undefined, is: { object: 'list' } },
  { path: '/v1/chat/completions', body: CHAT, is: { object: 'chat.completion' } },
  { path: '/v1/completions', body: { model: 'qwen-coder', prompt: 'def f(' }, is: { object: 'text_completion' } },
  { path: '/v1/embeddings', body: { model: 'embedding', input: 'one' }, is: { object: 'list' } },
  { path: '/health', body: undefined, is: { status: 'ok' } },
] as const;

const client = ({ gateway }: Doors, options: ConstructorParameters<typeof OpenAI>[0] = {}): OpenAI =>
  new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey: KEY, ...options });

test('the five endpoints answer at each of the three addresses', async () => {
  const doors = await openDoors(VLLM, 'nginx');
  for (const address of ADDRESSES) {
    for (const { path, body, is } of ENDPOINTS) {
      const { status, text } = await doors.ask(`${address}${path}`, body);
      expect(status, address + path).toBe(200);
      expect(JSON.parse(text), address + path).toMatchObject(is);
    }
  }
});

test('at each address everything but /health asks for a key, as Bearer, and never by a password prompt', async () => {
  const doors = await openDoors(VLLM, 'nginx', 'auth: { failures: 1000/min }');
  const basic = `Basic ${Buffer.from(`admin:${KEY}`).toString('base64')}`;
  const strangers: Record<string, string>[] = [
    {},
    { authorization: 'Bearer sk-of-nobody-0123456789' },
    { authorization: basic },
  ];
  for (const address of ADDRESSES) {
    for (const { path, body } of ENDPOINTS) {
      for (const headers of strangers) {
        const answer = await doors.ask(`${address}${path}`, body, headers);
        if (path === '/health') {
          expect(answer.status).toBe(200);
          continue;
        }
        expect(answer.status, address + path).toBe(401);
        expect(answer.headers['www-authenticate'], address + path).toBe('Bearer');
        expect(JSON.parse(answer.text), address + path).toMatchObject({ error: { code: 'invalid_api_key' } });
      }
    }
  }
  expect(doors.engine.asked).toHaveLength(0);
});

test('the models of the example team are listed at each address', async () => {
  const doors = await openDoors(VLLM, 'nginx');
  for (const address of ADDRESSES) {
    const { data } = JSON.parse((await doors.ask(`${address}/v1/models`)).text) as { data: { id: string }[] };
    const ids = data.map(({ id }) => id);
    expect(ids).toEqual(expect.arrayContaining(['deepseek-coder', 'qwen-coder', 'mistral', 'embedding']));
  }
});

test('a page of a configured origin may ask at each address; another may not', async () => {
  const doors = await openDoors(VLLM, 'nginx', 'cors: { origins: ["http://localhost:3000"] }');
  for (const address of ADDRESSES) {
    for (const origin of ['http://localhost:3000', 'http://localhost:3001']) {
      const { status, headers } = await doors.preflight(`${address}/v1/chat/completions`, origin);
      const allowed = origin.endsWith(':3000');
      expect(headers['access-control-allow-origin'], address + origin).toBe(allowed ? origin : undefined);
      expect(status, address + origin).toBe(204);
      if (allowed) expect(headers['access-control-allow-headers']).toContain('authorization');
    }
  }
});

describe.for(ENGINES)('in front of $kind', (row) => {
  test('system message, temperature, max_tokens and stop arrive as they were sent, and usage adds up', async () => {
    const doors = await openDoors(row);
    const messages = [
      { role: 'system' as const, content: 'You are an expert Python programmer. Always include docstrings.' },
      { role: 'user' as const, content: 'A function to reverse a string.' },
    ];
    for (const temperature of [0.2, 0.9]) {
      const asked = { model: 'mistral', messages, temperature, max_tokens: 500, stop: ['\n\n', '###'] };
      const { usage } = await client(doors).chat.completions.create(asked);
      expect(JSON.parse(String(doors.engine.asked.at(-1)?.body))).toEqual({ ...asked, model: 'there' });
      expect(usage?.total_tokens).toBeGreaterThan(0);
      expect(usage?.total_tokens).toBe((usage?.prompt_tokens ?? 0) + (usage?.completion_tokens ?? 0));
    }
  });
});

// OpenVINO sends the matched text too when it streams, and the gateway passes on what it gets.
test.for(ENGINES.filter(({ kind }) => kind !== 'openvino'))(
  'in front of $kind no stop text is in an answer, whole or streamed',
  async (row) => {
    const doors = await openDoors(row);
    const stop = '世';
    expect(doors.engine.says).toContain(stop);
    const asked = { ...CHAT, stop: [stop] };
    const [whole] = (await client(doors).chat.completions.create(asked)).choices;
    let streamed = '';
    let reason: string | null | undefined;
    for await (const { choices } of await client(doors).chat.completions.create({ ...asked, stream: true })) {
      streamed += choices[0]?.delta.content ?? '';
      reason = choices[0]?.finish_reason ?? reason;
    }
    expect(whole?.message.content).toBe(doors.engine.says.slice(0, doors.engine.says.indexOf(stop)));
    expect(streamed).toBe(whole?.message.content);
    expect([whole?.finish_reason, reason]).toEqual(['stop', 'stop']);
  },
);

describe('a client that repeats what is worth repeating', () => {
  test('is answered after two 503, having asked three times', async () => {
    const doors = await openDoors();
    const busy = { kind: 'status', status: 503, headers: { 'retry-after': '1' } } as const;
    doors.engine.next(busy, busy);
    const answer = await client(doors).chat.completions.create(CHAT);
    expect(answer.choices[0]?.message.content).toBe(doors.engine.says);
    expect(doors.engine.asked).toHaveLength(3);
  });

  test('gives up after three when it stays so', async () => {
    const doors = await openDoors();
    doors.engine.always({ kind: 'status', status: 503, headers: { 'retry-after': '1' } });
    const failed = await client(doors)
      .chat.completions.create(CHAT)
      .catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(InternalServerError);
    expect(doors.engine.asked).toHaveLength(3);
  });
});

describe('many at once, under the default limits', () => {
  const DEFAULTS = 'limits: { ip: { requests: 10/s, burst: 20, parallel: 100 } }';
  const ask = async (doors: Doors, count: number, maxRetries: number): Promise<(string | null | undefined)[]> => {
    const openai = client(doors, { maxRetries });
    const all = Array.from({ length: count }, async (_, at) => {
      const messages = [{ role: 'user' as const, content: `Question ${at}` }];
      return await openai.chat.completions.create({ ...CHAT, messages });
    });
    return (await Promise.all(all)).map(({ choices }) => choices[0]?.message.content);
  };

  test('twenty pass within the burst, none of them asked twice', async () => {
    const doors = await openDoors(VLLM, 'gateway', DEFAULTS);
    expect(await ask(doors, 20, 0)).toEqual(Array.from({ length: 20 }, () => doors.engine.says));
    expect(doors.engine.asked).toHaveLength(20);
  });

  test('sixty are all answered by an SDK as it comes, since each is told its own time, and each reaches the engine once', async () => {
    const doors = await openDoors(VLLM, 'gateway', DEFAULTS);
    // As openai-node has it unless told otherwise.
    expect(await ask(doors, 60, 2)).toEqual(Array.from({ length: 60 }, () => doors.engine.says));
    expect(doors.engine.asked).toHaveLength(60);
  });
});
