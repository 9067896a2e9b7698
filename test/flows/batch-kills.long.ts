// A hundred kills over five thousand lines, each at a moment that the seed decides.
import { expect, test } from 'vitest';
import { killWhileRunning } from '../stage/killed.ts';

test('100 kills over 5,000 lines: none is lost, none is told twice, and only what was under way runs again', async () => {
  const { again, kills } = await killWhileRunning({ lines: 5_000, kills: 100, seed: 20_261, slots: 8 });
  process.stdout.write(`lines that ran again: ${again}, of ${kills} kills with 8 slots\n`);
  expect(again).toBeLessThanOrEqual(kills * 8);
});
