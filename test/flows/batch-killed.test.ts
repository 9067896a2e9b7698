// Progress survives a kill -9 at any moment. A hundred kills: batch-kills.long.ts.
import { expect, test } from 'vitest';
import { killWhileRunning } from '../stage/killed.ts';

test('five kills over 400 lines: none is lost, none is told twice, and only what was under way runs again', async () => {
  const { again, kills } = await killWhileRunning({ lines: 400, kills: 5, seed: 6, slots: 8 });
  expect(again).toBeLessThanOrEqual(kills * 8);
}, 60_000);
