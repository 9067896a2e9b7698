// Ollama's own answers (api/types.go, August 2026) in OpenAI's words. Streams are in ollama-stream.test.ts.
import { describe, expect, test } from 'vitest';
import { ollamaNative } from '../../src/dialects/ollama.ts';
import type { Endpoint } from '../../src/types.ts';
import { callOf, refusal } from '../stage/call.ts';
import { meetingOf } from './meeting.ts';

const COUNTS = { prompt_eval_count: 4, eval_count: 2 };
const USAGE = { prompt_tokens: 4, completion_tokens: 2, total_tokens: 6 };
const END = { done: true, done_reason: 'stop', ...COUNTS };
const call = (name: string, more: object = {}): object => ({ ...more, function: { name, arguments: { n: 1 } } });
const toldCall = (index: number, id: string, name: string): object => ({
  index,
  id,
  type: 'function',
  function: { name, arguments: '{"n":1}' },
});

describe('a whole answer', () => {
  const whole = (endpoint: Endpoint, answer: object | string, asked: object = {}): unknown => {
    const bytes = Buffer.from(typeof answer === 'string' ? answer : JSON.stringify(answer));
    return JSON.parse(ollamaNative.whole(bytes, meetingOf(callOf(endpoint, asked))).toString());
  };
  const chat = (message: object, more: object = {}): object => ({
    model: 'qwen3:8b',
    message: { role: 'assistant', ...message },
    ...END,
    ...more,
  });
  const told = (message: object, finish_reason: string | null = 'stop', usage: object = USAGE): object => ({
    id: 'chatcmpl-x',
    object: 'chat.completion',
    created: 7,
    model: 'qwen3:8b',
    choices: [{ index: 0, message: { role: 'assistant', ...message }, logprobs: null, finish_reason }],
    usage,
  });

  test.each<[string, object, object]>([
    ['of text', chat({ content: 'Grüße' }), told({ content: 'Grüße' })],
    ['with thought', chat({ content: 'a', thinking: 'so' }), told({ content: 'a', reasoning: 'so' })],
    ['with no thought', chat({ content: 'a', thinking: '' }), told({ content: 'a' })],
    [
      'that calls tools',
      chat({ content: '', tool_calls: [call('f'), call('g', { id: 'b' })] }),
      told({ content: '', tool_calls: [toldCall(0, 'call_x_0', 'f'), toldCall(1, 'b', 'g')] }, 'tool_calls'),
    ],
    ['that was cut', chat({ content: 'a' }, { done_reason: 'length' }), told({ content: 'a' }, 'length')],
    [
      'that was cut after a call',
      chat({ content: '', tool_calls: [call('f')] }, { done_reason: 'length' }),
      told({ content: '', tool_calls: [toldCall(0, 'call_x_0', 'f')] }, 'length'),
    ],
    [
      'whose prompt was not counted anew',
      chat({ content: 'a' }, { prompt_eval_count: undefined }),
      told({ content: 'a' }, 'stop', { prompt_tokens: 0, completion_tokens: 2, total_tokens: 2 }),
    ],
  ])('%s', (_name, answer, openai) => {
    expect(whole('chat/completions', answer)).toEqual(openai);
  });

  test('whose runner died is a failure, and no short answer', () => {
    const died = chat({ content: 'a' }, { done_reason: undefined });
    expect(refusal(() => whole('chat/completions', died)).code).toBe('upstream_stream_aborted');
  });

  test('of /api/generate is a completion', () => {
    expect(whole('completions', { response: 'abc', thinking: 'so', ...END })).toEqual({
      id: 'cmpl-x',
      object: 'text_completion',
      created: 7,
      model: 'qwen3:8b',
      choices: [{ index: 0, text: 'abc', logprobs: null, finish_reason: 'stop' }],
      usage: USAGE,
    });
  });

  test.each([
    [
      'as floats',
      {},
      [
        [0.5, -2],
        [1, 0],
      ],
    ],
    ['as base64, where that is asked', { encoding_format: 'base64' }, ['AAAAPwAAAMA=', 'AACAPwAAAAA=']],
  ])('of /api/embed is numbered, %s', (_name, asked, vectors) => {
    const answer = {
      embeddings: [
        [0.5, -2],
        [1, 0],
      ],
      prompt_eval_count: 3,
    };
    expect(whole('embeddings', answer, asked)).toEqual({
      object: 'list',
      data: vectors.map((embedding, index) => ({ object: 'embedding', index, embedding })),
      model: 'qwen3:8b',
      usage: { prompt_tokens: 3, total_tokens: 3 },
    });
  });

  test.each<Endpoint>(['chat/completions', 'completions', 'embeddings'])(
    'that is an error stays one, for %s',
    (endpoint) => {
      expect(whole(endpoint, { error: 'boom' })).toEqual({ error: 'boom' });
    },
  );

  test.each<[Endpoint, string]>([
    ['chat/completions', '<html>'],
    ['chat/completions', '{}'],
    ['chat/completions', '{"message":"hi"}'],
    ['completions', '{"done":true}'],
    ['embeddings', '{"embedding":[1]}'],
  ])('for %s that is %s makes no sense', (endpoint, answer) => {
    expect(refusal(() => whole(endpoint, answer)).code).toBe('upstream_invalid');
  });
});
