import { expect, test } from 'vitest';
import { Turns } from '../../../src/batch/db/turns.ts';

/** What has begun, in order. */
function started(turns: Turns): { order: string[]; pass: (name: string) => void; hold: (name: string) => void } {
  const order: string[] = [];
  return {
    order,
    pass: (name) => void turns.pass(async () => order.push(name)),
    hold: (name) => void turns.hold().then(() => order.push(name)),
  };
}

test('without a transaction nobody waits, not even for those before', () => {
  const { order, pass } = started(new Turns());
  pass('a');
  pass('b');
  expect(order).toEqual(['a', 'b']);
});

test('gives turns in the order they were asked for, queries and transactions alike', async () => {
  const turns = new Turns();
  const { order, pass, hold } = started(turns);
  await turns.hold();
  pass('a');
  pass('b');
  hold('first');
  pass('c');
  hold('second');
  await Promise.resolve();
  expect(order).toEqual([]);
  turns.release();
  await Promise.resolve();
  expect(order).toEqual(['a', 'b', 'first']);
  // Who comes now is behind those who wait.
  pass('d');
  turns.release();
  await Promise.resolve();
  expect(order).toEqual(['a', 'b', 'first', 'c', 'second']);
  turns.release();
  expect(order).toEqual(['a', 'b', 'first', 'c', 'second', 'd']);
});

test('who waits for a transaction that does not end is told so, and the others keep their turns', async () => {
  const turns = new Turns(1);
  await turns.hold();
  const told = /held the database for more than 1 ms/;
  await expect(turns.pass(async () => 1)).rejects.toThrow(told);
  await expect(turns.hold()).rejects.toThrow(told);
  turns.release();
  await expect(turns.pass(async () => 2)).resolves.toBe(2);
});

test('what a query throws is its own', async () => {
  const turns = new Turns();
  await turns.hold();
  const failing = turns.pass(() => Promise.reject(new Error('mine')));
  const next = turns.pass(async () => 'fine');
  turns.release();
  await expect(failing).rejects.toThrow('mine');
  expect(await next).toBe('fine');
});
