// Gateways that share a database share their batches. Ten thousand lines: batch-shared.long.ts.
import { expect, test } from 'vitest';
import { AGAIN_MAX, shareAndKill } from '../stage/shared.ts';

test('two gateways share 1,200 lines, one is killed, and every line is told once', async () => {
  const { again } = await shareAndKill(1_200, 150);
  expect(again).toBeLessThanOrEqual(AGAIN_MAX);
}, 60_000);
