// What the fleet is made of: engines found on this machine's ports, the demo until there is one, and a configuration that
// changes while streams are under way.
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import OpenAI from 'openai';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { KEY, openGateway, stageConfig, type Stage } from '../stage/gateway.ts';
import { freePort } from '../stage/ports.ts';

const OFTEN = { every_ms: 40, soon_ms: 20, wait_ms: 300 };

async function engineOf(options: Parameters<typeof startEngine>[0]): Promise<FakeEngine> {
  const engine = await startEngine(options);
  onTestFinished(() => engine.stop());
  return engine;
}

async function serverOf(listener: RequestListener): Promise<number> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const models = async (gateway: Stage): Promise<string[]> => {
  const list = (await (await gateway.ask('/v1/models')).json()) as { data: { id: string }[] };
  return list.data.map(({ id }) => id);
};

const chat = (model: string, more: object = {}) => ({ model, messages: [{ role: 'user', content: 'Hi' }], ...more });

const sdk = (gateway: Stage): OpenAI => new OpenAI({ apiKey: KEY, baseURL: `${gateway.url}/v1`, maxRetries: 0 });

describe('without backends in the configuration', () => {
  test('every engine on the usual ports is found, and all its models are served under their own names', async () => {
    const [ollama, vllm, second] = await Promise.all([
      engineOf({ kind: 'ollama', models: ['qwen2.5-coder:14b', 'nomic-embed-text:latest'] }),
      engineOf({ kind: 'vllm', models: ['deepseek-ai/DeepSeek-Coder'] }),
      engineOf({ kind: 'vllm', models: ['meta/Llama'] }),
    ]);
    const gateway = await openGateway('', { ports: [ollama.port, await freePort(), vllm.port, second.port] });
    expect(gateway.kind).toBe('found');
    expect([...gateway.fleet.backends.keys()]).toEqual(['ollama', 'vllm', `vllm-${second.port}`]);
    const ids = ['deepseek-ai/DeepSeek-Coder', 'meta/Llama', 'nomic-embed-text:latest', 'qwen2.5-coder:14b'];
    expect(await models(gateway)).toEqual(ids);
    for (const id of ids) {
      const answer = await gateway.ask('/v1/chat/completions', chat(id));
      expect([answer.status, answer.headers.get('x-lanyard-model')]).toEqual([200, id]);
      await answer.text();
    }
    expect([ollama.asked.length, vllm.asked.length, second.asked.length]).toEqual([2, 1, 1]);
  });

  test('another Lanyard is not an engine, whatever it serves', async () => {
    const engine = await engineOf({ kind: 'vllm', models: ['x'] });
    const other = await openGateway('', { ports: [engine.port], listen: '[{ port: 0, auth: open }]' });
    expect((await fetch(`${other.url}/v1/models`)).status).toBe(200);
    const gateway = await openGateway('', { ports: [other.port] });
    expect(gateway.kind).toBe('demo');
  });

  test('a configured one is a backend like any other: gateways may stand in a chain', async () => {
    const engine = await engineOf({ kind: 'vllm', models: ['x'] });
    const other = await openGateway(`backends: { rack: { url: "${engine.url}" } }`, {
      listen: '[{ port: 0, auth: open }]',
    });
    const gateway = await openGateway(`backends: { far: { engine: openai, url: "${other.url}" } }`);
    expect((await gateway.ask('/v1/chat/completions', chat('x'))).status).toBe(200);
    expect(engine.asked).toHaveLength(1);
  });

  test.each([
    ['a web page', (_request, response) => void response.end('<html>It works!</html>')],
    ['an error with 200', (_request, response) => void response.end('{"error":"Unexpected endpoint or method."}')],
    ['a list of nothing', (_request, response) => void response.end('{"object":"list","data":[]}')],
    ['404 to everything', (_request, response) => void response.writeHead(404).end('{}')],
    ['a model list with a 500', (_request, response) => void response.writeHead(500).end('{"data":[{"id":"x"}]}')],
    ['no answer at all', (request) => void request.socket.destroy()],
  ] satisfies [string, RequestListener][])('%s is not an engine', async (_name, listener) => {
    const gateway = await openGateway('', { ports: [await serverOf(listener)] });
    expect(gateway.kind).toBe('demo');
    expect(await models(gateway)).toEqual(['demo']);
  });
});

test('a listener that answers each question at the last moment holds the start up for two such waits at most', async () => {
  const port = await serverOf((_request, response) => void setTimeout(() => response.end('{}'), 2_800));
  const began = performance.now();
  const gateway = await openGateway('', { ports: [port] });
  expect(performance.now() - began).toBeLessThan(8_000);
  expect(gateway.kind).toBe('demo');
});

test.each([
  ['without an end', (response: ServerResponse) => setInterval(() => response.write(' '.repeat(1024)), 1)],
  ['too large', (response: ServerResponse) => response.end(Buffer.alloc(16 << 20, ' '))],
  ['elsewhere', (response: ServerResponse) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()],
])('a listener whose answers are %s is not an engine', async (_name, answer) => {
  const port = await serverOf((_request, response) => {
    const timer = answer(response);
    response.once('close', () => clearInterval(timer as NodeJS.Timeout));
  });
  const gateway = await openGateway('', { ports: [port] });
  expect(gateway.kind).toBe('demo');
});

describe('a discovered model', () => {
  const lister = (...ids: string[]) =>
    serverOf((request, response) => {
      response.setHeader('content-type', 'application/json');
      if (request.url === '/v1/models') response.end(JSON.stringify({ data: ids.map((id) => ({ id })) }));
      else if (request.method === 'GET') response.writeHead(404).end('{}');
      else if (request.headers.accept === 'text/event-stream') {
        response.setHeader('content-type', 'text/event-stream');
        // After the head a silence long enough for a keep-alive, which then is what commits the call.
        response.flushHeaders();
        setTimeout(() => response.end('data: {"choices":[]}\n\ndata: [DONE]\n\n'), 150);
      } else response.end('{"choices":[]}');
    });

  test.each(['модель:7b', '通义千问/编码器', 'modèle à 100 %', '__proto__', 'constructor', 'x'.repeat(200)])(
    'may be called %s',
    async (id) => {
      const gateway = await openGateway('limits: { ip: off, keep_alive_ms: 50ms }', { ports: [await lister(id)] });
      expect(await models(gateway)).toEqual([id]);
      expect((await gateway.ask(`/v1/models/${encodeURIComponent(id)}`)).status).toBe(200);
      for (const stream of [false, true]) {
        const answer = await gateway.ask('/v1/chat/completions', { model: id, messages: [], stream });
        expect(answer.status).toBe(200);
        expect(decodeURIComponent(answer.headers.get('x-lanyard-model') ?? '')).toBe(id);
        await answer.text();
      }
      // Written down just after the last byte has gone out.
      await expect
        .poll(() => gateway.outcomes())
        .toMatchObject([
          { model: id, end: 'complete' },
          { model: id, end: 'complete' },
        ]);
      await expect.poll(() => gateway.metric('lanyard_in_flight')).toBe(0);
    },
  );

  test.each(['a\r\nset-cookie: b', 'a\u001b[2Jb', 'a\u202eb', '\ud800', 'x'.repeat(201)])(
    'whose name is %j is not taken on',
    async (id) => {
      const gateway = await openGateway('', { ports: [await lister('plain', id)] });
      expect(await models(gateway)).toEqual(['plain']);
    },
  );
});

describe('the demo', () => {
  const open = async (): Promise<Stage> => openGateway('', { ports: [await freePort()] });

  test('is labelled wherever it shows', async () => {
    const gateway = await open();
    const list = (await (await gateway.ask('/v1/models')).json()) as { data: Record<string, unknown>[] };
    expect(list.data).toHaveLength(1);
    expect(list.data[0]).toMatchObject({ id: 'demo', owned_by: 'lanyard-demo' });
    expect(String(list.data[0]?.['description'])).toContain('demo');
    const answer = await sdk(gateway).chat.completions.create(chat('demo') as never);
    expect(answer.choices[0]?.message.content).toContain("Lanyard's built-in demo, not a language model");
    expect(gateway.logged()).toContain('no engine found: serving the built-in demo model');
  });

  test('streams for real, in many pieces, with usage when asked for', async () => {
    const gateway = await open();
    const client = sdk(gateway);
    const whole = await client.chat.completions.create(chat('demo') as never);
    for (const include_usage of [true, false]) {
      const stream = await client.chat.completions.create(
        chat('demo', { stream: true, stream_options: { include_usage } }) as OpenAI.ChatCompletionCreateParamsStreaming,
      );
      let text = '';
      let pieces = 0;
      let usage: OpenAI.CompletionUsage | null | undefined;
      for await (const chunk of stream) {
        text += chunk.choices[0]?.delta.content ?? '';
        pieces += 1;
        usage = chunk.usage ?? usage;
      }
      expect(text).toBe(whole.choices[0]?.message.content);
      expect(pieces).toBeGreaterThan(10);
      expect(usage).toEqual(include_usage ? whole.usage : undefined);
    }
    await expect.poll(() => gateway.outcomes()).toHaveLength(3);
    const counted = gateway.outcomes().map((one) => [one['tokens_in'], one['tokens_out'], one['backend']]);
    expect(new Set(counted.map((one) => JSON.stringify(one))).size).toBe(1);
  });

  test('keeps to max_tokens, and completes text as well', async () => {
    const gateway = await open();
    const cut = await sdk(gateway).chat.completions.create(chat('demo', { max_tokens: 3 }) as never);
    expect([cut.choices[0]?.finish_reason, cut.usage?.completion_tokens]).toEqual(['length', 3]);
    const text = await sdk(gateway).completions.create({ model: 'demo', prompt: 'Hi', max_tokens: 5 });
    expect(text.choices[0]?.text).toMatch(/^This is Lanyard's built-in demo/);
  });

  test('embeds, and floats and base64 are the same vector', async () => {
    const gateway = await open();
    const input = ['one', 'two', 'one'];
    // The SDK asks for base64 unless told otherwise, and decodes it.
    const coded = await sdk(gateway).embeddings.create({ model: 'demo', input });
    const floats = await sdk(gateway).embeddings.create({ model: 'demo', input, encoding_format: 'float' });
    const [one, two, again] = floats.data.map(({ embedding }) => embedding);
    expect(coded.data.map(({ embedding }) => embedding)).toEqual(
      floats.data.map(({ embedding }) => [...Float32Array.from(embedding)]),
    );
    expect(one).toEqual(again);
    expect(one).not.toEqual(two);
    expect(Math.hypot(...(one ?? []))).toBeCloseTo(1, 5);
    const raw = await gateway.ask('/v1/embeddings', { model: 'demo', input: 'one', encoding_format: 'base64' });
    const { data } = (await raw.json()) as { data: { embedding: unknown }[] };
    expect(data[0]?.embedding).toMatch(/^[A-Za-z0-9+/]+=*$/);
  });

  test('refuses what it cannot take, and stays up', async () => {
    const gateway = await open();
    const odd = [
      // A bad escape deep in a long string, which the gateway leaves to the engine.
      ['/v1/chat/completions', String.raw`{"model":"demo","messages":"${'x'.repeat(100)}\q"}`],
      ['/v1/completions', String.raw`{"model":"demo","prompt":"${'x'.repeat(100)}\q"}`],
    ] as const;
    for (const [path, body] of odd) {
      const answer = await gateway.ask(path, body);
      expect(answer.status).toBe(400);
      expect(await answer.json()).toMatchObject({ error: { code: 'invalid_request' } });
    }
    const took = performance.now();
    const large = { model: 'demo', input: Array.from({ length: 2048 }, (_, at) => `${at} ${'x'.repeat(2_000)}`) };
    expect((await gateway.ask('/v1/embeddings', large)).status).toBe(200);
    expect(performance.now() - took).toBeLessThan(3_000);
    expect(gateway.fleet.backends.get('demo')?.health).toBe('up');
  });

  test('goes when an engine appears, and what it was saying is said to the end', async () => {
    const port = await freePort();
    const gateway = await openGateway('', { ports: [port], look_every_ms: 30 });
    const answer = await gateway.ask('/v1/chat/completions', chat('demo', { stream: true }));
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = (await reader?.read())?.value ?? '';
    await engineOf({ kind: 'ollama', models: ['qwen2.5-coder:14b'], port });
    await expect.poll(() => gateway.kind, { interval: 5 }).toBe('found');
    await expect.poll(() => models(gateway), { interval: 5 }).toEqual(['qwen2.5-coder:14b']);
    expect(text).not.toContain('[DONE]');
    for (let part = await reader?.read(); part?.done === false; part = await reader?.read()) text += part.value;
    expect(text).toContain('"finish_reason":"stop"');
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
    expect((await gateway.ask('/v1/chat/completions', chat('demo'))).status).toBe(404);
    expect((await gateway.ask('/v1/chat/completions', chat('qwen2.5-coder:14b'))).status).toBe(200);
    expect(gateway.logged()).toContain('backends found');
  });

  test('is not there where backends are configured, even if all are dead', async () => {
    const engine = await engineOf({ kind: 'ollama', models: ['found'] });
    const gateway = await openGateway(
      `
backends:
  rack: { engine: vllm, url: "http://127.0.0.1:${await freePort()}" }
models:
  m: [rack/x]
`,
      { ports: [engine.port] },
    );
    expect([gateway.kind, await models(gateway)]).toEqual(['configured', ['m']]);
    expect((await gateway.ask('/v1/chat/completions', chat('m'))).status).toBe(503);
    expect((await gateway.ask('/v1/chat/completions', chat('demo'))).status).toBe(404);
    expect(engine.seen).toHaveLength(0);
  });

  test('goes when backends are configured, and comes back when they are taken out again', async () => {
    const engine = await engineOf({ kind: 'vllm', models: ['x'] });
    const gateway = await open();
    await gateway.reload(stageConfig(`backends: { rack: { engine: vllm, url: "${engine.url}" } }\n`));
    expect([gateway.kind, await models(gateway)]).toEqual(['configured', ['x']]);
    await gateway.reload(stageConfig(''));
    expect([gateway.kind, await models(gateway)]).toEqual(['demo', ['demo']]);
    expect((await gateway.ask('/v1/chat/completions', chat('demo'))).status).toBe(200);
  });
});

describe('the models of configured backends', () => {
  test('without a map are all published, each from every backend that has it, as they come and go', async () => {
    const [a, b] = [
      await engineOf({ kind: 'vllm', models: ['shared', 'only-a'] }),
      await engineOf({ kind: 'ollama', models: ['shared'] }),
    ];
    const gateway = await openGateway(
      `
backends:
  a: { engine: vllm, url: "${a.url}" }
  b: { engine: auto, url: "${b.url}" }
`,
      { probing: OFTEN },
    );
    expect(await models(gateway)).toEqual(['only-a', 'shared']);
    expect(gateway.fleet.models.get('shared')?.candidates.map(({ backend }) => backend.name)).toEqual(['a', 'b']);
    expect(gateway.fleet.backends.get('b')?.engine.name).toBe('ollama');
    b.set_models(['shared', 'pulled-just-now']);
    await expect.poll(() => models(gateway), { interval: 5 }).toEqual(['only-a', 'pulled-just-now', 'shared']);
    expect((await gateway.ask('/v1/chat/completions', chat('pulled-just-now'))).status).toBe(200);
  });

  test('beside a map are published where a glob says so', async () => {
    const a = await engineOf({ kind: 'vllm', models: ['qwen-7b', 'qwen-14b', 'llama'] });
    const gateway = await openGateway(`
backends:
  a: { engine: vllm, url: "${a.url}", publish: ["qwen-*"] }
models:
  m: [a/llama]
  qwen-7b: [a/qwen-14b]
`);
    expect(await models(gateway)).toEqual(['m', 'qwen-14b', 'qwen-7b']);
    // What the map says stands before what was discovered.
    await (await gateway.ask('/v1/chat/completions', chat('qwen-7b'))).text();
    expect(JSON.parse(a.asked[0]?.body.toString() ?? '')).toMatchObject({ model: 'qwen-14b' });
  });
});

describe('a new configuration', () => {
  const text = (backends: Record<string, string>, model: string[], limits = ''): string => `
limits: { ip: off${limits} }
backends:
${Object.entries(backends)
  .map(([name, more]) => `  ${name}: { engine: vllm, ${more} }`)
  .join('\n')}
models:
  m: [${model.join(', ')}]
`;
  const url = (engine: FakeEngine): string => `url: "${engine.url}"`;
  const ports = ({ asked }: FakeEngine): number[] => asked.map(({ remote_port }) => remote_port);

  test('leaves an unchanged backend its connections, lets a removed one finish, and takes a new one into use', async () => {
    const [stays, goes, comes] = [
      await engineOf({ kind: 'vllm', models: ['x'] }),
      await engineOf({ kind: 'vllm', models: ['x'] }),
      await engineOf({ kind: 'vllm', models: ['x'] }),
    ];
    const gateway = await openGateway(text({ stays: url(stays), goes: url(goes) }, ['stays/x']));
    await (await gateway.ask('/v1/chat/completions', chat('m'))).text();
    await gateway.reload(stageConfig(text({ stays: url(stays), goes: url(goes) }, ['goes/x'])));
    goes.next({ kind: 'hold_after', events: 3 });
    const stream = await gateway.ask('/v1/chat/completions', chat('m', { stream: true }));
    await goes.until(({ held }) => held === 1);

    await gateway.reload(stageConfig(text({ stays: url(stays), comes: url(comes) }, ['comes/x'])));
    expect([...gateway.fleet.backends.keys()]).toEqual(['stays', 'comes']);
    const answer = await gateway.ask('/v1/chat/completions', chat('m'));
    expect([answer.status, answer.headers.get('x-lanyard-backend')]).toEqual([200, 'comes']);
    expect(gateway.fleet.in_flight).toBeGreaterThanOrEqual(1);

    await gateway.reload(stageConfig(text({ stays: url(stays) }, ['stays/x'])));
    await (await gateway.ask('/v1/chat/completions', chat('m'))).text();
    expect(new Set(ports(stays)).size).toBe(1);

    goes.release();
    expect((await stream.text()).endsWith('data: [DONE]\n\n')).toBe(true);
    await goes.until(({ connections }) => connections === 0);
    await expect.poll(() => gateway.fleet.in_flight).toBe(0);
    await expect.poll(() => gateway.outcomes()).toHaveLength(4);
    expect(gateway.outcomes().every(({ end }) => end === 'complete')).toBe(true);
  });

  test('serves those who wait for a backend that it removes', async () => {
    const [goes, comes] = [
      await engineOf({ kind: 'vllm', models: ['x'] }),
      await engineOf({ kind: 'vllm', models: ['x'] }),
    ];
    const gateway = await openGateway(text({ goes: `${url(goes)}, slots: 1` }, ['goes/x']));
    goes.next({ kind: 'hold' });
    const first = gateway.ask('/v1/chat/completions', chat('m'));
    await goes.until(({ held }) => held === 1);
    const waiting = gateway.ask('/v1/chat/completions', chat('m'));
    await expect.poll(() => gateway.fleet.queue.length).toBe(1);
    await gateway.reload(stageConfig(text({ comes: url(comes) }, ['comes/x'])));
    goes.release();
    expect([(await first).status, (await waiting).status]).toEqual([200, 200]);
    await goes.until(({ connections }) => connections === 0);
    expect(gateway.fleet.in_flight).toBe(0);
  });

  test('with another wait for connections holds for a backend that is otherwise the same', async () => {
    const engine = await engineOf({ kind: 'vllm', models: ['x'] });
    const gateway = await openGateway(text({ a: url(engine) }, ['a/x']));
    await gateway.reload(stageConfig(text({ a: url(engine) }, ['a/x'], ', connect_ms: 500ms')));
    expect(gateway.fleet.backends.get('a')?.connect_ms).toBe(500);
    expect((await gateway.ask('/v1/chat/completions', chat('m'))).status).toBe(200);
  });

  test('does not send probes to what it removed', async () => {
    const goes = await engineOf({ kind: 'vllm', models: ['x'] });
    const stays = await engineOf({ kind: 'vllm', models: ['x'] });
    const gateway = await openGateway(text({ goes: url(goes), stays: url(stays) }, ['goes/x']), { probing: OFTEN });
    goes.next({ kind: 'hold' }, { kind: 'error', what: 'internal' });
    const first = gateway.ask('/v1/chat/completions', chat('m'));
    await goes.until(({ held }) => held === 1);
    await gateway.reload(stageConfig(text({ stays: url(stays) }, ['stays/x'])));
    // Its health changes after it was removed: it dies under the request it still carries.
    const before = goes.seen.length;
    const probes = stays.seen.length;
    await goes.stop();
    expect((await first).status).toBe(502);
    await stays.until(({ seen }) => seen.length > probes + 4);
    expect(goes.seen.length).toBe(before);
  });
});
