// The editors of docs/VSCODE_SETUP.md against a running gateway: each request goes where the page's own settings say, with the
// headers and fields that client sends, and its answer is read as that client reads it. What is asserted is what breaks them:
// from their sources (Continue, Cline, Roo Code, VS Code 1.122's customendpoint, Zed), read in late 2026.
import OpenAI, { BadRequestError } from 'openai';
import { describe, expect, test } from 'vitest';
import { LAN, LOCAL, NET, TEAM } from '../docs/stage.ts';
import { vector } from '../engines/answers.ts';
import { call } from '../stage/caller.ts';
import { KEY } from '../stage/gateway.ts';
import { asked, AUTH, openDoors, readLines, said, VLLM, type Doors } from './doors.ts';
import { ENGINES } from './engines.ts';
import { BASES, CONTINUE, field, forRole, VSCODE, ZED } from './pasted.ts';

// ---- Continue --------------------------------------------------------------------------------------------------------

/** With the same key twice, as its fetch adds it for Azure. */
const CONTINUE_HEADERS = { ...AUTH, 'api-key': KEY, accept: 'application/json' };
const chatOf = (model: string): object => ({
  messages: [{ role: 'user', content: 'Hi' }],
  model,
  max_tokens: 4096,
  stream: true,
  stream_options: { include_usage: true },
});

describe('Continue', () => {
  test('is given settings for each role, all at one of the three addresses', () => {
    expect(new Set(BASES)).toEqual(new Set([LOCAL, LAN, NET].flatMap((base) => [base, `${base}/v1`])));
    expect(CONTINUE.models.flatMap(({ roles }) => roles)).toEqual(
      expect.arrayContaining(['chat', 'edit', 'apply', 'autocomplete', 'embed']),
    );
    for (const { provider } of CONTINUE.models) expect(provider).toBe('openai');
  });

  test('sends completion to /completions: no model of the page has a name it takes for a chat model', () => {
    const { model, useLegacyCompletionsEndpoint } = forRole('autocomplete');
    expect(model).not.toMatch(/^(?:gpt|o)/);
    expect(useLegacyCompletionsEndpoint).toBe(true);
    // Its marks are known by the name, and only a base model's prompt goes to the model as it is (Ollama's chat templates).
    expect(model).toMatch(/qwen.*coder/);
    expect(TEAM).toMatch(new RegExp(`^  ${model}:\n    - desk/\\S+-base$`, 'm'));
  });

  test('works at every address of the page, with /v1 and without', async () => {
    const doors = await openDoors(VLLM, 'nginx');
    for (const base of BASES) {
      const chat = await doors.ask(`${base}/chat/completions`, chatOf(forRole('chat').model), CONTINUE_HEADERS);
      expect(chat.status, base).toBe(200);
      expect(chat.headers['content-type'], base).toMatch(/^text\/event-stream/);
      expect(said(readLines(chat.text)), base).toBe(doors.engine.says);
      const list = JSON.parse((await doors.ask(`${base}/models`, undefined, CONTINUE_HEADERS)).text) as {
        data: { id: string }[];
      };
      expect(
        list.data.map(({ id }) => id),
        base,
      ).toEqual(expect.arrayContaining(CONTINUE.models.map(({ model }) => model)));
    }
    for (const { headers } of doors.engine.asked) {
      expect(headers['authorization']).toBeUndefined();
      expect(headers['api-key']).toBeUndefined();
    }
  });

  test('is told of a failure in words it finds: JSON with a message, and "overloaded" where asking again helps', async () => {
    const doors = await openDoors();
    const base = CONTINUE.models[0]?.apiBase ?? '';
    const missing = await doors.ask(`${base}/chat/completions`, chatOf('nobody'), CONTINUE_HEADERS);
    expect(missing.status).toBe(404);
    expect(JSON.parse(missing.text)).toMatchObject({ error: { message: expect.stringContaining('nobody') } });
    doors.engine.next({ kind: 'status', status: 503 });
    const busy = await doors.ask(`${base}/chat/completions`, chatOf(forRole('chat').model), CONTINUE_HEADERS);
    expect(busy.status).toBe(503);
    expect(busy.text).toContain('overloaded');
  });

  test('hears of a long silence by a comment it passes over', async () => {
    const doors = await openDoors(VLLM, 'gateway', 'limits: { ip: off, keep_alive_ms: 50ms }');
    doors.engine.next({ kind: 'hold_after', events: 2 });
    const caller = await call(doors.gateway.port, '/chat/completions', chatOf(forRole('chat').model), {
      headers: CONTINUE_HEADERS,
    });
    const held = await caller.until(': keep-alive\n\n: keep-alive\n\n');
    expect(held).not.toContain(': ping');
    doors.engine.release();
    expect(said(readLines(await caller.whole()))).toBe(doors.engine.says);
  });
});

/** As its template for qwen models writes it, with the stop texts it adds. */
const FIM = {
  model: forRole('autocomplete').model,
  prompt: '<|fim_prefix|>def add(a, b):\n    return <|fim_suffix|>\n\nprint(add(1, 2))\n<|fim_middle|>',
  max_tokens: 256,
  temperature: 0.01,
  stop: ['<|endoftext|>', '<|fim_prefix|>', '<|fim_middle|>', '<|fim_suffix|>', '/src/', '#- coding: utf-8', '```'],
  stream: true,
};

describe.for(ENGINES)('in front of $kind', (row) => {
  const base = CONTINUE.models[0]?.apiBase ?? '';

  test('a chat of an editor streams, and its usage comes last, once', async () => {
    const doors = await openDoors(row);
    const chunks = readLines(
      (await doors.ask(`${base}/chat/completions`, chatOf('qwen-coder'), CONTINUE_HEADERS)).text,
    );
    expect(said(chunks)).toBe(doors.engine.says);
    const last = chunks.at(-1);
    expect(last?.choices).toEqual([]);
    expect(last?.usage?.completion_tokens).toBe(8);
  });

  test('a completion as one types arrives with its marks and its stops, and streams back as text', async () => {
    const doors = await openDoors(row);
    const { status, text } = await doors.ask(`${base}/completions`, FIM, CONTINUE_HEADERS);
    expect(status).toBe(200);
    const chunks = readLines(text);
    expect(said(chunks)).toBe(doors.engine.says);
    for (const { object } of chunks) expect(object).toMatch(/^text_completion/);
    // Nobody asked for usage, so no chunk without choices: `choices[0].text` would throw.
    expect(chunks.filter(({ choices }) => choices.length === 0)).toEqual([]);
    expect(asked(doors)).toMatchObject({ ...FIM, model: 'there' });
  });

  test('the next keystroke stops the completion before it, in the engine too', async () => {
    const doors = await openDoors(row);
    doors.engine.next({ kind: 'hold_after', events: 2 });
    const typed = await call(doors.gateway.port, '/v1/completions', FIM, { headers: CONTINUE_HEADERS });
    await typed.until('data: ');
    typed.leave('reset');
    await doors.engine.until(({ asked }) => asked[0]?.ended === 'aborted');
    await expect.poll(() => doors.gateway.outcomes()[0]?.['end']).toBe('client_closed');
    // And the one after it is answered.
    expect((await doors.ask(`${base}/completions`, FIM, CONTINUE_HEADERS)).status).toBe(200);
  });

  test('a code index gets base64 that is the vector (Roo asks for it, the SDK in Continue by default)', async () => {
    const doors = await openDoors(row);
    const body = { model: forRole('embed').model, input: ['one', 'two'], encoding_format: 'base64' };
    const { text } = await doors.ask(`${base}/embeddings`, body, CONTINUE_HEADERS);
    const { data } = JSON.parse(text) as { data: { embedding: string }[] };
    const floats = data.map(({ embedding }) => {
      const bytes = Buffer.from(embedding, 'base64');
      return Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readFloatLE(at * 4));
    });
    expect(floats).toEqual([vector('one'), vector('two')]);
  });
});

// ---- Cline -----------------------------------------------------------------------------------------------------------

describe('Cline', () => {
  const open = async (doors: Doors): Promise<OpenAI> =>
    new OpenAI({ baseURL: doors.at(field('Cline', 'Base URL')), apiKey: KEY, maxRetries: 0 });
  const CALL = {
    model: field('Cline', 'Model ID'),
    messages: [
      { role: 'system' as const, content: 'You are Cline.' },
      { role: 'user' as const, content: [{ type: 'text' as const, text: 'Hi' }] },
    ],
    temperature: 0,
    stream: true as const,
    stream_options: { include_usage: true },
  };

  test('streams with usage, by its own SDK, at the address of the page', async () => {
    const doors = await openDoors();
    const client = await open(doors);
    let text = '';
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of await client.chat.completions.create(CALL)) {
      text += chunk.choices[0]?.delta?.content ?? '';
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe(doors.engine.says);
    expect(usage?.completion_tokens).toBe(8);
    expect(asked(doors)).toMatchObject({ ...CALL, model: 'there' });
    expect((await client.models.list()).data.map(({ id }) => id)).toContain(CALL.model);
  });

  test.for(ENGINES)('shortens a conversation that $kind finds too long: it knows the code', async (row) => {
    const doors = await openDoors(row);
    doors.engine.next({ kind: 'error', what: 'overflow' });
    const failed = await (await open(doors)).chat.completions.create(CALL).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(BadRequestError);
    expect(failed).toMatchObject({ status: 400, code: 'context_length_exceeded' });
  });
});

// ---- VS Code ---------------------------------------------------------------------------------------------------------

describe("VS Code's custom endpoint", () => {
  /** customEndpointProvider.ts: a whole path is taken as it is, `/vN` gets the route, anything else `/v1` and the route. */
  const resolve = (url: string): string =>
    url.includes('/chat/completions')
      ? url
      : /\/v\d+$/.test(url)
        ? `${url}/chat/completions`
        : `${url}/v1/chat/completions`;
  const bodyOf = (model: string, tokens: number): object => ({
    model,
    messages: [
      { role: 'system', content: 'You help.' },
      { role: 'user', content: 'Hi' },
    ],
    temperature: 0.1,
    top_p: 1,
    max_tokens: tokens,
    n: 1,
    stream: true,
    stream_options: { include_usage: true },
  });

  test('has a model of the page for each form of url and each address', () => {
    expect([VSCODE.vendor, VSCODE.apiType]).toEqual(['customendpoint', 'chat-completions']);
    expect(VSCODE.models.map(({ url }) => url)).toEqual([`${LOCAL}/v1/chat/completions`, `${LAN}/v1`, NET]);
  });

  test('every model of the page answers, and headers of its own go no further', async () => {
    const doors = await openDoors(VLLM, 'nginx');
    for (const { id, url, maxOutputTokens, requestHeaders = {} } of VSCODE.models) {
      const answer = await doors.ask(resolve(url), bodyOf(id, maxOutputTokens), { ...AUTH, ...requestHeaders });
      expect(answer.status, url).toBe(200);
      const chunks = readLines(answer.text);
      expect(said(chunks), url).toBe(doors.engine.says);
      expect(chunks.at(-1)?.usage?.completion_tokens, url).toBe(8);
    }
    for (const { headers } of doors.engine.asked) expect(Object.keys(headers)).not.toContain('x-team');
  });

  test('is never told 422, 413 or 402 of an engine: it would show a content filter, compact, or speak of quotas', async () => {
    const doors = await openDoors();
    for (const status of [422, 413, 402]) {
      doors.engine.next({ kind: 'status', status, body: { error: { message: 'no' } } });
      const [model] = VSCODE.models;
      const answer = await doors.ask(resolve(model?.url ?? ''), bodyOf(model?.id ?? '', 10));
      expect([422, 413, 402]).not.toContain(answer.status);
      expect(JSON.parse(answer.text)).toMatchObject({ error: { message: expect.any(String) } });
    }
  });
});

// ---- others ----------------------------------------------------------------------------------------------------------

test('Zed streams from four threads at once, by the settings of the page', async () => {
  const doors = await openDoors();
  const { api_url, available_models } = ZED.language_models.openai_compatible.Lanyard;
  const body = {
    model: available_models[0]?.name,
    messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }],
    stream: true,
    max_completion_tokens: 100,
    stop: [],
    temperature: 1,
    tools: [],
  };
  const answers = await Promise.all(Array.from({ length: 4 }, () => doors.ask(`${api_url}/chat/completions`, body)));
  for (const { text } of answers) expect(said(readLines(text))).toBe(doors.engine.says);
});

test('Open WebUI lists the models and asks for a title unstreamed', async () => {
  const doors = await openDoors();
  const { data } = JSON.parse((await doors.ask(`${LOCAL}/v1/models`)).text) as {
    data: { id: string; object: string }[];
  };
  expect(data.map(({ object }) => object)).toEqual(data.map(() => 'model'));
  expect(doors.engine.asked).toHaveLength(0);
  const title = {
    model: 'mistral',
    messages: [{ role: 'user', content: 'A title for: Hi' }],
    stream: false,
    max_tokens: 8,
  };
  const { text } = await doors.ask(`${LOCAL}/v1/chat/completions`, title);
  expect(JSON.parse(text)).toMatchObject({ choices: [{ message: { content: doors.engine.says } }] });
});

test.for(['/v1/messages', '/v1/responses', '/v1/model/info', '/infill', '/v1/rerank', '/v1/files', '/v1/batches'])(
  '%s is not served, as the pages say, and says so in JSON',
  async (path) => {
    const doors = await openDoors();
    const { status, text } = await doors.ask(`${LOCAL}${path}`, {});
    expect(status).toBe(404);
    expect(JSON.parse(text)).toMatchObject({ error: { code: 'unknown_url' } });
  },
);
