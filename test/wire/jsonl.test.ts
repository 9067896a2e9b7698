// Lines cut out of bytes: the same however the bytes come in, each where it says it stands.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LineCutter, LineTooLong, onOneLine } from '../../src/wire/jsonl.ts';

function cut(text: Buffer, sizes: readonly number[], bytes_max = 1000): { text: string; at: number; number: number }[] {
  const cutter = new LineCutter(bytes_max);
  const found: { text: string; at: number; number: number }[] = [];
  const take = (lines: Iterable<{ text: Buffer; at: number; number: number }>): void => {
    for (const line of lines) found.push({ ...line, text: line.text.toString('latin1') });
  };
  let from = 0;
  for (let n = 0; from < text.length; n += 1) {
    const size = Math.max(1, sizes[n % Math.max(1, sizes.length)] ?? 1);
    // Its memory is used again, as a reader's is.
    const piece = Buffer.from(text.subarray(from, from + size));
    take(cutter.push(piece));
    piece.fill(0x21);
    from += size;
  }
  take(cutter.end());
  return found;
}

const line = fc.string({ maxLength: 40, unit: fc.constantFrom('a', '{', '"', ' ', '\\') });

describe('lines', () => {
  test('are the same however they come, and stand where they say', () => {
    fc.assert(
      fc.property(
        fc.array(line, { minLength: 1, maxLength: 20 }),
        fc.constantFrom('\n', '\r\n'),
        fc.boolean(),
        fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 8 }),
        (lines, end, ended, sizes) => {
          const text = Buffer.from(lines.join(end) + (ended ? end : ''), 'latin1');
          const found = cut(text, sizes);
          // An empty last line without an end of its own is none.
          const wanted = !ended && lines.at(-1) === '' ? lines.slice(0, -1) : lines;
          expect(found.map((one) => one.text)).toEqual(wanted);
          expect(found.map(({ number }) => number)).toEqual(wanted.map((_, at) => at + 1));
          for (const one of found) {
            expect(text.toString('latin1', one.at, one.at + one.text.length)).toBe(one.text);
          }
        },
      ),
    );
  });

  test.each([
    ['at once', [1000]],
    ['bit by bit', [7]],
  ])('longer than allowed are not gathered %s', (_name, sizes) => {
    const text = Buffer.from(`short\n${'x'.repeat(200)}\n`);
    expect(() => cut(text, sizes, 100)).toThrow(LineTooLong);
    expect(cut(text, sizes, 200)).toHaveLength(2);
  });
});

test('JSON written over several lines says the same on one', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom('\n', '\r\n'), (value, end) => {
      const written = Buffer.from(JSON.stringify(value, null, 2).replaceAll('\n', end));
      const whole = onOneLine(written);
      expect(whole.includes(0x0a) || whole.includes(0x0d)).toBe(false);
      expect(JSON.parse(whole.toString())).toEqual(JSON.parse(written.toString()));
    }),
  );
});
