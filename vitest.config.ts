// Three suites of one tree: `npm test` runs *.test.ts, `npm run test:long` runs *.long.ts (soaks, kill schedules, silences), and
// `npm run test:engines` runs *.real.ts (engines built from source).
import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig(({ mode }) => {
  const long = mode === 'long';
  return {
    test: {
      include: [`test/**/*.${long ? 'long' : mode === 'real' ? 'real' : 'test'}.ts`],
      pool: 'forks',
      // Most of a file's time is waiting, for servers to start and limits to pass.
      maxWorkers: Math.max(3, availableParallelism() - 1),
      testTimeout: long ? 900_000 : 20_000,
      hookTimeout: 30_000,
    },
  };
});
