// The usage of an engine that tells none: an estimate that says so, for who asked.
import { describe, expect, test } from 'vitest';
import { Mender } from '../../src/wire/mend.ts';
import { DONE, EventStream, eventOf } from '../../src/wire/sse.ts';
import { estimated, guessTokens, readUsage } from '../../src/wire/usage.ts';

const names = { id: 'c', object: 'chat.completion.chunk', created: 7, model: 'm' };
const said = (content: string, finish_reason: string | null = null): string =>
  eventOf({ ...names, choices: [{ index: 0, delta: { content }, finish_reason }] });
const TEXT = said('one ') + said('two') + said('', 'stop');
const ESTIMATE = { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8, estimated: true };
const CHUNK = eventOf({ ...names, choices: [], usage: ESTIMATE });

/** All that comes out, where the engine's stream is this and ends cleanly. */
function run(input: string, wants_usage: boolean) {
  const mender = new Mender({ id: 'x', stops: [] });
  const events = new EventStream({
    strip_usage: !wants_usage,
    choices: 1,
    secrets: [],
    mender,
    prompt_tokens: () => 5,
  });
  const out = [events.push(Buffer.from(input)), events.end()].map(String).join('') + events.close().toString();
  return { events, out };
}

describe('an engine that gives no usage', () => {
  test.each([
    ['who asked is given an estimate, right before [DONE]', TEXT + DONE, true, TEXT + CHUNK + DONE],
    ['who asked has it where [DONE] is missing too', TEXT, true, TEXT + CHUNK + DONE],
    ['who asked has it after a [DONE] of another form', `${TEXT}data:[DONE]\r\n\r\n`, true, TEXT + CHUNK + DONE],
    ['who did not ask is given none', TEXT + DONE, false, TEXT + DONE],
    ['who did not ask is given none where [DONE] is missing', TEXT, false, TEXT + DONE],
  ])('%s', (_name, input, wants_usage, output) => {
    const { events, out } = run(input, wants_usage);
    expect(out).toBe(output);
    expect(events).toMatchObject({ usage_estimated: true, usage: { tokens_in: 5, tokens_out: 3 }, complete: true });
  });

  test('is not estimated where it tells anything of it', () => {
    const usage = eventOf({ ...names, choices: [], usage: { prompt_tokens: 9, completion_tokens: 2 } });
    const { events, out } = run(TEXT + usage + DONE, true);
    expect(out).toBe(TEXT + usage + DONE);
    expect(events).toMatchObject({ usage_estimated: false, usage: { tokens_in: 9, tokens_out: 2 } });
  });

  test('is not estimated where nothing was told', () => {
    const { events, out } = run(DONE.toString(), true);
    expect(out).toBe(DONE.toString());
    expect(events).toMatchObject({ usage_estimated: false, usage: undefined });
  });
});

test.each<[unknown, object | undefined]>([
  [
    { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
    { tokens_in: 1, tokens_out: 2 },
  ],
  [
    { prompt_tokens: 1, total_tokens: 1 },
    { tokens_in: 1, tokens_out: undefined },
  ],
  [
    { prompt_tokens: '1', completion_tokens: null },
    { tokens_in: undefined, tokens_out: undefined },
  ],
  [null, undefined],
  [[], undefined],
])('usage of %j is read as %j', (given, usage) => {
  expect(readUsage(given)).toEqual(usage);
});

test('an estimate adds up, and says what it is', () => {
  expect(estimated(5, 3)).toEqual(ESTIMATE);
});

test.each([
  [-3, 1],
  [0, 1],
  [1, 1],
  [4, 1],
  [5, 2],
  [4_000, 1_000],
])('%i bytes are taken for %i tokens', (bytes, tokens) => {
  expect(guessTokens(bytes)).toBe(tokens);
});
