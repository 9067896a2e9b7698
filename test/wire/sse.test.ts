import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Mender } from '../../src/wire/mend.ts';
import { DONE, EventStream } from '../../src/wire/sse.ts';

const options = {
  strip_usage: true,
  choices: 1,
  secrets: [],
  get mender() {
    return new Mender({ id: 'a', stops: [] });
  },
  prompt_tokens: () => 5,
};

/** Everything that comes out of a stream cut at the given places. */
function run(
  input: Buffer,
  cuts: readonly number[] = [],
  more: Partial<ConstructorParameters<typeof EventStream>[0]> = {},
) {
  const stream = new EventStream({ ...options, ...more });
  const places = [...new Set(cuts.map((cut) => cut % (input.length + 1)))].toSorted((a, b) => a - b);
  const out: Buffer[] = [];
  let from = 0;
  for (const place of [...places, input.length]) {
    out.push(Buffer.from(stream.push(input.subarray(from, place))));
    from = place;
  }
  out.push(Buffer.from(stream.end()));
  return { stream, out: Buffer.concat(out) };
}

function chunk(content: string, finish: string | null = null, more: object = {}): string {
  return `data: ${JSON.stringify({ id: 'c', choices: [{ index: 0, delta: { content }, finish_reason: finish }], ...more })}\n\n`;
}

const USAGE = { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 };
const usage_chunk = `data: ${JSON.stringify({ id: 'c', choices: [], usage: USAGE })}\n\n`;
const answer = chunk('Grüße, ') + chunk('世界 ') + chunk('🌍 "finish_reason":"stop" \\') + chunk('', 'stop');

test('whole events that need no change come out as the bytes they were', () => {
  const input = Buffer.from(answer + DONE.toString());
  const { stream, out } = run(input);
  expect(out.equals(input)).toBe(true);
  expect(stream).toMatchObject({ done: true, complete: true, failure: undefined, invalid: 0 });
});

test('bytes cut anywhere, within characters and line ends too, come out the same', () => {
  const texts = fc.array(fc.string({ unit: 'grapheme', maxLength: 20 }), { maxLength: 8 });
  fc.assert(
    fc.property(
      texts,
      fc.array(fc.nat(), { maxLength: 40 }),
      fc.constantFrom('\n', '\r\n', '\r'),
      fc.boolean(),
      (list, cuts, eol, bom) => {
        const plain = list.map((text) => chunk(text)).join('') + chunk('', 'stop') + DONE.toString();
        const input = Buffer.from((bom ? '\uFEFF' : '') + plain.replaceAll('\n', eol));
        const { stream, out } = run(input, cuts);
        expect(out.toString()).toBe(plain);
        expect(stream.complete).toBe(true);
      },
    ),
  );
});

test('the usage chunk is counted, and taken out unless the caller asked for it', () => {
  const input = Buffer.from(answer + usage_chunk + DONE.toString());
  const stripped = run(input);
  expect(stripped.out.toString()).toBe(answer + DONE.toString());
  expect(stripped.stream.usage).toEqual({ tokens_in: 7, tokens_out: 3 });
  const kept = run(input, [], { strip_usage: false });
  expect(kept.out.equals(input)).toBe(true);
  expect(kept.stream.usage).toEqual({ tokens_in: 7, tokens_out: 3 });
});

test('usage on an event with choices (Ollama, vLLM continuous_usage_stats) is counted and left in', () => {
  const input = Buffer.from(
    chunk('a', null, { usage: { prompt_tokens: 1, completion_tokens: 1 } }) +
      chunk('', 'stop', { usage: USAGE }) +
      DONE.toString(),
  );
  const { stream, out } = run(input);
  expect(out.equals(input)).toBe(true);
  expect(stream.usage).toEqual({ tokens_in: 7, tokens_out: 3 });
});

test('comments, id:, event: and retry: lines are dropped, the data beside them kept', () => {
  const input = `: ping\n\n:\n\nid: 4\nevent: message\nretry: 5\n${chunk('a')}: x\n${chunk('', 'stop')}\n\n${DONE.toString()}`;
  expect(run(Buffer.from(input)).out.toString()).toBe(chunk('a') + chunk('', 'stop') + DONE.toString());
});

test('data without its space gets one, and data over several lines becomes one line', () => {
  expect(run(Buffer.from('data:{"a":\ndata: 1}\n\n')).out.toString()).toBe('data: {"a": 1}\n\n');
});

describe('a stream is complete', () => {
  test.each([
    ['at [DONE], even with no finish_reason', chunk('a') + DONE.toString(), true],
    ['at a clean end after a finish_reason', answer, true],
    ['at a clean end whose last event lacks its blank line', answer.slice(0, -1), true],
    ['not at a clean end without either', chunk('a') + chunk('b'), false],
    ['not at an empty one', '', false],
    ['not where finish_reason is an empty string (SGLang 3912)', chunk('a', ''), false],
  ])('%s', (_name, text, complete) => {
    expect(run(Buffer.from(text)).stream.complete).toBe(complete);
  });

  test('only when every choice asked for has finished', () => {
    const one = `data: ${JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })}\n\n`;
    const two = `data: ${JSON.stringify({ choices: [{ index: 1, delta: {}, finish_reason: 'length' }] })}\n\n`;
    expect(run(Buffer.from(one), [], { choices: 2 }).stream.complete).toBe(false);
    expect(run(Buffer.from(one + two), [], { choices: 2 }).stream.complete).toBe(true);
  });
});

describe('an error in the stream is a failure, and the bytes before it are kept', () => {
  test.each([
    ['data: {"error":{"message":"CUDA out of memory","type":"internal","code":500}}\n\n', 'upstream_stream_aborted'],
    ['data: {"error":"boom"}\n\n', 'upstream_stream_aborted'],
    ['event: error\ndata: {"message":"boom"}\n\n', 'upstream_stream_aborted'],
    // OpenVINO Model Server 2026: raw JSON in the middle of a stream, and often nothing after it.
    ['{"error":"Mediapipe execution failed"}', 'upstream_stream_aborted'],
    ['error: {"code":500,"message":"boom","type":"server_error"}\n\n', 'upstream_stream_aborted'],
    [
      'data: {"error":{"message":"This model\'s maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens.","code":400}}\n\n',
      'context_length_exceeded',
    ],
  ])('%s', (text, code) => {
    const { stream, out } = run(Buffer.from(chunk('a') + text));
    expect(out.toString()).toBe(chunk('a'));
    expect(stream.failure?.code).toBe(code);
    expect(stream.failure?.message).not.toContain('boom');
  });

  test('an `error` that is null beside choices is none', () => {
    const input = Buffer.from(chunk('a', null, { error: null }) + chunk('', 'stop') + DONE.toString());
    expect(run(input).out.equals(input)).toBe(true);
  });
});

test('nothing after [DONE] is passed on', () => {
  expect(run(Buffer.from(`${answer}${DONE.toString()}${chunk('more')}`)).out.toString()).toBe(answer + DONE.toString());
});

test('an event that is not JSON is passed on unchanged and counted', () => {
  const { stream, out } = run(Buffer.from(`data: {"usage":{oops\n\n${answer}`));
  expect(out.toString()).toBe(`data: {"usage":{oops\n\n${answer}`);
  expect(stream.invalid).toBe(1);
});

test('an event without end is given up at event_bytes_max', () => {
  const stream = new EventStream({ ...options, event_bytes_max: 1000 });
  stream.push(Buffer.from('data: '));
  for (let sent = 0; sent < 2000; sent += 100) stream.push(Buffer.alloc(100, 'x'));
  expect(stream.failure?.code).toBe('upstream_invalid');
});

test('whatever comes, nothing is thrown, and what comes out is whole events of data', () => {
  const pieces = fc.constantFrom(
    'data: ',
    'data:',
    '\n',
    '\n\n',
    '\r\n',
    '\r',
    ': c',
    '{"error":',
    '"usage"',
    '{}',
    '[DONE]',
    'é',
    'x',
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 60 }), fc.array(fc.nat(), { maxLength: 10 }), (list, cuts) => {
      const { out, stream } = run(Buffer.from(list.join('')), cuts);
      const text = out.toString();
      expect(text === '' || text.endsWith('\n\n')).toBe(true);
      for (const event of text.split('\n\n').slice(0, -1)) expect(event).toMatch(/^data: [^\n\r]*$/);
      // The same however it is cut.
      const whole = run(Buffer.from(list.join('')));
      expect(text).toBe(whole.out.toString());
      expect(stream.complete).toBe(whole.stream.complete);
    }),
    { numRuns: 1000 },
  );
});
