// The matched stop string never gets out, whatever the pieces a text comes in; nothing else stays behind.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Stops, stopsOf } from '../../src/wire/stops.ts';
import { callOf, refusal } from '../stage/call.ts';

/** Everything that is told of a text cut at these places. */
function told(stops: readonly string[], pieces: readonly string[]): string {
  const trim = new Stops(stops);
  return pieces.map((piece) => trim.push(piece)).join('') + trim.end();
}

/** Up to where the first of them begins, with the whole text at hand. */
function upTo(text: string, stops: readonly string[]): string {
  return text.slice(0, Math.min(...stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0), text.length));
}

describe('what is told', () => {
  test.each<[string, string[], string[], string]>([
    ['a text without a stop string', ['END'], ['one ', 'two'], 'one two'],
    ['up to the stop string', ['END'], ['one END two'], 'one '],
    ['up to one that is cut', ['END'], ['one E', 'N', 'D two'], 'one '],
    ['up to the first of several', ['two', 'one'], ['a one b two'], 'a '],
    ['a beginning that came to nothing', ['END'], ['one E', 'N', 'TER'], 'one ENTER'],
    ['a beginning at the very end', ['END'], ['one EN'], 'one EN'],
    ['a beginning within another', ['aab'], ['aa', 'aab', 'c'], 'aa'],
    ['up to the one that begins first, though a shorter one was whole before it', ['bc', 'abcd'], ['abc', 'd'], ''],
    ['up to the shorter one, where the longer one is not to be', ['bc', 'abcd'], ['abc', 'e'], 'a'],
    ['up to the shorter one, where nothing more comes', ['bc', 'abcd'], ['x', 'abc'], 'xa'],
    ['up to one that begins like another', ['\n', '\n\n'], ['a\n', '\nb'], 'a'],
    ['nothing after it', ['END'], ['END', 'END', 'more'], ''],
    ['characters of two units, cut between them', ['🌍!'], ['a\ud83c', '\udf0d', '!b'], 'a'],
  ])('%s', (_name, stops, pieces, text) => {
    expect(told(stops, pieces)).toBe(text);
    expect(told(stops, [pieces.join('')])).toBe(text);
  });

  // Few letters, so that stop strings overlap themselves, each other and the cuts.
  const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 20 });
  const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 5 }), {
    maxLength: 4,
  });

  test('is any text up to where the first stop string begins, however it is cut', () => {
    fc.assert(
      fc.property(fc.array(text, { maxLength: 8 }), stops, (pieces, list) => {
        expect(told(list, pieces)).toBe(upTo(pieces.join(''), list));
      }),
      { numRuns: 5000 },
    );
  });

  test('is never late by as much as a whole stop string', () => {
    fc.assert(
      fc.property(fc.array(text, { maxLength: 8 }), stops, (pieces, list) => {
        const trim = new Stops(list);
        const longest = Math.max(1, ...list.map((stop) => stop.length));
        let came = '';
        let went = '';
        for (const piece of pieces) {
          came += piece;
          went += trim.push(piece);
          expect(upTo(came, list).startsWith(went)).toBe(true);
          expect(upTo(came, list).length - went.length).toBeLessThan(longest);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the stop strings of a call', () => {
  test.each<[string, string[]]>([
    ['{}', []],
    ['{"stop":null}', []],
    ['{"stop":""}', []],
    ['{"stop":"\\n"}', ['\n']],
    ['{"stop":[]}', []],
    ['{"stop": [ "a" , "\\u00e9" ] }', ['a', 'é']],
    ['{"stop":["", null, 3, ["x"], "b"]}', ['b']],
    ['{"stop":3}', []],
  ])('%s: %j', (body, stops) => {
    expect(stopsOf(callOf('completions', body))).toEqual(stops);
  });

  test('that hold what JSON forbids, deep in a long one, are a refusal and no bug', () => {
    const body = `{"stop":"${'x'.repeat(80)}\n"}`;
    expect(refusal(() => stopsOf(callOf('completions', body))).code).toBe('invalid_json');
  });
});
