// Ollama's own streams, one JSON object a line (api/types.go, August 2026), in OpenAI's words.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ollamaNative } from '../../src/dialects/ollama.ts';
import { Mender } from '../../src/wire/mend.ts';
import { EventStream } from '../../src/wire/sse.ts';
import type { Endpoint } from '../../src/types.ts';
import { callOf } from '../stage/call.ts';
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

/** The lines of a stream, translated in these pieces, and what the caller's stream makes of it. */
function streamed(endpoint: Endpoint, pieces: readonly Buffer[]) {
  const translator = ollamaNative.stream(meetingOf(callOf(endpoint, {}, { streamed: true })));
  const text = [...pieces.map((piece) => translator.push(piece)), translator.end()].map(String).join('');
  const mender = new Mender({ id: 'y', stops: [] });
  const events = new EventStream({ strip_usage: false, choices: 1, secrets: [], mender, prompt_tokens: () => 5 });
  events.push(Buffer.from(text));
  events.end();
  return { text, events };
}

const ndjson = (...lines: object[]): Buffer => Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
const said = (message: object, more: object = {}): object => ({
  model: 'qwen3:8b',
  message: { role: 'assistant', ...message },
  done: false,
  ...more,
});
const generated = (response: string, more: object = {}): object => ({ response, done: false, ...more });

/** What the events say, names and usage left out. */
function choices(text: string): unknown[] {
  return text
    .split('\n\n')
    .filter((event) => event !== '' && event !== 'data: [DONE]')
    .map((event) => JSON.parse(event.slice('data: '.length)) as { choices: object[] })
    .flatMap((event) => event.choices);
}

const delta = (told: object): object => ({ index: 0, delta: told, finish_reason: null });
const end = (finish_reason: string): object => ({ index: 0, delta: {}, finish_reason });

describe('a stream', () => {
  const names = '"created":7,"model":"qwen3:8b"';

  test('is OpenAI’s, byte by byte', () => {
    const { text } = streamed('chat/completions', [ndjson(said({ content: 'a' }), said({ content: '' }, END))]);
    const chunk = `data: {"id":"chatcmpl-x","object":"chat.completion.chunk",${names},"choices":`;
    expect(text).toBe(
      `${chunk}[{"index":0,"delta":{"role":"assistant","content":"a"},"finish_reason":null}]}\n\n` +
        `${chunk}[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n` +
        `${chunk}[],"usage":${JSON.stringify(USAGE)}}\n\ndata: [DONE]\n\n`,
    );
  });

  test('of /api/generate is OpenAI’s, byte by byte', () => {
    const { text } = streamed('completions', [ndjson(generated('a'), generated('', END))]);
    const chunk = `data: {"id":"cmpl-x","object":"text_completion",${names},"choices":`;
    expect(text).toBe(
      `${chunk}[{"index":0,"text":"a","finish_reason":null}]}\n\n` +
        `${chunk}[{"index":0,"text":"","finish_reason":"stop"}]}\n\n` +
        `${chunk}[],"usage":${JSON.stringify(USAGE)}}\n\ndata: [DONE]\n\n`,
    );
  });

  test.each<[string, object[], object[]]>([
    ['of an empty answer', [said({ content: '' }, END)], [delta({ role: 'assistant', content: '' }), end('stop')]],
    [
      'whose text comes with its end',
      [said({ content: 'a' }, END)],
      [delta({ role: 'assistant', content: 'a' }), end('stop')],
    ],
    [
      'that thinks first',
      [said({ content: '', thinking: 'so' }), said({ content: 'a' }), said({ content: '' }, END)],
      [delta({ role: 'assistant', content: '', reasoning: 'so' }), delta({ content: 'a' }), end('stop')],
    ],
    [
      'that calls tools, each in a line of its own',
      [
        said({ content: '', tool_calls: [call('f')] }),
        said({ content: '', tool_calls: [call('f', { id: 'b' })] }),
        said({ content: '' }, END),
      ],
      [
        delta({ role: 'assistant', content: '', tool_calls: [toldCall(0, 'call_x_0', 'f')] }),
        delta({ content: '', tool_calls: [toldCall(1, 'b', 'f')] }),
        end('tool_calls'),
      ],
    ],
    [
      'that calls tools with its end',
      [said({ content: '', tool_calls: [call('f'), call('g')] }, END)],
      [
        delta({
          role: 'assistant',
          content: '',
          tool_calls: [toldCall(0, 'call_x_0', 'f'), toldCall(1, 'call_x_1', 'g')],
        }),
        end('tool_calls'),
      ],
    ],
    [
      'that was cut',
      [said({ content: 'a' }, { ...END, done_reason: 'length' })],
      [delta({ role: 'assistant', content: 'a' }), end('length')],
    ],
  ])('%s', (_name, lines, told) => {
    const { text, events } = streamed('chat/completions', [ndjson(...lines)]);
    expect(choices(text)).toEqual(told);
    expect(events).toMatchObject({
      done: true,
      complete: true,
      failure: undefined,
      usage: { tokens_in: 4, tokens_out: 2 },
    });
  });

  test.each([
    ['without a reason to end', { done: true, ...COUNTS }],
    ['with an empty reason to end', { done: true, done_reason: '', ...COUNTS }],
    ['without an end', {}],
  ])('%s is not complete, though it called a tool', (_name, last) => {
    const lines = [said({ content: '', tool_calls: [call('f')] }), said({ content: '' }, last)];
    const { text, events } = streamed('chat/completions', [ndjson(...lines)]);
    expect(text).not.toContain('[DONE]');
    expect(events).toMatchObject({ done: false, complete: false, failure: undefined });
  });

  test.each([
    ['an error', '{"error":"an error was encountered while running the model: CUDA error"}', 'upstream_stream_aborted'],
    ['an error without words', '{"error":""}', 'upstream_stream_aborted'],
    ['a call that is too long', '{"error":"input length exceeds maximum context length"}', 'context_length_exceeded'],
    ['what is no JSON', '<html>', 'upstream_stream_aborted'],
    ['what is no object', '[]', 'upstream_stream_aborted'],
  ])('with %s fails, and keeps what came before', (_name, line, code) => {
    const { text, events } = streamed('chat/completions', [ndjson(said({ content: 'a' })), Buffer.from(line)]);
    expect(text.startsWith('data: {"id":"chatcmpl-x"')).toBe(true);
    expect(events.failure?.code).toBe(code);
    expect(events.failure?.message).not.toContain('CUDA');
  });

  test('whose line has no end is given up before the end', () => {
    const translator = ollamaNative.stream(meetingOf(callOf('chat/completions', {}, { streamed: true })));
    const piece = Buffer.alloc(64 * 1024, 'x');
    let told = '';
    for (let sent = 0; sent < 1.5 * 1024 * 1024; sent += piece.length) told ||= translator.push(piece).toString();
    expect(told).toMatch(/^data: \{"error":/);
  });

  test('is the same, wherever its bytes are cut', () => {
    const content = fc.string({ unit: 'grapheme', maxLength: 12 });
    const line = fc.oneof(
      content.map((each) => said({ content: each })),
      content.map((each) => said({ content: '', thinking: each })),
      fc.constantFrom('f', 'g').map((name) => said({ content: '', tool_calls: [call(name)] })),
    );
    fc.assert(
      fc.property(
        fc.array(line, { maxLength: 8 }),
        fc.array(fc.nat(), { maxLength: 20 }),
        fc.constantFrom('\n', '\r\n', '\n\n'),
        fc.boolean(),
        (lines, cuts, eol, ended) => {
          const all = ndjson(...lines, said({ content: '' }, END))
            .toString()
            .replaceAll('\n', eol);
          // The last line may lack its end.
          const bytes = Buffer.from(ended ? all : all.trimEnd());
          const places = [0, ...cuts.map((cut) => cut % bytes.length), bytes.length].toSorted((a, b) => a - b);
          const pieces = places.slice(1).map((to, at) => bytes.subarray(places[at], to));
          const { text, events } = streamed('chat/completions', pieces);
          expect(text).toBe(streamed('chat/completions', [bytes]).text);
          expect(events.complete).toBe(true);
        },
      ),
    );
  });
});
