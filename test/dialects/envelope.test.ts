// The service behind a token exchange: what it is asked, and what its envelope holds.
import { Backend } from '../../src/fleet/backend.ts';
import { describe, expect, test } from 'vitest';
import { envelope } from '../../src/dialects/envelope.ts';
import type { Endpoint, Exchange } from '../../src/types.ts';
import { callOf, refusal } from '../stage/call.ts';
import { meetingOf } from './meeting.ts';

const EXCHANGE: Exchange = {
  chat_url: 'https://ai.example:8443/v1/talk',
  embedding_url: 'https://vectors.example/embed',
  form: 'envelope',
  token: {
    url: 'https://id.example/token',
    code: 'open-sesame',
    request: 'json',
    fields: { client_id: 'client-7' },
    header: 'raw',
    ttl_ms: 60_000,
    refused: [401],
  },
};

/** As the backend of this service knows them. */
const { secrets: SECRETS } = new Backend(
  'behind',
  {
    engine: 'token-exchange',
    url: EXCHANGE.chat_url,
    key: undefined,
    slots: undefined,
    publish: [],
    exchange: EXCHANGE,
  },
  1,
);

function ask(endpoint: Endpoint, given: object | string, exchange: Partial<Exchange> = {}) {
  const { origin, path, body } = envelope.ask(
    meetingOf(callOf(endpoint, given), { exchange: { ...EXCHANGE, ...exchange } }),
  );
  return { origin, path, body: Buffer.concat(body).toString() };
}

describe('a request', () => {
  test('for a chat is the caller’s bytes but for the model, at the URL as it is', () => {
    const given =
      '{ "model" : "m", "stream":false,\n "messages":[{"role":"user","content":"\\u00e9"}], "temperature":1e0 }';
    expect(ask('chat/completions', given)).toEqual({
      origin: 'https://ai.example:8443',
      path: '/v1/talk',
      body: given.replace('"m"', '"qwen3:8b"'),
    });
  });

  test('for a chat without a model names it, and adds nothing else', () => {
    expect(ask('chat/completions', '{"messages":[]}').body).toBe('{"messages":[],"model":"qwen3:8b"}');
  });

  test.each<[string, string, string]>([
    ['a text', '{"model":"m","input": "a","user":"u"}', '{"model":"qwen3:8b","text": "a","user":"u"}'],
    ['a list of one text', '{"input":[ "\\u00e9" ],"model":"m"}', '{"text":"\\u00e9","model":"qwen3:8b"}'],
    ['a list of more, as it is', '{"input":["a","b"],"model":"m"}', '{"text":["a","b"],"model":"qwen3:8b"}'],
    ['a list of one list, as it is', '{"input":[[1,2]],"model":"m"}', '{"text":[[1,2]],"model":"qwen3:8b"}'],
    ['no list items, as they are', '{"input":[],"model":"m"}', '{"text":[],"model":"qwen3:8b"}'],
    ['nothing', '{"model":"m"}', '{"model":"qwen3:8b"}'],
  ])('for embeddings calls its input text: %s', (_name, given, body) => {
    expect(ask('embeddings', given)).toEqual({ origin: 'https://vectors.example', path: '/embed', body });
    expect(ask('embeddings', given, { form: 'openai' }).body).toBe(given.replace('"m"', '"qwen3:8b"'));
  });

  test('for embeddings of a service that has none is refused', () => {
    const error = refusal(() => ask('embeddings', { input: 'a' }, { embedding_url: undefined }));
    expect(error.code).toBe('unsupported_endpoint');
  });
});

function whole(endpoint: Endpoint, answer: object | string): unknown {
  const bytes = Buffer.from(typeof answer === 'string' ? answer : JSON.stringify(answer));
  const call = callOf(endpoint, { messages: [] }, { streamed: true });
  return JSON.parse(envelope.whole(bytes, meetingOf(call, { exchange: EXCHANGE, secrets: SECRETS })).toString());
}

describe('an answer to a chat', () => {
  const told = (message: object, finish_reason: string, more: object = {}): object => ({
    id: 'chatcmpl-x',
    object: 'chat.completion',
    created: 7,
    model: 'qwen3:8b',
    choices: [{ index: 0, message: { role: 'assistant', ...message }, logprobs: null, finish_reason }],
    ...more,
  });
  const called = (name: string, args: string, more: object = {}): object => ({
    ...more,
    type: 'function',
    function: { name, arguments: args },
  });
  const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };

  test.each<[string, object, object]>([
    ['of text', { content: { content: 'Grüße' } }, told({ content: 'Grüße' }, 'stop')],
    ['of text alone', { content: 'a' }, told({ content: 'a' }, 'stop')],
    ['of no text', { content: { content: null } }, told({ content: null }, 'stop')],
    ['of an empty list of calls', { content: { content: 'a', tool_calls: [] } }, told({ content: 'a' }, 'stop')],
    [
      'that calls tools',
      {
        content: {
          content: '',
          tool_calls: [
            { name: 'f', arguments: '{"n":1}' },
            { id: 'b', name: 'g' },
          ],
        },
      },
      told({ content: '', tool_calls: [called('f', '{"n":1}'), called('g', '{}', { id: 'b' })] }, 'tool_calls'),
    ],
    [
      'that calls tools with objects',
      { content: { tool_calls: [{ name: 'f', arguments: { n: 1 } }] } },
      told({ content: null, tool_calls: [called('f', '{"n":1}')] }, 'tool_calls'),
    ],
    [
      'that calls tools as OpenAI does',
      { content: { tool_calls: [called('f', '{}', { id: 'a' })] } },
      told({ content: null, tool_calls: [called('f', '{}', { id: 'a' })] }, 'tool_calls'),
    ],
    [
      'that says why it ended',
      { content: { content: 'a', finish_reason: 'length' } },
      told({ content: 'a' }, 'length'),
    ],
    ['with usage', { content: 'a', usage }, told({ content: 'a' }, 'stop', { usage })],
  ])('%s', (_name, data, openai) => {
    expect(whole('chat/completions', { data })).toEqual(openai);
  });

  test.each([0, '0', 200, '200', null, undefined])('with the errorCode %j is none of an error', (errorCode) => {
    expect(whole('chat/completions', { errorCode, data: { content: 'a' } })).toEqual(told({ content: 'a' }, 'stop'));
  });
});

test('an answer of embeddings is a list of one', () => {
  expect(whole('embeddings', { data: { content: [0.5, -2] } })).toEqual({
    object: 'list',
    data: [{ object: 'embedding', index: 0, embedding: [0.5, -2] }],
    model: 'qwen3:8b',
  });
});

describe('an answer in OpenAI’s own form passes as the bytes it is', () => {
  test.each<[string, Endpoint, string]>([
    ['a chat', 'chat/completions', '{ "choices": [], "errorCode":0 }'],
    ['a chat with an envelope beside it', 'chat/completions', '{"choices":[],"data":{"content":"a"}}'],
    ['embeddings', 'embeddings', '{"object":"list", "data":[{"embedding":[1e0]}]}'],
    ['an error, for the relay to tell', 'chat/completions', '{"error":{"message":"no"}}'],
  ])('%s', (_name, endpoint, answer) => {
    const meeting = meetingOf(callOf(endpoint, {}), { exchange: EXCHANGE });
    expect(envelope.whole(Buffer.from(answer), meeting).toString()).toBe(answer);
  });
});

describe('an errorCode is', () => {
  test.each<[unknown, string, string]>([
    [400, 'invalid_request', 'temperature is too high'],
    ['400', 'invalid_request', 'temperature is too high'],
    [401, 'upstream_auth', "The backend refused the gateway's own key for it; yours is not at fault."],
    [429, 'server_is_overloaded', 'The backend is overloaded. Try again soon.'],
    [503, 'server_is_overloaded', 'The backend is overloaded. Try again soon.'],
    [500, 'upstream_error', 'The backend failed with status 500.'],
    [1001, 'upstream_error', 'The backend failed with status 500.'],
    ['E_NO', 'upstream_error', 'The backend failed with status 500.'],
    [{}, 'upstream_error', 'The backend failed with status 500.'],
  ])('%j: %s', (errorCode, code, message) => {
    const answer = { errorCode, message: 'temperature is too high', data: { content: 'a' } };
    expect(refusal(() => whole('chat/completions', answer))).toMatchObject({ code, message });
  });

  test('one of too much text, in words that clients know', () => {
    const message = "Input length (9000) exceeds model's maximum context length (8192).";
    expect(refusal(() => whole('chat/completions', { errorCode: 400, message })).code).toBe('context_length_exceeded');
  });

  test('told without what only the gateway and the service know', () => {
    const secrets = ['https://ai.example:8443/v1/talk', 'vectors.example', 'id.example', 'open-sesame', 'client-7'];
    const { message } = refusal(() =>
      whole('chat/completions', { errorCode: 400, message: `bad: ${secrets.join(' ')} end` }),
    );
    expect(message).toMatch(/^bad: .* end$/);
    for (const secret of secrets) expect(message).not.toContain(secret);
  });
});

describe('no answer at all', () => {
  test.each<[string, Endpoint, string]>([
    ['a page', 'chat/completions', '<html>'],
    ['a list', 'chat/completions', '[]'],
    ['an empty object', 'chat/completions', '{}'],
    ['no data', 'chat/completions', '{"data":null,"errorCode":0}'],
    ['data that is text', 'chat/completions', '{"data":"a"}'],
    ['data without content', 'chat/completions', '{"data":{}}'],
    ['vectors for a chat', 'chat/completions', '{"data":{"content":[0.1]}}'],
    ['text for embeddings', 'embeddings', '{"data":{"content":"a"}}'],
    ['a list of vectors, where one was asked', 'embeddings', '{"data":{"content":[[0.1],[0.2]]}}'],
    ['nothing for embeddings', 'embeddings', '{"data":{}}'],
  ])('%s', (_name, endpoint, answer) => {
    expect(refusal(() => whole(endpoint, answer)).code).toBe('upstream_invalid');
  });
});
