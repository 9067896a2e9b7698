// Waiting for a batch's end, which may take a day: it asks less and less often, gateways that are started again or busy meanwhile
// are no end, and a terminal is shown how far it is.
import { styleText } from 'node:util';
import { hasEnded, type Batch } from './record.ts';
import type { Surroundings, Terminal } from './surroundings.ts';
import { cut, widthOf } from './text.ts';
import { BAR, barOf, progressOf, span } from './words.ts';
import { ApiFault, type GatewayApi } from '../gateway-api.ts';

const PAUSE_MS_MIN = 1000;
const PAUSE_MS_MAX = 10_000;
const GROWTH = 1.5;
/** How long it may be that the gateway does not answer. */
const PATIENCE_MS = 600_000;
const BAR_WIDTH_MAX = 40;

/** Ctrl-C: the batch goes on, only the waiting is over. */
export class Interrupted extends Error {}

/** @throws ApiFault when the gateway does not answer for PATIENCE_MS, or says what waiting does not change; Interrupted */
export async function untilEnded(first: Batch, api: GatewayApi, around: Surroundings): Promise<Batch> {
  const stop = new AbortController();
  using _ = around.interrupts(() => stop.abort(new Interrupted()));
  using seen = viewer(around);
  let batch = first;
  let pause_ms = PAUSE_MS_MIN;
  let least_ms = 0;
  let silent_since_ms: number | undefined;
  seen.show(batch);
  while (!hasEnded(batch)) {
    await around.pause(Math.max(pause_ms, least_ms), stop.signal);
    pause_ms = Math.min(pause_ms * GROWTH, PAUSE_MS_MAX);
    least_ms = 0;
    try {
      batch = await api.batch(batch.id, stop.signal);
      silent_since_ms = undefined;
      seen.show(batch);
    } catch (error) {
      if (!(error instanceof ApiFault) || !error.passing) throw error;
      const now_ms = around.now_ms();
      if (silent_since_ms === undefined) seen.say(`${error.message} (${error.code}); asking again`);
      silent_since_ms ??= now_ms;
      if (now_ms - silent_since_ms > PATIENCE_MS) throw error;
      least_ms = error.retry_after_ms ?? 0;
    }
  }
  return batch;
}

interface Viewer extends Disposable {
  show(batch: Batch): void;
  say(line: string): void;
}

/** A terminal has one line that changes; anything else gets a line where the status changes. */
function viewer({ terminal, fail, now_ms }: Surroundings): Viewer {
  if (terminal === undefined) {
    let status = '';
    return {
      show(batch) {
        if (batch.status !== status) fail(`${batch.id} ${batch.status} ${progressOf(batch)}`);
        status = batch.status;
      },
      say: fail,
      [Symbol.dispose]: () => undefined,
    };
  }
  const clear = (): void => terminal.write(CLEARED);
  return {
    show: (batch) => terminal.write(`${CLEARED}${barLine(batch, now_ms() / 1000, terminal)}`),
    say(line) {
      clear();
      fail(line);
    },
    [Symbol.dispose]: clear,
  };
}

/** To the line's beginning, and without what stands on it. */
const CLEARED = '\r\u001B[K';

/** One line that is never as wide as the terminal: one that is would be broken, and could not be written over. */
function barLine(batch: Batch, now_s: number, { columns, colour }: Omit<Terminal, 'write'>): string {
  const width = columns() - 1;
  const since = batch.times.created_at;
  const told = `${batch.status} ${progressOf(batch)}${since === undefined ? '' : ` ${span(now_s - since)}`}`;
  const cells = Math.min(BAR_WIDTH_MAX, width - widthOf(told) - 3);
  if (cells < 5) return cut(told, Math.max(0, width));
  const { completed, failed, left } = barOf(batch, cells);
  const bad = BAR.failed.repeat(failed);
  const shown = colour && failed > 0 ? styleText('red', bad, { validateStream: false }) : bad;
  return `[${BAR.completed.repeat(completed)}${shown}${BAR.left.repeat(left)}] ${told}`;
}
