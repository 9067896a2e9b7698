// Ten thousand lines shared by two gateways on one PostgreSQL, one of them killed.
import { expect, test } from 'vitest';
import { AGAIN_MAX, shareAndKill } from '../stage/shared.ts';

test('two gateways share 10,000 lines, one is killed, and every line is told once', async () => {
  const { ran, again } = await shareAndKill(10_000);
  process.stdout.write(`lines run by each: ${ran.join(' and ')}; again: ${again}\n`);
  expect(again).toBeLessThanOrEqual(AGAIN_MAX);
});
