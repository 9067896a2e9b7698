// A body's memory goes with its last user, and never before.
import { expect, test } from 'vitest';
import { Lent, free } from '../../src/wire/lent.ts';

test('the bytes stay while anybody uses them, and are gone with the last', () => {
  const bytes = Buffer.allocUnsafeSlow(1 << 20).fill(1);
  const lent = new Lent(bytes);
  const [first, second] = [lent.borrow(), lent.borrow()];
  first();
  first();
  expect(bytes).toHaveLength(1 << 20);
  const view = bytes.subarray(10, 20);
  second();
  expect(bytes).toHaveLength(0);
  expect(view).toHaveLength(0);
  expect(() => second()).not.toThrow();
});

test('what shares its memory with others is left alone', () => {
  const whole = Buffer.allocUnsafeSlow(100).fill(1);
  free(whole.subarray(0, 50));
  expect(whole).toHaveLength(100);
  const pooled = Buffer.from('small');
  free(pooled);
  expect(pooled.toString()).toBe('small');
  free(Buffer.alloc(0));
});
