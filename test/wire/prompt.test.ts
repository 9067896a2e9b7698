// How much of a call is text for the model.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Endpoint } from '../../src/types.ts';
import { callOf } from '../stage/call.ts';

const bytes = (endpoint: Endpoint, given: object | string): number => callOf(endpoint, given).prompt_bytes();
const said = (value: unknown): number => Buffer.byteLength(JSON.stringify(value));

describe('the text of a call', () => {
  const messages = [{ role: 'user', content: 'Grüße' }];
  const tools = [{ type: 'function', function: { name: 'f', parameters: {} } }];

  test.each<[string, Endpoint, object, number]>([
    ['is its messages', 'chat/completions', { model: 'm', messages, user: 'x'.repeat(99) }, said(messages)],
    ['is its messages and its tools', 'chat/completions', { tools, messages }, said(messages) + said(tools)],
    ['is its prompt', 'completions', { prompt: 'abc', messages }, 5],
    ['is a list of prompts', 'completions', { prompt: ['a', 'b'] }, 9],
    ['is its input', 'embeddings', { input: ['a', 'b'], prompt: 'abc' }, 9],
    ['is nothing where there are no messages', 'chat/completions', { prompt: 'abc' }, 0],
    ['is nothing where there is no prompt', 'completions', { messages }, 0],
    ['is nothing where there is no input', 'embeddings', {}, 0],
  ])('%s', (_name, endpoint, body, length) => {
    expect(bytes(endpoint, body)).toBe(length);
  });

  test('is the same, be its images small or large', () => {
    const call = (sizes: readonly number[]): object => ({
      messages: sizes.map((size) => ({
        content: [
          { type: 'image_url', image_url: { url: `data:image/png;base64,${'iVBO'.repeat(size)}` } },
          { type: 'text', text: 'what is this?' },
        ],
      })),
    });
    expect(bytes('chat/completions', call([1, 500, 0]))).toBe(bytes('chat/completions', call([0, 0, 0])));
    expect(bytes('chat/completions', call([100_000]))).toBeLessThan(200);
  });

  test('is the text that comes after the word that begins an image', () => {
    const body = { messages: [{ content: 'say ;base64,' }, { content: 'x'.repeat(1_000) }] };
    expect(bytes('chat/completions', body)).toBe(said(body.messages));
  });
});

test('it is never negative and never more than the body, whatever that holds', () => {
  const text = fc.oneof(
    fc.string(),
    fc
      .array(fc.constantFrom(';base64,', '"', '\\', 'data:', 'iVBO', 'é', ' '), { maxLength: 12 })
      .map((parts) => parts.join('')),
  );
  const value = fc.oneof(text, fc.array(text), fc.array(fc.record({ content: text })), fc.constant(null));
  const body = fc.record({ messages: value, prompt: value, input: value, tools: value }, { requiredKeys: [] });
  fc.assert(
    fc.property(body, fc.constantFrom<Endpoint>('chat/completions', 'completions', 'embeddings'), (given, endpoint) => {
      const call = callOf(endpoint, given);
      expect(call.prompt_bytes()).toBeGreaterThanOrEqual(0);
      expect(call.prompt_bytes()).toBeLessThanOrEqual(call.body.length);
    }),
    { numRuns: 2000 },
  );
});
