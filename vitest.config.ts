// Two suites of one tree: `npm test` runs *.test.ts, `npm run test:long` runs *.long.ts (soaks, kill schedules, silences).
import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig(({ mode }) => {
  const long = mode === 'long';
  return {
    test: {
      include: [long ? 'test/**/*.long.ts' : 'test/**/*.test.ts'],
      pool: 'forks',
      // Most of a file's time is waiting, for servers to start and limits to pass.
      maxWorkers: Math.max(3, availableParallelism() - 1),
      testTimeout: long ? 900_000 : 20_000,
      hookTimeout: 30_000,
    },
  };
});
