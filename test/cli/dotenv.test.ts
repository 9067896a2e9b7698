// A variable set in the text of `.env`: nothing else in it may change, whatever stands there.
import { parseEnv } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Refusal, withVariable } from '../../src/cli/dotenv.ts';

describe('a variable set in .env', () => {
  test.each([
    ['is added at the end', '# mine\nA=1\n', 'one', '# mine\nA=1\nN=one\n'],
    ['is put in quotes where it has spaces', '', 'one two', 'N="one two"\n'],
    ['fills its empty line', 'A=1\nN=\nB=2\n', 'one', 'A=1\nN=one\nB=2\n'],
    ['takes the place of its value, in quotes or not', 'N="one two"\n', 'one two three', 'N="one two three"\n'],
    ['takes the place of a bare value of several words', 'N=one two\nA=1', 'one', 'N=one\nA=1'],
    ['leaves the comment behind it', "export N='one'   # mine\n", 'two', 'export N=two   # mine\n'],
    ['leaves Windows line ends', 'N=one\r\nA=1\r\n', 'two', 'N=two\r\nA=1\r\n'],
    ['changes the last of its lines, which counts', 'N=one\nN=two\n', 'three', 'N=one\nN=three\n'],
    ['does not take a comment for its line', '# N=one\n', 'two', '# N=one\nN=two\n'],
    ['does not take another name for its own', 'MY_N=\nN_=\n', 'one', 'MY_N=\nN_=\nN=one\n'],
    ['does not take a line within another value for its own', 'A="\nN=\n"\n', 'one', 'A="\nN=\n"\nN=one\n'],
    ['has no meaning as a pattern', 'N=\n', '$& $1', 'N="$& $1"\n'],
  ])('%s', (_, text, value, wanted) => {
    expect(withVariable(text, 'N', value)).toBe(wanted);
  });

  const word = fc.stringMatching(/^[A-Za-z0-9._:/-]{0,12}$/);
  const value = fc.oneof(
    word,
    fc.tuple(word, word).map(([one, two]) => `"${one} ${two}"`),
    word.map((one) => `'${one} #'`),
    word.map((one) => `"first\nN=${one}\n"`),
    fc.constantFrom('"', "'", '"open', '#', '`', '\\'),
  );
  const name = fc.constantFrom('N', 'A', 'B_C', 'NN', 'MY_N');
  const line = fc.oneof(
    fc
      .record({ lead: fc.constantFrom('', ' ', 'export ', '# '), name, gap: fc.constantFrom('=', ' = '), value })
      .map(({ lead, name, gap, value }) => lead + name + gap + value),
    fc.constantFrom('', '# a comment', 'no assignment'),
  );
  const text = fc
    .tuple(fc.array(line, { maxLength: 6 }), fc.constantFrom('\n', '\r\n'), fc.boolean())
    .map(([lines, newline, ended]) => lines.join(newline) + (ended && lines.length > 0 ? newline : ''));

  test('is there afterwards and all others are as they were, or the text is refused', () => {
    let refused = 0;
    const runs = 2000;
    fc.assert(
      fc.property(text, fc.constantFrom('v', 'v w', 'sk-lanyard-A_b-9', '192.168.1.20 ::1'), (before, wanted) => {
        try {
          const after = withVariable(before, 'N', wanted);
          expect({ ...parseEnv(after) }).toEqual({ ...parseEnv(before), N: wanted });
          expect(withVariable(after, 'N', wanted)).toBe(after);
          const [old, now] = [before.split('\n'), after.split('\n')];
          // One line differs at most, besides the end of the last.
          expect(now.length - old.length).toBeLessThanOrEqual(1);
          expect(old.filter((line, at) => now[at] !== line).length).toBeLessThanOrEqual(2);
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          refused += 1;
        }
      }),
      { numRuns: runs },
    );
    // Only texts in which a quote is left open.
    expect(refused).toBeLessThan(runs / 4);
  });
});
