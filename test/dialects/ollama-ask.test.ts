// OpenAI's words in Ollama's own: what is asked of /api/chat, /api/generate and /api/embed.
import { describe, expect, test } from 'vitest';
import { ollamaNative } from '../../src/dialects/ollama.ts';
import type { Call, Deployment, Endpoint } from '../../src/types.ts';
import { callOf, refusal } from '../stage/call.ts';
import { meetingOf } from './meeting.ts';

type Json = Record<string, unknown>;

function ask(
  endpoint: Endpoint,
  given: object | string,
  deployment: Partial<Deployment> = {},
  more: Partial<Call> = {},
) {
  const its = { deployment: { backend: 'desk', name: 'qwen3:8b', ...deployment } };
  const { path, body } = ollamaNative.ask(meetingOf(callOf(endpoint, given, more), its));
  return { path, body: JSON.parse(Buffer.concat(body).toString()) as Json };
}

const USER = { role: 'user', content: 'hi' };

/** The message that Ollama gets for one of OpenAI's, the last of these. */
function message(...messages: unknown[]): unknown {
  const { body } = ask('chat/completions', { messages });
  return (body['messages'] as unknown[]).at(-1);
}

const option = (field: object): unknown => ask('chat/completions', { messages: [USER], ...field }).body['options'];
const top = (field: object): Json => ask('chat/completions', { messages: [USER], ...field }).body;

/** What stands there without a word from the caller. */
const DEFAULTS = { temperature: 1, top_p: 1 };

describe('a call', () => {
  test('for a chat is all of this, and nothing the caller did not say', () => {
    expect(ask('chat/completions', { model: 'm', messages: [USER], user: 'u', n: 1 })).toEqual({
      path: '/api/chat',
      body: { model: 'qwen3:8b', truncate: false, shift: false, options: DEFAULTS, messages: [USER], stream: false },
    });
  });

  test('for a completion is all of this', () => {
    expect(ask('completions', { prompt: 'a', suffix: 'b', max_tokens: 3 }, {}, { streamed: true })).toEqual({
      path: '/api/generate',
      body: {
        model: 'qwen3:8b',
        truncate: false,
        shift: false,
        options: { ...DEFAULTS, num_predict: 3 },
        prompt: 'a',
        suffix: 'b',
        stream: true,
      },
    });
  });

  test('for embeddings is all of this, and has no options for text', () => {
    expect(ask('embeddings', { input: ['a', 'b'], dimensions: 8, encoding_format: 'base64', temperature: 2 })).toEqual({
      path: '/api/embed',
      body: { model: 'qwen3:8b', truncate: false, input: ['a', 'b'], dimensions: 8 },
    });
  });

  test.each<[string, Endpoint, object]>([
    ['a chat', 'chat/completions', { messages: [USER] }],
    ['a completion', 'completions', { prompt: 'a' }],
    ['embeddings', 'embeddings', { input: 'a' }],
  ])('takes what only these routes know, for %s', (_name, endpoint, given) => {
    const { body } = ask(endpoint, given, { num_ctx: 32_768, keep_alive_s: -1 });
    expect(body).toMatchObject({ keep_alive: -1, options: { num_ctx: 32_768 } });
  });

  test('that is no JSON in the depth of a long string is the caller’s fault', () => {
    const body = `{"messages":[{"role":"user","content":"${'x'.repeat(80)}\n"}]}`;
    expect(refusal(() => ask('chat/completions', body)).code).toBe('invalid_json');
  });
});

describe('an option', () => {
  test.each<[object, object]>([
    [
      { temperature: 0, top_p: 0.5 },
      { temperature: 0, top_p: 0.5 },
    ],
    [{ temperature: null, top_p: null }, DEFAULTS],
    [{ stop: 'END' }, { ...DEFAULTS, stop: ['END'] }],
    [{ stop: ['a', 'b'] }, { ...DEFAULTS, stop: ['a', 'b'] }],
    [{ stop: null }, DEFAULTS],
    [{ max_tokens: 5 }, { ...DEFAULTS, num_predict: 5 }],
    [{ max_completion_tokens: 6 }, { ...DEFAULTS, num_predict: 6 }],
    [
      { max_tokens: 5, max_completion_tokens: 6 },
      { ...DEFAULTS, num_predict: 6 },
    ],
    [{ seed: 0 }, { ...DEFAULTS, seed: 0 }],
    [
      { frequency_penalty: 0.1, presence_penalty: 0.2 },
      { ...DEFAULTS, frequency_penalty: 0.1, presence_penalty: 0.2 },
    ],
    [{ logit_bias: {}, user: 'u', stream_options: {} }, DEFAULTS],
  ])('of %j is %j', (field, options) => {
    expect(option(field)).toEqual(options);
  });
});

describe('a chat', () => {
  const schema = { type: 'object', properties: {} };
  const tools = [{ type: 'function', function: { name: 'f', parameters: {} } }];

  test.each<[string, object, object]>([
    ['with tools', { tools }, { tools }],
    ['with tools that it may not call', { tools, tool_choice: 'none' }, {}],
    ['with tools that it may call', { tools, tool_choice: 'auto' }, { tools }],
    ['in JSON', { response_format: { type: 'json_object' } }, { format: 'json' }],
    [
      'in a schema',
      { response_format: { type: 'json_schema', json_schema: { name: 's', schema } } },
      { format: schema },
    ],
    ['in text', { response_format: { type: 'text' } }, {}],
    ['in a schema that is missing', { response_format: { type: 'json_schema' } }, {}],
    ['with much thought', { reasoning_effort: 'high' }, { think: 'high' }],
    ['with no thought', { reasoning_effort: 'none' }, { think: false }],
    ['with thought as the other API says it', { reasoning: { effort: 'low' } }, { think: 'low' }],
    ['with both, as the newer says', { reasoning: { effort: 'low' }, reasoning_effort: 'high' }, { think: 'low' }],
    ['with thought left to the model', { reasoning_effort: null }, {}],
  ])('%s', (_name, field, sent) => {
    const { tools, format, think } = top(field);
    expect({ tools, format, think }).toEqual(sent);
  });
});

const IMAGE = 'data:image/png;base64,iVBORw0KGgo=';
const text = (value: string): object => ({ type: 'text', text: value });
const image = (image_url: unknown): object => ({ type: 'image_url', image_url });
const user = (content: unknown): object => ({ role: 'user', content });
const assistant = (more: object): object => ({ role: 'assistant', content: 'a', ...more });
const called = (id: string, name: string, args?: unknown): object => ({
  id,
  type: 'function',
  function: { name, arguments: args },
});
const answers = (tool_call_id: string, more: object = {}): object => ({
  role: 'tool',
  tool_call_id,
  content: '3',
  ...more,
});
const ASKED = { role: 'assistant', content: null, tool_calls: [called('a', 'f', '{"n":1}'), called('b', 'g', '')] };

describe('a message', () => {
  test.each<[string, unknown[], object]>([
    ['of text', [USER], USER],
    ['of the developer is the system’s', [{ role: 'developer', content: 'a' }], { role: 'system', content: 'a' }],
    ['of parts', [user([text('a'), text('b')])], { role: 'user', content: 'a\nb' }],
    [
      'with images',
      [user([text('a'), image({ url: IMAGE, detail: 'low' }), image(IMAGE)])],
      { role: 'user', content: 'a', images: ['iVBORw0KGgo=', 'iVBORw0KGgo='] },
    ],
    ['without content', [{ role: 'assistant' }], { role: 'assistant', content: '' }],
    ['with what it thought', [assistant({ reasoning: 'so' })], assistant({ thinking: 'so' })],
    [
      'with what it thought, by its other name',
      [assistant({ reasoning_content: 'so' })],
      assistant({ thinking: 'so' }),
    ],
    [
      'that calls tools, arguments as objects',
      [ASKED],
      {
        role: 'assistant',
        content: '',
        tool_calls: [
          { id: 'a', function: { name: 'f', arguments: { n: 1 } } },
          { id: 'b', function: { name: 'g', arguments: {} } },
        ],
      },
    ],
    ['that answers a tool, by the call with its id', [ASKED, answers('b')], answers('b', { tool_name: 'g' })],
    [
      'that answers a tool, by the name it gives itself',
      [ASKED, answers('b', { name: 'h' })],
      answers('b', { tool_name: 'h' }),
    ],
    [
      'that answers a tool, by the last call where ids repeat',
      [ASKED, { ...ASKED, tool_calls: [called('a', 'z')] }, answers('a')],
      answers('a', { tool_name: 'z' }),
    ],
    ['that answers no known call', [answers('q')], answers('q')],
  ])('%s', (_name, messages, sent) => {
    expect(message(...messages)).toEqual(sent);
  });
});

describe('what Ollama cannot be asked is refused, with its place:', () => {
  const refused = (endpoint: Endpoint, body: object, param: string): void => {
    const error = refusal(() => ask(endpoint, body));
    expect(error).toMatchObject({ code: 'invalid_value', details: { param } });
    expect(error.message).toContain(`"${param}"`);
  };

  test.each<[string, unknown]>([
    ['a message that is none', 'hi'],
    ['a message without a role', { content: 'a' }],
    ['a content that is neither text nor parts', user(5)],
    ['a part that is none', user(['a'])],
    ['sound', user([{ type: 'input_audio', input_audio: {} }])],
    ['an image elsewhere', user([image({ url: 'https://a.b/c.png' })])],
    ['an image that is not base64', user([image({ url: 'data:image/svg+xml,<svg/>' })])],
    ['an image without its address', user([image(undefined)])],
    ['a tool call without a function', assistant({ tool_calls: [{ id: 'a' }] })],
    ['a tool call whose arguments are no JSON', assistant({ tool_calls: [called('a', 'f', '{')] })],
  ])('%s', (_name, message) => {
    refused('chat/completions', { messages: [USER, message] }, 'messages.1');
  });

  test.each([[undefined], [null], ['hi'], [{}]])('messages that are %j', (messages) => {
    refused('chat/completions', { messages }, 'messages');
  });

  test.each([[undefined], [null], [['a', 'b']], [[1, 2]], [[1]], [[]]])('a prompt that is %j', (prompt) => {
    refused('completions', { prompt }, 'prompt');
  });

  test('but a list of one prompt is one', () => {
    expect(ask('completions', { prompt: ['a'] }).body['prompt']).toBe('a');
  });
});
