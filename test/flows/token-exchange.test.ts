// A backend whose token is had for a code: from `.env` to the answer, with the configuration that is shipped for it.
import { readFileSync } from 'node:fs';
import OpenAI, { NotFoundError } from 'openai';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { vector } from '../engines/answers.ts';
import { startExchange, type Exchange } from '../engines/exchange.ts';
import { call } from '../stage/caller.ts';
import { KEY, openGateway, type Stage } from '../stage/gateway.ts';

const CHAT = '/v1/chat/completions';
const EXAMPLE = readFileSync(new URL('../../config/examples/token-exchange.yaml', import.meta.url), 'utf8');
const SEVEN = (service: Exchange): Record<string, string> => ({
  TOKEN_URL: `${service.url}/token`,
  AUTH_CODE: 'the-code',
  CHAT_API_URL: `${service.url}/chat`,
  EMBEDDING_API_URL: `${service.url}/embeddings`,
});
const messages = [{ role: 'user', content: 'Hi' }];

/** The shipped example before this service; `more` stands within its `exchange`. */
async function open(service: Exchange, env: Record<string, string> = {}, more = ''): Promise<Stage> {
  const text = EXAMPLE.replace(/^listen:\n.*\n/m, '').replace(
    '      code: ${AUTH_CODE}\n',
    `      code: \${AUTH_CODE}\n${more}`,
  );
  return await openGateway(text, { env: { ...SEVEN(service), ...env } });
}

interface Failure {
  readonly error: { readonly code: string; readonly message: string };
}

describe('the configuration', () => {
  const env = { TOKEN_URL: 'http://t', AUTH_CODE: 'c', CHAT_API_URL: 'http://c', EMBEDDING_API_URL: 'http://e' };

  test.each(Object.keys(env))('does without %s refuse to start, and names it', (name) => {
    const { [name as keyof typeof env]: _left_out, ...rest } = env;
    expect(() => parseConfig(EXAMPLE, 'x.yaml', rest)).toThrow(name);
  });

  test('has PORT, LOG_LEVEL and VERIFY_SSL as they are said, and their defaults', () => {
    const usual = parseConfig(EXAMPLE, 'x.yaml', env);
    expect([usual.listen[0]?.port, usual.log_level, usual.backends?.get('behind')?.tls?.verify]).toEqual([
      8000,
      'INFO',
      true,
    ]);
    const said = parseConfig(EXAMPLE, 'x.yaml', { ...env, PORT: '8123', LOG_LEVEL: 'DEBUG', VERIFY_SSL: 'False' });
    expect([said.listen[0]?.port, said.log_level, said.backends?.get('behind')?.tls?.verify]).toEqual([
      8123,
      'DEBUG',
      false,
    ]);
  });
});

describe('the token', () => {
  test('is had once for the code, for two hundred calls, and goes with each as it is', async () => {
    const service = await startExchange();
    const gateway = await open(service);
    for (let n = 0; n < 100; n += 1) expect((await gateway.ask(CHAT, { model: 'gpt-4o', messages })).status).toBe(200);
    const all = await Promise.all(Array.from({ length: 100 }, () => gateway.ask(CHAT, { model: 'gpt-4o', messages })));
    expect(new Set(all.map(({ status }) => status))).toEqual(new Set([200]));
    expect(service.codes).toEqual(['{"code":"the-code"}']);
    expect(new Set(service.asked.map(({ token }) => token))).toEqual(new Set(['token-1']));
  });

  test('is renewed before it ends, while calls go on with the old one', async () => {
    const service = await startExchange({ expires_in: 1 });
    const gateway = await open(service);
    await expect.poll(() => service.codes.length).toBe(1);
    // Of one second the last fifth is early.
    await expect
      .poll(
        async () => {
          expect((await gateway.ask(CHAT, { model: 'gpt-4o', messages })).status).toBe(200);
          return service.codes.length;
        },
        { timeout: 5_000 },
      )
      .toBeGreaterThan(2);
    expect(service.asked.every(({ token }) => token !== '')).toBe(true);
  });

  test.each([
    ['HTTP 401', { status: 401, body: { message: 'expired' } }, ''],
    ['a configured 403', { status: 403, body: '<html>no</html>' }, '      refused: [401, 403]\n'],
    ['errorCode 401 with 400', { status: 400, body: { errorCode: 401 } }, ''],
    ['errorCode 401 with 200', { status: 200, body: { errorCode: 401 } }, ''],
  ])('refused by %s is had anew, and the call repeated once', async (_name, told, more) => {
    const service = await startExchange();
    const gateway = await open(service, {}, more);
    service.next(told);
    expect((await gateway.ask(CHAT, { model: 'gpt-4o', messages })).status).toBe(200);
    expect(service.codes).toHaveLength(2);
    expect(service.asked.map(({ token }) => token)).toEqual(['token-1', 'token-2']);
    service.next(told, told);
    const answer = await gateway.ask(CHAT, { model: 'gpt-4o', messages });
    expect([answer.status, ((await answer.json()) as Failure).error.code]).toEqual([502, 'upstream_auth']);
  });

  test('a 403 that is not configured is the service’s own, and no second token is had', async () => {
    const service = await startExchange();
    const gateway = await open(service);
    service.next({ status: 403, body: { message: 'no' } });
    expect((await gateway.ask(CHAT, { model: 'gpt-4o', messages })).status).toBe(502);
    expect(service.codes).toHaveLength(1);
  });

  test('many calls that find it expired together have one new token between them', async () => {
    const service = await startExchange();
    const gateway = await open(service);
    expect((await gateway.ask(CHAT, { model: 'gpt-4o', messages })).status).toBe(200);
    service.expire();
    const all = await Promise.all(Array.from({ length: 20 }, () => gateway.ask(CHAT, { model: 'gpt-4o', messages })));
    expect(new Set(all.map(({ status }) => status))).toEqual(new Set([200]));
    expect(service.codes).toHaveLength(2);
  });

  test('a wrong code is 502 with what to look at, and without the code', async () => {
    const service = await startExchange();
    const gateway = await open(service, { AUTH_CODE: 'a-wrong-secret' });
    const answer = await gateway.ask(CHAT, { model: 'gpt-4o', messages });
    const { error } = (await answer.json()) as Failure;
    expect([answer.status, error.code]).toEqual([502, 'upstream_auth']);
    expect(error.message).toMatch(/TOKEN_URL and AUTH_CODE/);
    expect(JSON.stringify(error) + gateway.logged()).not.toContain('a-wrong-secret');
  });

  test('whose service is away is tried again, and then told', async () => {
    const service = await startExchange();
    const gateway = await open(service);
    expect((await gateway.ask(CHAT, { model: 'gpt-4o', messages })).status).toBe(200);
    service.expire();
    service.tokens({ status: 503, body: {} }, { status: 503, body: {} });
    expect((await gateway.ask(CHAT, { model: 'gpt-4o', messages })).status).toBe(200);
    expect(service.codes).toHaveLength(4);
  });

  test('by RFC 6749: a form, an answer at the top, a Bearer', async () => {
    const service = await startExchange({ layout: 'rfc6749', before: 'Bearer ' });
    const gateway = await open(
      service,
      {},
      '      request: form\n      header: bearer\n      fields: { client_id: me, grant_type: authorization_code }\n',
    );
    expect((await gateway.ask(CHAT, { model: 'gpt-4o', messages })).status).toBe(200);
    expect(Object.fromEntries(new URLSearchParams(service.codes[0]))).toEqual({
      grant_type: 'authorization_code',
      code: 'the-code',
      client_id: 'me',
    });
    expect(service.asked[0]?.token).toBe('Bearer token-1');
  });

  test('that is long in coming keeps no slot for a caller who has left, and is there for the next', async () => {
    const service = await startExchange();
    const gateway = await open(service);
    expect((await gateway.ask(CHAT, { model: 'gpt-4o', messages })).status).toBe(200);
    service.expire();
    service.tokens({ held: true });
    const caller = await call(gateway.port, CHAT, { model: 'gpt-4o', messages });
    await expect.poll(() => service.codes.length).toBe(2);
    caller.leave('fin');
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'complete' }, { end: 'client_closed' }]);
    expect(gateway.fleet.in_flight).toBe(0);
    service.release();
    expect((await gateway.ask(CHAT, { model: 'gpt-4o', messages })).status).toBe(200);
    expect(service.codes).toHaveLength(2);
  });

  test('and the code stand in no log, at DEBUG neither', async () => {
    const service = await startExchange();
    const gateway = await open(service, { LOG_LEVEL: 'DEBUG' });
    service.next({ status: 401, body: { message: 'token-1 has expired' } });
    await gateway.ask(CHAT, { model: 'gpt-4o', messages });
    await expect.poll(() => gateway.outcomes()).toHaveLength(1);
    expect(gateway.logged()).not.toMatch(/the-code|token-\d/);
  });
});

describe('a chat', () => {
  test('arrives as it was sent but for the model’s name, with nothing added', async () => {
    const service = await startExchange();
    const gateway = await open(service);
    const sent = `{"model":"gpt-4o", "messages":[{"role":"user","content":"Hi"}],"temperature":3,"top_p":0.1,"n":1,"max_tokens":5,"user":"me","tools":[],"tool_choice":"auto"}`;
    expect((await gateway.ask(CHAT, sent, { headers: { authorization: 'Bearer sk-any-string' } })).status).toBe(401);
    expect((await gateway.ask(CHAT, sent)).status).toBe(200);
    expect(service.asked[0]?.raw).toBe(sent);
  });

  test('is answered in OpenAI’s form, with usage that says that it is an estimate', async () => {
    const service = await startExchange();
    const gateway = await open(service);
    const answer = await gateway.ask(CHAT, { model: 'gpt-4o', messages });
    expect(await answer.json()).toMatchObject({
      object: 'chat.completion',
      id: expect.stringMatching(/^chatcmpl-/),
      choices: [{ index: 0, message: { role: 'assistant', content: 'Grüße, 世界 🌍!' }, finish_reason: 'stop' }],
      usage: { estimated: true },
    });
  });

  test('for a stream is told as one at once, though the service has none', async () => {
    const service = await startExchange();
    const gateway = await open(service);
    const caller = await call(gateway.port, CHAT, {
      model: 'gpt-4o',
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    const events = (await caller.whole()).split('\n\n').filter((event) => event !== '');
    expect(events.at(-1)).toBe('data: [DONE]');
    const chunks = events.slice(0, -1).map(
      (event) =>
        JSON.parse(event.slice(6)) as {
          id: string;
          choices: { delta: { content?: string }; finish_reason: string | null }[];
          usage?: object;
        },
    );
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe('Grüße, 世界 🌍!');
    expect(chunks.map(({ choices }) => choices[0]?.finish_reason ?? null)).toEqual([null, 'stop', null]);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { estimated: true } });
    // Nothing of a stream went up.
    expect(service.asked[0]?.body).toMatchObject({ stream: false });
    expect(service.asked[0]?.body).not.toHaveProperty('stream_options');
  });

  test('of a service that streams arrives as it comes', async () => {
    const service = await startExchange();
    const gateway = await open(service, { BACKEND_STREAMS: 'true' });
    const chunk = (content: string, finish_reason: string | null = null): object => ({
      id: 'x',
      choices: [{ index: 0, delta: { content }, finish_reason }],
    });
    service.next({ events: [chunk('a'), chunk('b'), chunk('', 'stop')] });
    const caller = await call(gateway.port, CHAT, { model: 'gpt-4o', messages, stream: true });
    expect((await caller.whole()).split('\n\n').filter((event) => event !== '')).toHaveLength(4);
    expect(service.asked[0]?.body).toEqual({ model: 'gpt-4o', messages, stream: true });
  });

  test.each([false, true])('with tools calls them by index, id and name (stream: %s)', async (stream) => {
    const service = await startExchange();
    const gateway = await open(service);
    const tools = [{ type: 'function', function: { name: 'look', parameters: {} } }];
    const text = await (await gateway.ask(CHAT, { model: 'gpt-4o', messages, tools, stream })).text();
    expect(text).toMatch(/"id":"call_\w+"/);
    expect(text).toContain('"finish_reason":"tool_calls"');
    expect(text).toContain(String.raw`"arguments":"{\"where\":\"there\"}"`);
    if (stream) expect(text).toMatch(/"tool_calls":\[\{[^\]]*"index":0/);
  });

  test('whose caller leaves is given up at the service', async () => {
    const service = await startExchange();
    const gateway = await open(service);
    service.next({ held: true });
    const caller = await call(gateway.port, CHAT, { model: 'gpt-4o', messages });
    await expect.poll(() => service.open()).toBe(1);
    caller.leave('fin');
    await expect.poll(() => service.open()).toBe(0);
    await expect.poll(() => gateway.outcomes()).toMatchObject([{ end: 'client_closed' }]);
  });

  test('that the service answers in no form is 502', async () => {
    const service = await startExchange();
    const gateway = await open(service);
    service.next({ status: 200, body: { data: {} } });
    const answer = await gateway.ask(CHAT, { model: 'gpt-4o', messages });
    expect([answer.status, ((await answer.json()) as Failure).error.code]).toEqual([502, 'upstream_invalid']);
  });
});

describe('embeddings', () => {
  test.each(['float', 'base64'])(
    'of many inputs are asked one text each, side by side, and come back in order as %s',
    async (encoding_format) => {
      const service = await startExchange();
      const gateway = await open(service);
      const input = Array.from({ length: 12 }, (_, at) => `text ${at}`);
      const answer = await gateway.ask('/v1/embeddings', {
        model: 'text-embedding-3-small',
        input,
        encoding_format,
        dimensions: 16,
        user: 'me',
      });
      const { data } = (await answer.json()) as { data: { index: number; embedding: number[] | string }[] };
      const floats = data.map(({ embedding }) =>
        typeof embedding === 'string'
          ? [...new Float32Array(Uint8Array.from(Buffer.from(embedding, 'base64')).buffer)]
          : embedding,
      );
      expect(floats).toEqual(input.map((text) => vector(text)));
      expect(new Set(service.asked.map(({ body }) => body['text']))).toEqual(new Set(input));
      expect(service.asked[0]?.body).toMatchObject({ model: 'text-embedding-3-small', dimensions: 16, user: 'me' });
      expect(service.asked[0]?.body).not.toHaveProperty('input');
      expect(service.codes).toHaveLength(1);
    },
  );
});

test('models are what the file names, and another is 404', async () => {
  const gateway = await open(await startExchange());
  const { data } = (await (await gateway.ask('/v1/models')).json()) as { data: { id: string }[] };
  expect(data.map(({ id }) => id)).toEqual(['gpt-4-turbo', 'gpt-4o', 'text-embedding-3-small']);
  expect((await gateway.ask(CHAT, { model: 'whisper-1', messages })).status).toBe(404);
});

describe('the official SDK', () => {
  const CHATS = { model: 'gpt-4o', messages: [{ role: 'user' as const, content: 'Hi' }] };
  const tools = [
    { type: 'function' as const, function: { name: 'look', parameters: { type: 'object', properties: {} } } },
  ];

  async function sdk(): Promise<OpenAI> {
    const gateway = await open(await startExchange());
    return new OpenAI({ apiKey: KEY, baseURL: `${gateway.url}/v1`, maxRetries: 0 });
  }

  test('prints a chat, a stream and the default embeddings', async () => {
    const client = await sdk();
    expect((await client.chat.completions.create(CHATS)).choices[0]?.message.content).toBe('Grüße, 世界 🌍!');
    let text = '';
    for await (const chunk of await client.chat.completions.create({ ...CHATS, stream: true }))
      text += chunk.choices[0]?.delta.content ?? '';
    expect(text).toBe('Grüße, 世界 🌍!');
    const { data } = await client.embeddings.create({ model: 'text-embedding-3-small', input: ['a', 'b'] });
    expect(data.map(({ embedding }) => embedding)).toEqual([vector('a'), vector('b')]);
  });

  test('puts streamed tool calls together with its own helper', async () => {
    const client = await sdk();
    const runner = client.chat.completions.stream({ ...CHATS, tools });
    const [choice] = (await runner.finalChatCompletion()).choices;
    expect(choice?.finish_reason).toBe('tool_calls');
    expect(choice?.message.tool_calls).toMatchObject([
      { type: 'function', function: { name: 'look', arguments: '{"where":"there"}' } },
    ]);
  });

  test('raises its own error for a model that is not there', async () => {
    const client = await sdk();
    await expect(client.chat.completions.create({ ...CHATS, model: 'none' })).rejects.toBeInstanceOf(NotFoundError);
  });
});

test('an open listener takes any key or none, and passes none on', async () => {
  const service = await startExchange();
  const text = EXAMPLE.replace(/^listen:\n.*\n/m, '');
  const gateway = await openGateway(text, { listen: '[{ port: 0, auth: open }]', env: SEVEN(service) });
  for (const authorization of ['Bearer sk-any-string', '']) {
    const answer = await gateway.ask(CHAT, { model: 'gpt-4o', messages }, { headers: { authorization } });
    expect(answer.status).toBe(200);
  }
  expect(service.asked.map(({ token }) => token)).toEqual(['token-1', 'token-1']);
});
