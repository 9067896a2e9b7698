// The built-in model of a gateway that has found no engine: it answers from a small script, with real streaming, usage
// and embeddings, so that clients, keys and limits can be tried with no GPU. It is a small server on a loopback port of
// its own, and so a backend like any other: nothing on the line knows of it.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { isRecord, type Json } from '../wire/record.ts';

const DEMO_MODEL = 'demo';

const SCRIPT =
  "This is Lanyard's built-in demo, not a language model: no engine was found on this machine. " +
  'Keys, limits, streaming and usage are real. Start Ollama, vLLM or llama.cpp, and the demo makes way for it.';
const WORDS = SCRIPT.match(/\S+\s*/g) ?? [];
const WORD_MS = 15;
const DIMENSIONS = 64;
const CREATED = 1_700_000_000;
const BODY_BYTES_MAX = 64 << 20;
/** OpenAI's own number. */
const INPUTS_MAX = 2048;

export interface Demo {
  readonly url: string;
  stop(): void;
}

export async function startDemo(): Promise<Demo> {
  const server: Server = createServer((request, response) => {
    void answer(request, response).catch((error: unknown) => {
      if (error instanceof Refusal) refuse(response, error.message);
      else response.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A demo alone must not keep a process alive.
  server.unref();
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, stop: () => void server.close() };
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url === '/v1/models') {
    return send(response, {
      object: 'list',
      data: [{ id: DEMO_MODEL, object: 'model', created: CREATED, owned_by: 'lanyard-demo' }],
    });
  }
  const body = await readBody(request);
  switch (request.url ?? '') {
    case '/v1/chat/completions':
      return await generate(response, body, 'chat.completion', (text, first) => ({
        delta: { ...(first ? { role: 'assistant' } : {}), ...(text === '' ? {} : { content: text }) },
      }));
    case '/v1/completions':
      return await generate(response, body, 'text_completion', (text) => ({ text }));
    case '/v1/embeddings':
      return embed(response, body);
    default:
      response.statusCode = 404;
      return send(response, {
        error: { message: 'Not found', type: 'invalid_request_error', param: null, code: 'unknown_url' },
      });
  }
}

async function generate(
  response: ServerResponse,
  body: Json,
  object: 'chat.completion' | 'text_completion',
  piece: (text: string, first: boolean) => Json,
): Promise<void> {
  const asked = [body['max_tokens'], body['max_completion_tokens']].find((one) => typeof one === 'number');
  const words = WORDS.slice(0, typeof asked === 'number' ? Math.max(asked, 1) : undefined);
  const finish_reason = words.length < WORDS.length ? 'length' : 'stop';
  const tokens_in = Math.ceil(JSON.stringify(body['messages'] ?? body['prompt'] ?? '').length / 4);
  const usage = { prompt_tokens: tokens_in, completion_tokens: words.length, total_tokens: tokens_in + words.length };
  const head = {
    id: `chatcmpl-demo-${Date.now().toString(36)}`,
    created: Math.floor(Date.now() / 1000),
    model: DEMO_MODEL,
  };

  if (body['stream'] !== true) {
    await sleep(WORD_MS * words.length);
    const text = words.join('');
    const choice = object === 'chat.completion' ? { message: { role: 'assistant', content: text } } : { text };
    return send(response, {
      ...head,
      object,
      choices: [{ index: 0, ...choice, logprobs: null, finish_reason }],
      usage,
    });
  }
  response.setHeader('content-type', 'text/event-stream');
  const streamed = object === 'chat.completion' ? 'chat.completion.chunk' : object;
  const event = (choices: Json[], more: Json = {}): void => {
    response.write(`data: ${JSON.stringify({ ...head, object: streamed, choices, ...more })}\n\n`);
  };
  for (const [at, word] of words.entries()) {
    event([{ index: 0, ...piece(word, at === 0), finish_reason: null }]);
    await sleep(WORD_MS);
    if (response.destroyed) return;
  }
  event([{ index: 0, ...piece('', false), finish_reason }]);
  const options = body['stream_options'];
  if (isRecord(options) && options['include_usage'] === true) event([], { usage });
  response.end('data: [DONE]\n\n');
}

/** A vector that depends on the input alone, of length one: equal texts are near, others are not. */
function embed(response: ServerResponse, body: Json): void {
  const input = body['input'];
  const texts = Array.isArray(input) ? (input.every((one) => typeof one === 'number') ? [input] : input) : [input];
  if (texts.length > INPUTS_MAX) throw new Refusal(`The demo embeds at most ${INPUTS_MAX} texts at once.`);
  const data = texts.map((text, index) => {
    const digest = createHash('shake256', { outputLength: DIMENSIONS * 4 })
      .update(JSON.stringify(text) ?? '')
      .digest();
    const floats = Float32Array.from({ length: DIMENSIONS }, (_, at) => digest.readInt32LE(at * 4) / 0x80000000);
    const norm = Math.hypot(...floats);
    const vector = floats.map((one) => one / norm);
    const embedding =
      body['encoding_format'] === 'base64' ? Buffer.from(vector.buffer).toString('base64') : [...vector];
    return { object: 'embedding', index, embedding };
  });
  const tokens = Math.ceil(JSON.stringify(input ?? '').length / 4);
  send(response, { object: 'list', data, model: DEMO_MODEL, usage: { prompt_tokens: tokens, total_tokens: tokens } });
}

function send(response: ServerResponse, value: Json): void {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(value));
}

function refuse(response: ServerResponse, message: string): void {
  response.statusCode = 400;
  send(response, { error: { message, type: 'invalid_request_error', param: null, code: 'invalid_value' } });
}

async function readBody(request: IncomingMessage): Promise<Json> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > BODY_BYTES_MAX) throw new Refusal('The body is too large for the demo.');
    parts.push(part);
  }
  try {
    const body: unknown = JSON.parse(Buffer.concat(parts).toString('utf8') || '{}');
    return isRecord(body) ? body : {};
  } catch {
    // The gateway leaves the depth of long strings to the engine.
    throw new Refusal('The body is not valid JSON.');
  }
}

/** What is wrong with the request, as an engine says it. */
class Refusal extends Error {}
