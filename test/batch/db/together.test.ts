import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Together } from '../../../src/batch/db/together.ts';

/** Groups whose writing ends when the test says so. */
function byHand(items_max: number): {
  together: Together<string, string>;
  groups: { items: readonly string[]; end: (error?: Error) => void }[];
} {
  const groups: { items: readonly string[]; end: (error?: Error) => void }[] = [];
  const write = (items: readonly string[]): Promise<readonly string[]> =>
    new Promise((resolve, reject) => {
      const results = items.map((item) => item.toUpperCase());
      groups.push({ items, end: (error) => (error === undefined ? resolve(results) : reject(error)) });
    });
  return { together: new Together({ write, items_max }), groups };
}

/** Until all that is settled has been seen. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('writes what comes together, and what comes meanwhile as the next group', async () => {
  const { together, groups } = byHand(3);
  const first = [together.add('a'), together.add('b')];
  await settled();
  expect(groups.map(({ items }) => items)).toEqual([['a', 'b']]);
  const more = ['c', 'd', 'e', 'f'].map((item) => together.add(item));
  await settled();
  expect(groups).toHaveLength(1);
  expect(together.waiting).toBe(4);
  groups[0]?.end();
  expect(await Promise.all(first)).toEqual(['A', 'B']);
  await settled();
  groups[1]?.end();
  await settled();
  groups[2]?.end();
  expect(await Promise.all(more)).toEqual(['C', 'D', 'E', 'F']);
  expect(groups.map(({ items }) => items)).toEqual([['a', 'b'], ['c', 'd', 'e'], ['f']]);
  await together.idle();
});

test('a group that fails fails each of its own, and the next goes on', async () => {
  const { together, groups } = byHand(2);
  const all = Promise.allSettled(['a', 'b', 'c'].map((item) => together.add(item)));
  await settled();
  groups[0]?.end(new Error('no'));
  await settled();
  groups[1]?.end();
  expect((await all).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled']);
});

test('an answer too few fails the group instead of giving somebody nothing', async () => {
  const together = new Together({ write: async () => [1], items_max: 10 });
  const all = await Promise.allSettled([together.add('a'), together.add('b')]);
  expect(all.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
});

const ITEM = fc.record({ id: fc.nat(), weight: fc.nat(20), bad: fc.boolean(), turn: fc.boolean() });

test('every item is written once and gets its own answer, within the bounds, in its order', async () => {
  const bounds = fc.record({ items_max: fc.integer({ min: 1, max: 8 }), weight_max: fc.integer({ min: 1, max: 40 }) });
  await fc.assert(
    fc.asyncProperty(fc.array(ITEM, { maxLength: 60 }), bounds, async (items, { items_max, weight_max }) => {
      const written: object[] = [];
      let writing = false;
      const together = new Together({
        items_max,
        weight_max,
        weigh: ({ weight }: (typeof items)[number]) => weight,
        async write(group) {
          expect(writing).toBe(false);
          writing = true;
          if (group.length > 1)
            expect(group.reduce((sum, { weight }) => sum + weight, 0)).toBeLessThanOrEqual(weight_max);
          expect(group.length).toBeLessThanOrEqual(items_max);
          await settled();
          written.push(...group);
          writing = false;
          return group.map((item) => ({ answer_to: item }));
        },
      });
      const answers: Promise<{ answer_to: object }>[] = [];
      for (const item of items) {
        answers.push(together.add(item));
        if (item.turn) await settled();
      }
      const all = await Promise.all(answers);
      for (const [index, { answer_to }] of all.entries()) expect(answer_to).toBe(items[index]);
      expect(written).toEqual(items);
    }),
    { numRuns: 50 },
  );
});

test('where a refused group is written one by one, exactly the bad ones fail', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(ITEM, { maxLength: 40 }), fc.integer({ min: 1, max: 8 }), async (items, items_max) => {
      const written: object[] = [];
      const together = new Together({
        items_max,
        apart: (error) => error instanceof RangeError,
        async write(group: readonly (typeof items)[number][]) {
          await settled();
          if (group.some(({ bad }) => bad)) throw new RangeError('bad');
          written.push(...group);
          return group.map(({ id }) => id);
        },
      });
      const all = await Promise.allSettled(items.map((item) => together.add(item)));
      expect(all.map(({ status }) => status === 'rejected')).toEqual(items.map(({ bad }) => bad));
      expect(written).toEqual(items.filter(({ bad }) => !bad));
    }),
    { numRuns: 50 },
  );
});
