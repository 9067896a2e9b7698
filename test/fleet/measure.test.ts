// How long a prompt is in tokens: a span that is wide at first, and narrower once a model has been seen to count.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Measure } from '../../src/fleet/measure.ts';

/** One that has seen so many prompts of this many bytes and tokens. */
function taught(times: number, bytes: number, tokens: number): Measure {
  const measure = new Measure();
  for (let n = 0; n < times; n += 1) measure.learn('m', bytes, tokens);
  return measure;
}

const UNKNOWN = { least: 3_000, most: 32_000 };

describe('the estimate for 48,000 bytes', () => {
  test.each<[string, Measure, object]>([
    ['is wide where nothing is known', new Measure(), UNKNOWN],
    ['is wide after three prompts', taught(3, 8_000, 2_000), UNKNOWN],
    ['is by what four prompts have shown', taught(4, 8_000, 2_000), { least: 6_000, most: 24_000 }],
    ['is unmoved by short prompts, which are mostly template', taught(9, 1_999, 500), UNKNOWN],
    ['is unmoved by prompts of no tokens', taught(9, 8_000, 0), UNKNOWN],
  ])('%s', (_name, measure, estimate) => {
    expect(measure.tokens('m', 48_000)).toEqual(estimate);
  });

  test('is by its own model', () => {
    expect(taught(9, 8_000, 2_000).tokens('n', 48_000)).toEqual(UNKNOWN);
  });

  test('moves an eighth of the way with each prompt', () => {
    const measure = taught(4, 8_000, 2_000);
    measure.learn('m', 12_000, 1_000);
    // From 4 bytes a token towards 12: 5.
    expect(measure.tokens('m', 48_000)).toEqual({ least: 4_800, most: 19_200 });
  });
});

test('nothing is nothing', () => {
  expect(new Measure().tokens('m', 0)).toEqual({ least: 0, most: 0 });
  expect(taught(4, 8_000, 2_000).tokens('m', 0)).toEqual({ least: 0, most: 0 });
});

describe('whatever was learned', () => {
  const seen = fc.array(fc.record({ bytes: fc.nat({ max: 1_000_000 }), tokens: fc.nat({ max: 500_000 }) }), {
    maxLength: 20,
  });
  const measured = seen.map((prompts) => {
    const measure = new Measure();
    for (const { bytes, tokens } of prompts) measure.learn('m', bytes, tokens);
    return measure;
  });

  test('an estimate is whole numbers, the least before the most, and grows with the prompt', () => {
    fc.assert(
      fc.property(measured, fc.nat({ max: 1_000_000 }), fc.nat({ max: 1_000_000 }), (measure, bytes, more) => {
        const one = measure.tokens('m', bytes);
        const longer = measure.tokens('m', bytes + more);
        for (const count of [one.least, one.most]) expect(Number.isSafeInteger(count) && count >= 0).toBe(true);
        expect(one.least).toBeLessThanOrEqual(one.most);
        expect(longer.least).toBeGreaterThanOrEqual(one.least);
        expect(longer.most).toBeGreaterThanOrEqual(one.most);
      }),
    );
  });

  test('a prompt like all before it lies within its estimate', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2_000, max: 1_000_000 }),
        fc.double({ min: 1, max: 16, noNaN: true }),
        (bytes, each) => {
          const tokens = Math.max(1, Math.round(bytes / each));
          const { least, most } = taught(10, bytes, tokens).tokens('m', bytes);
          expect(least <= tokens && tokens <= most).toBe(true);
        },
      ),
    );
  });
});
