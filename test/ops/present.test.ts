// Who is under way: whatever the order of coming and going, exactly those who have come and not gone.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Present } from '../../src/ops/present.ts';

test('holds exactly those who have entered and not left, and leaving twice is leaving once', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20), { maxLength: 200 }), (steps) => {
      const present = new Present<number>();
      const leaves = new Map<number, () => void>();
      const gone: (() => void)[] = [];
      for (const [at, step] of steps.entries()) {
        const leave = leaves.get(step);
        if (leave === undefined) leaves.set(step, present.enter(step));
        else {
          leave();
          leaves.delete(step);
          gone.push(leave);
        }
        gone[at % Math.max(gone.length, 1)]?.();
        expect(present.size).toBe(leaves.size);
        expect(present.all().toSorted((a, b) => a - b)).toEqual([...leaves.keys()].toSorted((a, b) => a - b));
      }
    }),
  );
});
