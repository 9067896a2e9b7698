// Loaded into a Node.js gateway before its own code (`--import …/stall-watch.ts?to=FILE`): how long its event loop stood
// still at most, garbage collection included. At each SIGUSR2 a line with the milliseconds since the last one is written.
import { appendFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const RESOLUTION_MS = 1;

const file = new URL(import.meta.url).searchParams.get('to');
if (file === null) throw new Error('stall-watch.ts?to=FILE');
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
delay.enable();
process.on('SIGUSR2', () => {
  // What it measures is the time between two turns that are RESOLUTION_MS apart when nothing holds them up.
  const longest_ms = delay.count === 0 ? 0 : Math.max(0, delay.max / 1e6 - RESOLUTION_MS);
  delay.reset();
  appendFileSync(file, `${longest_ms.toFixed(3)}\n`);
});
