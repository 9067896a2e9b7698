// An OpenVINO Model Server behind config/examples/openvino.yaml: its address, `/v3`, no key; what it leaves out is there, and
// what it says in its own way is said in OpenAI's.
import { readFileSync } from 'node:fs';
import OpenAI, { APIError } from 'openai';
import { expect, onTestFinished, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { openGateway, type Stage } from '../stage/gateway.ts';

const EXAMPLE = readFileSync(new URL('../../config/examples/openvino.yaml', import.meta.url), 'utf8');
const MODEL = 'TinyLlama/TinyLlama-1.1B-Chat-v1.0';
const messages = [
  { role: 'system' as const, content: 'You are helpful.' },
  { role: 'user' as const, content: 'What is it?' },
  { role: 'assistant' as const, content: 'A library.' },
  { role: 'user' as const, content: 'How is it installed?' },
];

async function open(): Promise<{ engine: FakeEngine; gateway: Stage; base: string }> {
  const engine = await startEngine({ kind: 'openvino', models: [MODEL] });
  onTestFinished(() => engine.stop());
  const text = EXAMPLE.replace(/^listen:\n.*\n/m, '');
  const gateway = await openGateway(text, { listen: '[{ port: 0, auth: open }]', env: { OVMS_URL: engine.url } });
  return { engine, gateway, base: `${gateway.url}/v3` };
}

test('the example listens on 8000 of this machine, open', () => {
  expect(parseConfig(EXAMPLE, 'x.yaml', {}).listen).toEqual([
    { port: 8000, host: '127.0.0.1', auth: 'open', mode: 'direct' },
  ]);
});

test('a chat of several turns without a key has every field, its id too, and usage that adds up', async () => {
  const { engine, base } = await open();
  const answer = await fetch(`${base}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: MODEL, messages }),
  });
  expect(answer.status).toBe(200);
  const { usage, ...told } = (await answer.json()) as { usage: Record<string, number> };
  expect(told).toEqual({
    id: expect.stringMatching(/^chatcmpl-[0-9a-f]{32}$/),
    object: 'chat.completion',
    created: expect.any(Number),
    model: MODEL,
    choices: [
      {
        finish_reason: 'stop',
        index: 0,
        logprobs: null,
        message: { role: 'assistant', content: engine.says, tool_calls: [] },
      },
    ],
  });
  expect(usage['total_tokens']).toBe((usage['prompt_tokens'] ?? 0) + (usage['completion_tokens'] ?? 0));
  expect(engine.asked[0]?.path).toBe('/v3/chat/completions');
});

test('fifty whole and fifty streamed chats go side by side to the same name and address', async () => {
  const { engine, base } = await open();
  const client = new OpenAI({ baseURL: base, apiKey: 'unused' });
  const whole = async (): Promise<string> =>
    (await client.chat.completions.create({ model: MODEL, messages })).choices[0]?.message.content ?? '';
  const streamed = async (): Promise<string> => {
    let text = '';
    const stream = await client.chat.completions.create({ model: MODEL, messages, stream: true });
    // The first delta's content is null.
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
    return text;
  };
  // As many as the limit by address takes at once, which the example leaves as it is by default: this stage has none.
  const all = await Promise.all(Array.from({ length: 100 }, (_, at) => (at % 2 === 0 ? whole() : streamed())));
  expect(new Set(all)).toEqual(new Set([engine.says]));
});

test.each([
  ['bad JSON deep within (412)', { kind: 'error', what: 'bad_request' }, 400, 'invalid_request'],
  ['an unknown graph (404)', { kind: 'error', what: 'unknown_model' }, 404, 'model_not_found'],
  ['a failure (500)', { kind: 'error', what: 'internal' }, 502, 'upstream_error'],
  ['a wrong key there (500)', { kind: 'error', what: 'unauthorized' }, 502, 'upstream_auth'],
  ['a full cache (500)', { kind: 'error', what: 'overloaded' }, 503, 'server_is_overloaded'],
] as const)('%s is OpenAI’s error to the SDK', async (_name, fault, status, code) => {
  const { engine, base } = await open();
  const client = new OpenAI({ baseURL: base, apiKey: 'unused', maxRetries: 0 });
  engine.next(fault);
  const failure: unknown = await client.chat.completions
    .create({ model: MODEL, messages })
    .catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(APIError);
  expect(failure).toMatchObject({ status, code });
});

test.each([
  ['raw JSON in the stream', { kind: 'error_event_after', events: 3 }],
  ['its socket closed', { kind: 'die_after', events: 3 }],
  ['its stream ended without a reason', { kind: 'no_finish' }],
] as const)('%s is never a short answer to the SDK', async (_name, fault) => {
  const { engine, base } = await open();
  const client = new OpenAI({ baseURL: base, apiKey: 'unused', maxRetries: 0 });
  engine.next(fault);
  const stream = await client.chat.completions.create({ model: MODEL, messages, stream: true });
  const read = async (): Promise<void> => {
    for await (const chunk of stream) void chunk;
  };
  await expect(read()).rejects.toBeInstanceOf(APIError);
});
