// A whole answer told as a stream: what a client puts together of it is the answer.
import { describe, expect, test } from 'vitest';
import { Mender } from '../../src/wire/mend.ts';
import { EventStream } from '../../src/wire/sse.ts';
import { asStream } from '../../src/wire/tell.ts';

type Json = Record<string, unknown>;

/** The events of a stream, `[DONE]` as it is. */
function eventsOf(bytes: Buffer | undefined): unknown[] {
  const events = (bytes?.toString() ?? '').split('\n\n');
  expect(events.pop()).toBe('');
  return events.map((event) => {
    expect(event).toMatch(/^data: [^\n]*$/);
    const data = event.slice('data: '.length);
    return data === '[DONE]' ? data : (JSON.parse(data) as unknown);
  });
}

const names = { id: 'c', created: 7, model: 'm', system_fingerprint: 'f' };
const whole = { ...names, object: 'chat.completion' };
const chunk = { ...names, object: 'chat.completion.chunk' };
const USAGE = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };

function chat(message: Json, more: Json = {}): Json {
  return { ...whole, choices: [{ index: 0, message, finish_reason: 'stop' }], ...more };
}

/** A choice's two events. */
function told(delta: Json, index = 0, finish_reason: string | null = 'stop'): Json[] {
  return [
    { ...chunk, choices: [{ index, delta, finish_reason: null }] },
    { ...chunk, choices: [{ index, delta: {}, finish_reason }] },
  ];
}

const f = { id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } };
const g = { id: 'b', type: 'function', function: { name: 'g', arguments: '{}' } };
const message = { role: 'assistant', content: 'Grüße' };

const ANSWERS: [string, Json, Json[]][] = [
  ['a chat', chat(message), told(message)],
  ['reasoning', chat({ ...message, reasoning: 'so' }), told({ ...message, reasoning: 'so' })],
  [
    'tool calls, numbered',
    chat({ role: 'assistant', content: null, tool_calls: [f, g] }),
    told({
      role: 'assistant',
      content: null,
      tool_calls: [
        { ...f, index: 0 },
        { ...g, index: 1 },
      ],
    }),
  ],
  [
    'tool calls that all have the index 0, numbered anew',
    chat({
      tool_calls: [
        { index: 0, ...f },
        { index: 0, ...g },
      ],
    }),
    told({
      tool_calls: [
        { index: 0, ...f },
        { index: 1, ...g },
      ],
    }),
  ],
  ['a list of no tool calls', chat({ ...message, tool_calls: [] }), told({ ...message, tool_calls: [] })],
  ['usage, last', chat(message, { usage: USAGE }), [...told(message), { ...chunk, choices: [], usage: USAGE }]],
  ['no usage where it is null', chat(message, { usage: null }), told(message)],
  [
    'several choices, whatever their order',
    { ...whole, choices: [1, 0].map((index) => ({ index, message, finish_reason: 'length' })) },
    [...told(message, 1, 'length'), ...told(message, 0, 'length')],
  ],
  [
    'choices without numbers, by their places',
    { ...whole, choices: [{ message, finish_reason: 'stop' }, { message }] },
    [...told(message), ...told(message, 1, null)],
  ],
  [
    'what is beside the message, with its text',
    { ...whole, choices: [{ index: 0, message, logprobs: { content: [] }, finish_reason: 'stop' }] },
    [
      { ...chunk, choices: [{ index: 0, delta: message, logprobs: { content: [] }, finish_reason: null }] },
      { ...chunk, choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] },
    ],
  ],
  [
    'a completion, in one event a choice',
    {
      ...names,
      object: 'text_completion',
      choices: [
        { index: 0, text: 'a', logprobs: null, finish_reason: 'stop' },
        { index: 1, text: 'b', logprobs: null, finish_reason: 'length' },
      ],
      usage: USAGE,
    },
    [
      {
        ...names,
        object: 'text_completion',
        choices: [{ index: 0, text: 'a', logprobs: null, finish_reason: 'stop' }],
      },
      {
        ...names,
        object: 'text_completion',
        choices: [{ index: 1, text: 'b', logprobs: null, finish_reason: 'length' }],
      },
      { ...names, object: 'text_completion', choices: [], usage: USAGE },
    ],
  ],
];

test.each(ANSWERS)('%s', (_name, answer, events) => {
  expect(eventsOf(asStream(answer))).toEqual([...events, '[DONE]']);
});

test.each<[string, Json]>([
  ['embeddings', { object: 'list', data: [{ embedding: [1] }] }],
  ['an error', { error: { message: 'no' } }],
  ['no choices', { ...whole, choices: [] }],
  ['choices that are none', { ...whole, choices: ['a'] }],
  ['nothing', {}],
])('%s cannot be told as a stream', (_name, answer) => {
  expect(asStream(answer)).toBeUndefined();
});

describe('the stream that goes to the caller', () => {
  const relayed = (answer: Json, choices = 1) => {
    const events = new EventStream({
      strip_usage: false,
      choices,
      secrets: [],
      mender: new Mender({ id: 'x', stops: [] }),
      prompt_tokens: () => 5,
    });
    const out = events.push(asStream(answer) ?? Buffer.alloc(0));
    return { events, told: eventsOf(Buffer.from(out)) };
  };

  test.each(ANSWERS)('takes it as complete: %s', (_name, answer) => {
    const { events } = relayed(answer, (answer['choices'] as unknown[]).length);
    expect(events).toMatchObject({ done: true, complete: true, failure: undefined, invalid: 0 });
  });

  test('tells two calls without ids of one tool apart', () => {
    const call = { index: 0, function: { name: 'f', arguments: '{}' } };
    const { told: events } = relayed(chat({ tool_calls: [call, call] }));
    expect(events[0]).toMatchObject({
      choices: [
        {
          delta: {
            tool_calls: [
              { index: 0, id: 'call_x_0' },
              { index: 1, id: 'call_x_1' },
            ],
          },
        },
      ],
    });
    expect(events[1]).toMatchObject({ choices: [{ finish_reason: 'tool_calls' }] });
  });

  test('has its usage counted', () => {
    expect(relayed(chat(message, { usage: USAGE })).events).toMatchObject({
      usage: { tokens_in: 1, tokens_out: 2 },
      usage_estimated: false,
    });
  });
});
