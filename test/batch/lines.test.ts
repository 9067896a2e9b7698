// Lines of input, and of output: read without being parsed, and told so that they can be read back.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LineFault, readLine } from '../../src/batch/read-line.ts';
import { answered, readEnd, refused, unanswered } from '../../src/batch/result.ts';
import { GatewayError } from '../../src/wire/errors.ts';

const body = '{ "model": "m", "messages": [] }';
const written = (parts: Readonly<Record<string, string>>): Buffer =>
  Buffer.from(
    `{${Object.entries(parts)
      .map(([name, json]) => `"${name}": ${json}`)
      .join(', ')}}`,
  );
const PARTS = { custom_id: '"a"', method: '"POST"', url: '"/v1/chat/completions"', body };

function fault(line: Buffer): [string, string | null] {
  try {
    readLine(line, 'chat/completions');
  } catch (error) {
    if (error instanceof LineFault) return [error.code, error.param];
    throw error;
  }
  throw new Error('it was accepted');
}

describe('a line of input', () => {
  test('in any order of its members tells what is asked, and where its body stands', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(Object.keys(PARTS), { minLength: 4 }), (names) => {
        const line = written(Object.fromEntries(names.map((name) => [name, PARTS[name as keyof typeof PARTS]])));
        const { custom_id, model, start, end } = readLine(line, 'chat/completions');
        expect([custom_id, model, line.toString('utf8', start, end)]).toEqual(['a', 'm', body]);
      }),
    );
  });

  test.each([
    ['is no JSON', Buffer.from('{"custom_id"'), 'invalid_json_line', null],
    ['is a list', Buffer.from('[]'), 'invalid_json_line', null],
    ['has a member more', written({ ...PARTS, extra: '1' }), 'unknown_parameter', null],
    ['has an id that is no text', written({ ...PARTS, custom_id: '1' }), 'invalid_type', 'custom_id'],
    ['has an empty id', written({ ...PARTS, custom_id: '""' }), 'invalid_value', 'custom_id'],
    ['has an id too long', written({ ...PARTS, custom_id: `"${'x'.repeat(513)}"` }), 'invalid_value', 'custom_id'],
    ['has an id with NUL', written({ ...PARTS, custom_id: String.raw`"a\u0000"` }), 'invalid_value', 'custom_id'],
    ['has half a character', written({ ...PARTS, custom_id: String.raw`"\ud800"` }), 'invalid_value', 'custom_id'],
    ['gets', written({ ...PARTS, method: '"GET"' }), 'invalid_method', 'method'],
    ['goes elsewhere', written({ ...PARTS, url: '"/v1/embeddings"' }), 'url_mismatch', 'url'],
    ['has a body that is no object', written({ ...PARTS, body: '[]' }), 'invalid_type', 'body'],
    ['has a model that is no text', written({ ...PARTS, body: '{"model":1}' }), 'invalid_value', 'body.model'],
    ['streams', written({ ...PARTS, body: '{"model":"m","stream":true}' }), 'unsupported_parameter', 'body.stream'],
    ['names its model twice', written({ ...PARTS, body: '{"model":"m","Model":"n"}' }), 'invalid_value', null],
  ])('that %s is at fault', (_name, line, code, param) => {
    expect(fault(line)).toEqual([code, param]);
  });

  test('may say that it does not stream', () => {
    const line = written({ ...PARTS, body: '{"stream": false, "model": "m"}' });
    expect(readLine(line, 'chat/completions').model).toBe('m');
  });
});

describe('a line of output', () => {
  const of = { batch: 'batch_1', n: 3, custom_id: 'with "quotes" and \u2028' };

  test('is JSON on one line, and its answer is read back byte for byte', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.string(), fc.integer({ min: 200, max: 599 }), (value, id, status) => {
        const answer = Buffer.from(JSON.stringify({ value, error: null, response: { body: 1 } }));
        const { text, ok } = answered({ ...of, custom_id: id }, status, 'req_1', answer);
        expect(text.includes(0x0a)).toBe(false);
        expect(JSON.parse(text.toString())).toMatchObject({
          custom_id: id,
          response: { status_code: status },
          error: null,
        });
        expect(ok).toBe(status < 300);
        const end = readEnd(text);
        expect([end.response?.status, end.response?.body.equals(answer)]).toEqual([status, true]);
      }),
    );
  });

  test('counts what an engine says it has used', () => {
    const usage = {
      prompt_tokens: 7,
      completion_tokens: 5,
      prompt_tokens_details: { cached_tokens: 3 },
      completion_tokens_details: { reasoning_tokens: 2 },
    };
    const { tokens } = answered(of, 200, 'req_1', Buffer.from(JSON.stringify({ choices: [], usage })));
    expect(tokens).toEqual({ in: 7, out: 5, cached: 3, reasoning: 2 });
  });

  test('tells a refusal, and that there was no answer', () => {
    const refusal = new GatewayError('context_length_exceeded', 'Too long.');
    expect(readEnd(refused(of, '', refusal).text).response?.status).toBe(400);
    const none = readEnd(unanswered(of, 'batch_expired', 'Too late.').text);
    expect(none).toEqual({ response: undefined, error: { code: 'batch_expired', message: 'Too late.' } });
  });
});
