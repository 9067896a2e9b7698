// What engines say differently, made alike: in the events of a stream, and in a whole answer.
import { describe, expect, test } from 'vitest';
import { Mender } from '../../src/wire/mend.ts';
import { DONE, eventOf, EventStream } from '../../src/wire/sse.ts';

type Json = Record<string, unknown>;

const mender = (stops: readonly string[] = []): Mender => new Mender({ id: 'x', stops });

/** One event with one choice, as every engine has it but for what is given. */
function event(delta: Json, more: Json = {}): Json {
  return { id: 'c', object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason: null, ...more }] };
}

function answer(message: Json, more: Json = {}): Json {
  return { id: 'c', object: 'chat.completion', choices: [{ index: 0, message, finish_reason: 'stop', ...more }] };
}

const CALL = { id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } };
const PIECE = { index: 0, ...CALL };

describe('reasoning is told under both names', () => {
  test.each<[string, Json, Json]>([
    ['vLLM and Ollama', { reasoning: 'so' }, { reasoning: 'so', reasoning_content: 'so' }],
    ['llama.cpp, LM Studio, SGLang', { reasoning_content: 'so' }, { reasoning: 'so', reasoning_content: 'so' }],
    ['an empty one too', { reasoning: '' }, { reasoning: '', reasoning_content: '' }],
  ])('%s', (_name, given, told) => {
    expect(mender().event(event({ content: 'a', ...given }))).toEqual(event({ content: 'a', ...told }));
    expect(mender().whole(answer({ content: 'a', ...given }))).toEqual(answer({ content: 'a', ...told }));
  });
});

describe('the same object comes back', () => {
  test.each<[string, Json]>([
    ['for plain text', { role: 'assistant', content: 'a' }],
    ['where both names of reasoning are there, though they differ', { reasoning: 'a', reasoning_content: 'b' }],
    ['where there is no reasoning but its name', { content: 'a', reasoning_content: null }],
    ['for tool calls that are right', { content: null, tool_calls: [PIECE] }],
    ['for a list of no tool calls', { content: 'a', tool_calls: [] }],
  ])('%s', (_name, said) => {
    const one = event(said);
    expect(mender().event(one)).toBe(one);
    const whole = answer(said, { finish_reason: 'length' });
    expect(mender().whole(whole)).toBe(whole);
  });

  test.each<[string, Json]>([
    ['for a completion', { id: 'c', choices: [{ index: 0, text: 'a', finish_reason: 'stop' }] }],
    ['for the usage chunk', { id: 'c', choices: [], usage: {} }],
    ['for what has no choices', { object: 'list', data: [] }],
    ['for choices that are none', { id: 'c', choices: [null, 'a'] }],
  ])('%s', (_name, given) => {
    expect(mender().event(given)).toBe(given);
    expect(mender().whole(given)).toBe(given);
  });

  test('though another event was mended', () => {
    const one = mender();
    const plain = event({ content: 'a' });
    one.event(event({ reasoning: 'so' }));
    expect(one.event(plain)).toBe(plain);
  });
});

describe('the finish reason', () => {
  test('that is an empty string (SGLang issue 3912) is null', () => {
    expect(mender().event(event({ content: 'a' }, { finish_reason: '' }))).toEqual(event({ content: 'a' }));
    expect(mender().whole(answer({ content: 'a' }, { finish_reason: '' }))).toEqual(
      answer({ content: 'a' }, { finish_reason: null }),
    );
  });

  test.each([
    ['stop', 'tool_calls'],
    ['tool_calls', 'tool_calls'],
    ['length', 'length'],
    ['content_filter', 'content_filter'],
  ])('%s after a tool call is %s', (reason, told) => {
    const one = mender();
    one.event(event({ tool_calls: [PIECE] }));
    expect(one.event(event({}, { finish_reason: reason }))).toEqual(event({}, { finish_reason: told }));
    expect(mender().whole(answer({ tool_calls: [CALL] }, { finish_reason: reason }))).toEqual(
      answer({ tool_calls: [CALL] }, { finish_reason: told }),
    );
  });

  test('of a choice without a tool call stays, beside one that has called', () => {
    const one = mender();
    one.event({ id: 'c', choices: [{ index: 1, delta: { tool_calls: [PIECE] }, finish_reason: null }] });
    const ends = [0, 1].map((index) => ({ index, delta: {}, finish_reason: 'stop' }));
    expect(one.event({ id: 'c', choices: ends })).toEqual({
      id: 'c',
      choices: [ends[0], { ...ends[1], finish_reason: 'tool_calls' }],
    });
  });

  test('stop in the very event of the tool call is tool_calls', () => {
    const given = event({ tool_calls: [PIECE] }, { finish_reason: 'stop' });
    expect(mender().event(given)).toEqual(event({ tool_calls: [PIECE] }, { finish_reason: 'tool_calls' }));
  });

  test('stop after an empty list of tool calls is stop', () => {
    const one = mender();
    one.event(event({ content: 'a', tool_calls: [] }));
    const end = event({}, { finish_reason: 'stop' });
    expect(one.event(end)).toBe(end);
  });
});

test('tool calls are mended by choice: each has numbers and ids of its own', () => {
  const given = { function: { name: 'f', arguments: '{}' } };
  const told = mender().event({
    id: 'c',
    choices: [0, 1].map((index) => ({ index, delta: { tool_calls: [given] }, finish_reason: null })),
  });
  expect(told['choices']).toMatchObject([
    { index: 0, delta: { tool_calls: [{ index: 0, id: 'call_x_0' }] } },
    { index: 1, delta: { tool_calls: [{ index: 0, id: 'call_x_1_0' }] } },
  ]);
});

describe('a missing id', () => {
  test.each([
    ['of a chat', 'chat.completion.chunk', undefined, 'chatcmpl-x'],
    ['of a chat, where it is empty', 'chat.completion.chunk', '', 'chatcmpl-x'],
    ['of a chat, where it is a number', 'chat.completion.chunk', 7, 'chatcmpl-x'],
    ['of a completion', 'text_completion', undefined, 'cmpl-x'],
  ])('%s is made, and stands first', (_name, object, id, made) => {
    const told = mender().event({ object, id, choices: [{ index: 0, delta: {} }] });
    expect(Object.keys(told)).toEqual(['id', 'object', 'choices']);
    expect(told['id']).toBe(made);
    expect(mender().whole({ object, id, choices: [{ index: 0, message: {} }] })['id']).toBe(made);
  });

  test('is the same in every event, the usage chunk and one of our own too', () => {
    const stream = new EventStream({
      strip_usage: false,
      choices: 1,
      secrets: [],
      mender: mender(),
      prompt_tokens: () => 5,
    });
    const given = [event({ content: 'a' }), event({ content: 'b' }), event({}, { finish_reason: 'stop' })].map(
      ({ id: _id, ...rest }) => eventOf(rest),
    );
    const out = stream.push(Buffer.concat([Buffer.from(given.join('')), DONE])).toString();
    const ids = out.match(/"id":"[^"]*"/g);
    expect(ids).toEqual(Array.from({ length: 4 }, () => '"id":"chatcmpl-x"'));
  });
});

describe('a stop string that the engine sends', () => {
  const texts = (events: readonly Json[]): string =>
    events
      .flatMap(({ choices }) => choices as { delta?: { content?: string }; text?: string }[])
      .map(({ delta, text }) => delta?.content ?? text ?? '')
      .join('');

  const chat = (content: string | undefined, finish_reason: string | null = null): Json =>
    event(content === undefined ? {} : { content }, { finish_reason });
  const plain = (text = '', finish_reason: string | null = null): Json => ({
    id: 'c',
    choices: [{ index: 0, text, finish_reason }],
  });

  test.each([
    ['is taken out', ['one END', undefined], 'one '],
    ['is taken out of pieces', ['one E', 'N', 'D', undefined], 'one '],
    ['is taken out of the last piece', ['one E', 'ND'], 'one '],
    ['is held back no longer than it may be one', ['one E', 'NTER', undefined], 'one ENTER'],
    ['gives back what was held, with the last event', ['one E', undefined], 'one E'],
    ['gives back what was held, with the last piece', ['one ', 'E'], 'one E'],
  ])('%s', (_name, pieces, told) => {
    for (const make of [chat, plain]) {
      const one = mender(['END']);
      expect(one.every).toBe(true);
      expect(texts(pieces.map((piece, at) => one.event(make(piece, at + 1 < pieces.length ? null : 'stop'))))).toBe(
        told,
      );
    }
  });

  test('is looked for in each choice apart', () => {
    const one = mender(['ab']);
    const both = (zero: string, first: string): Json => ({
      id: 'c',
      choices: [zero, first].map((content, index) => ({ index, delta: { content }, finish_reason: null })),
    });
    const said = [both('xa', 'yb'), both('c', 'ab')].map((given) =>
      (one.event(given)['choices'] as { delta: { content: string } }[]).map(({ delta }) => delta.content),
    );
    expect(said).toEqual([
      ['x', 'yb'],
      ['ac', ''],
    ]);
  });

  test('is no reason to change an event without text', () => {
    const role = event({ role: 'assistant', content: null });
    expect(mender(['END']).event(role)).toBe(role);
  });

  test('stays in a whole answer, where engines leave it out themselves', () => {
    const given = answer({ content: 'one END' });
    expect(mender(['END']).whole(given)).toBe(given);
  });
});
