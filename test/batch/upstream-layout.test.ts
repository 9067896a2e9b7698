// Where lines stand in files: in the one that is uploaded, and in the one that they are read from.
import { expect, test } from 'vitest';
import { extend, placeAt } from '../../src/batch/upstream/layout.ts';
import { Ranges } from '../../src/batch/upstream/ranges.ts';

test('a line of a file is found by its number', () => {
  const runs: [string, number, number][] = [];
  const places = [
    ['a', 3],
    ['a', 4],
    ['a', 6],
    ['b', 0],
    ['b', 1],
    ['c', 9],
  ] as const;
  for (const [batch, n] of places) extend(runs, { batch, n });
  expect(runs).toHaveLength(4);
  const layout = { bytes: 0, lines: places.length, runs };
  const found = places.map((_, at) => placeAt(layout, at + 1));
  expect(found).toEqual(places.map(([batch, n]) => ({ batch, n })));
  expect([placeAt(layout, 0), placeAt(layout, places.length + 1)]).toEqual([undefined, undefined]);
});

test('ranges of a file are read in one pass, whatever its pieces', async () => {
  const text = Buffer.from('0123456789abcdefghij');
  for (const size of [1, 3, 7, 20]) {
    const pieces = (async function* pieces() {
      for (let at = 0; at < text.length; at += size) yield text.subarray(at, at + size);
    })();
    const ranges = new Ranges(pieces);
    expect((await ranges.next(2, 3)).toString()).toBe('234');
    expect((await ranges.next(5, 1)).toString()).toBe('5');
    expect((await ranges.next(12, 8)).toString()).toBe('cdefghij');
    await expect(ranges.next(19, 5)).rejects.toThrow('shorter');
  }
});
