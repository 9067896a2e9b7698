// However a body comes in parts, and whatever length was announced, it is put together whole.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Gather } from '../../src/wire/gather.ts';

test('any parts make the whole, announced or not, whether they stay as they are or not', () => {
  const part = fc.record({ size: fc.constantFrom(0, 1, 1_000, 100_000, 300_000), byte: fc.nat(255) });
  fc.assert(
    fc.property(
      fc.array(part, { maxLength: 8 }),
      fc.constantFrom('right', 'none', 'more'),
      fc.boolean(),
      (parts, told, views) => {
        const all = Buffer.concat(parts.map(({ size, byte }) => Buffer.alloc(size, byte)));
        const gather = new Gather(told === 'none' ? 0 : all.length + (told === 'more' ? 500_000 : 0), views);
        for (const { size, byte } of parts) {
          const bytes = Buffer.alloc(size, byte);
          gather.add(bytes);
          if (views) bytes.fill(~byte);
        }
        expect(gather.bytes).toBe(all.length);
        expect(gather.whole().equals(all)).toBe(true);
      },
    ),
    { numRuns: 200 },
  );
});

test('announcing a length takes no memory', () => {
  const before = process.memoryUsage().arrayBuffers;
  const gathers = Array.from({ length: 100 }, () => {
    const gather = new Gather(1 << 30, false);
    gather.add(Buffer.alloc(1_000));
    return gather;
  });
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10 << 20);
  expect(gathers).toHaveLength(100);
});
