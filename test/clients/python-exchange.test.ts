// The official Python SDK before the two systems that the project began from: a service behind a token exchange, and an
// OpenVINO Model Server on `/v3`. One script does what their users do, and prints what came of it.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { vector } from '../engines/answers.ts';
import { startEngine } from '../engines/engine.ts';
import { startExchange } from '../engines/exchange.ts';
import { KEY, openGateway } from '../stage/gateway.ts';

const PYTHON = fileURLToPath(new URL('../../.cache/python/bin/python', import.meta.url));
const SCRIPT = `
import json, sys, openai
from openai import OpenAI

base, key, model, embedding = sys.argv[1:]
client = OpenAI(base_url=base, api_key=key, max_retries=0)
messages = [{"role": "user", "content": "Hi"}]
tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]

def told(ask):
    try:
        return ask()
    except openai.APIError as error:
        return type(error).__name__

def tools_streamed():
    with client.chat.completions.stream(model=model, messages=messages, tools=tools) as stream:
        for _ in stream:
            pass
        choice = stream.get_final_completion().choices[0]
    return [choice.finish_reason, [call.function.arguments for call in choice.message.tool_calls]]

chunks = list(client.chat.completions.create(model=model, messages=messages, stream=True))
print(json.dumps({
    "whole": client.chat.completions.create(model=model, messages=messages).choices[0].message.content,
    "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
    "ids": len({chunk.id for chunk in chunks}),
    "tools": told(tools_streamed),
    "embedding": client.embeddings.create(model=embedding, input="a").data[0].embedding,
    "missing": told(lambda: client.chat.completions.create(model="none", messages=messages)),
}))
`;

async function run(base: string, model: string, embedding: string): Promise<unknown> {
  const { stdout } = await promisify(execFile)(PYTHON, ['-c', SCRIPT, base, KEY, model, embedding]);
  return JSON.parse(stdout);
}

test.skipIf(!existsSync(PYTHON))('a service behind a token exchange', async () => {
  const { url } = await startExchange();
  const gateway = await openGateway(`
backends:
  behind:
    engine: token-exchange
    streams: false
    exchange: { chat_url: "${url}/chat", embedding_url: "${url}/embeddings", token_url: "${url}/token", code: the-code }
models: { gpt-4o: [behind/gpt-4o], text-embedding-3-small: [behind/e] }
`);
  expect(await run(`${gateway.url}/v1`, 'gpt-4o', 'text-embedding-3-small')).toEqual({
    whole: 'Grüße, 世界 🌍!',
    streamed: 'Grüße, 世界 🌍!',
    ids: 1,
    tools: ['tool_calls', ['{"where":"there"}']],
    embedding: vector('a'),
    missing: 'NotFoundError',
  });
});

test.skipIf(!existsSync(PYTHON))('an OpenVINO Model Server on /v3', async () => {
  const engine = await startEngine({ kind: 'openvino', models: ['m'] });
  onTestFinished(() => engine.stop());
  const gateway = await openGateway(`backends: { ovms: { engine: openvino, url: "${engine.url}" } }`);
  expect(await run(`${gateway.url}/v3`, 'm', 'm')).toEqual({
    whole: engine.says,
    streamed: engine.says,
    ids: 1,
    tools: ['tool_calls', ['{"where":"there"}', '{"where":"über 世界"}']],
    embedding: vector('a'),
    missing: 'NotFoundError',
  });
});
