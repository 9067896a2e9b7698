// Texts as large, or as crafty, as the limits allow: each is read or refused, and none takes a time that grows faster than it does.
// What takes the square of the size would not end within the test's own limit.
import { describe, expect, test } from 'vitest';
import { readForeign } from '../../src/config/foreign.ts';

const keys = (number: number): string => Array.from({ length: number }, (_, at) => `k${at}: 1\n`).join('');

describe('a map', () => {
  test('of as many keys as may be is read', () => {
    const { value, faults, repeated } = readForeign(`${keys(49_998)}k7: 2\n`);
    expect(faults).toEqual([]);
    expect(Object.keys(value as object)).toHaveLength(49_998);
    expect(value).toMatchObject({ k7: 2, k49997: 1 });
    expect(repeated).toEqual([{ path: ['k7'], at: { line: 8, column: 1 } }]);
  });

  test('of more is refused once', () => {
    const { value, faults } = readForeign(keys(70_000));
    expect(value).toBeUndefined();
    expect(faults).toEqual([expect.objectContaining({ text: expect.stringContaining('more than 50000 values') })]);
  });
});

test('as many aliases as may be are read, each as what stood under its name before it', () => {
  const { value, faults } = readForeign(`a: &x 1\nb: &x 2\nc:\n${'- *x\n'.repeat(24_000)}d: &x 3\ne: *x\n`);
  expect(faults).toEqual([]);
  const { c, ...others } = value as { c: number[] };
  expect([c.length, new Set(c)]).toEqual([24_000, new Set([2])]);
  expect(others).toEqual({ a: 1, b: 2, d: 3, e: 3 });
});

test.each([
  ['empty maps', '{}'],
  ['maps with a key', '{ a: 1 }'],
])('merges of merges do not multiply: %s', (_, least) => {
  const lines = [`l0: &l0 ${least}`];
  for (let at = 1; at <= 30; at += 1) lines.push(`l${at}: &l${at} { <<: [*l${at - 1}, *l${at - 1}] }`);
  const { faults } = readForeign(lines.join('\n'));
  expect(faults).toEqual([expect.objectContaining({ text: expect.stringContaining('more than 50000 values') })]);
});
