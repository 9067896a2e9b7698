// More than five minutes of silence before the first token, as a long prefill or a cold load on a slow GPU makes it: Node's
// fetch gives up after 300 s without a byte, so only the keep-alives carry the official SDK through.
import OpenAI from 'openai';
import { expect, onTestFinished, test } from 'vitest';
import { startEngine } from '../engines/engine.ts';
import { openFront } from '../stage/front.ts';
import { KEY, openGateway } from '../stage/gateway.ts';

const SILENCE_MS = 310_000;

test.concurrent.each([
  ['before its headers', { kind: 'delay', ms: SILENCE_MS }],
  ['between its headers and its first event', { kind: 'delay_body', ms: SILENCE_MS }],
] as const)('a stream whose engine is silent for 310 s %s reaches the SDK whole', async (_when, fault) => {
  const engine = await startEngine({ kind: 'vllm', models: ['m'] });
  onTestFinished(() => engine.stop());
  const gateway = await openGateway(`backends: { b: { engine: vllm, url: "${engine.url}" } }`);
  const client = new OpenAI({ apiKey: KEY, baseURL: `${gateway.url}/v1`, maxRetries: 0 });
  engine.next(fault);
  const since = performance.now();
  const stream = await client.chat.completions.create({
    model: 'm',
    messages: [{ role: 'user', content: 'Hi' }],
    stream: true,
  });
  const headers_ms = Math.round(performance.now() - since);
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
  console.log(`headers after ${headers_ms} ms, the whole answer after ${Math.round(performance.now() - since)} ms`);
  expect(text).toContain('世界');
  expect(performance.now() - since).toBeGreaterThan(SILENCE_MS);
  expect(gateway.outcomes()).toMatchObject([{ end: 'complete', status: 200 }]);
});

test.concurrent('and through nginx as it is shipped, five minutes of prefill too', async () => {
  const { engine, gateway, lan } = await openFront();
  const client = new OpenAI({ apiKey: KEY, baseURL: `${lan}/v1`, maxRetries: 0 });
  engine.next({ kind: 'delay_body', ms: SILENCE_MS });
  const since = performance.now();
  const messages = [{ role: 'user' as const, content: 'Hi' }];
  const stream = await client.chat.completions.create({ model: 'coder', messages, stream: true });
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
  console.log(`through nginx the whole answer after ${Math.round(performance.now() - since)} ms`);
  expect(text).toContain('世界');
  expect(performance.now() - since).toBeGreaterThan(SILENCE_MS);
  expect(gateway.outcomes()).toMatchObject([{ end: 'complete', status: 200 }]);
});
