// Where the log's lines go: gathered for a moment, written together, never waited for. A reader that stands still costs
// lines, which are counted, and neither memory nor the process; one that has gone costs nothing at all.
import { write, writeSync } from 'node:fs';

/** What waits to be written; beyond it new lines are lost. */
const PENDING_BYTES_MAX = 8 << 20;
/** So much is written without waiting for more: each write is a trip through libuv's threads. */
const ENOUGH_BYTES = 32 * 1024;
const GATHER_MS = 200;
/** Until a write that the system did not take is tried again. */
const AGAIN_MS = 50;
/** The last lines have this long to be taken. */
const FLUSH_MS = 500;

export interface Lines {
  write(line: string): void;
  /** Writes what is held back, waiting for it, within FLUSH_MS. Never throws. */
  flush(): void;
}

/** `lost` makes the line that tells how many went missing, once there is room again. */
export function openLines(fd: number, lost: (count: number) => string): Lines {
  let gathered = '';
  let leaving = Buffer.alloc(0);
  let writing = false;
  let missed = 0;
  let gone = false;
  let timer: NodeJS.Timeout | undefined;

  function later(ms: number): void {
    timer ??= setTimeout(() => {
      timer = undefined;
      send();
    }, ms).unref();
  }

  function send(): void {
    if (writing) return;
    if (leaving.length === 0) {
      leaving = Buffer.from(gathered);
      gathered = '';
    }
    if (leaving.length === 0) return;
    writing = true;
    write(fd, leaving, (error, taken) => {
      writing = false;
      if (error !== null) {
        if (error.code === 'EPIPE') leave();
        // The pipe is full (EAGAIN), or the disk: both may pass.
        else later(AGAIN_MS);
        return;
      }
      leaving = leaving.subarray(taken);
      if (leaving.length > 0 || gathered.length >= ENOUGH_BYTES) send();
      else if (gathered !== '') later(GATHER_MS);
    });
  }

  function leave(): void {
    gone = true;
    gathered = '';
    leaving = Buffer.alloc(0);
  }

  return {
    write(line) {
      if (gone) return;
      if (gathered.length + leaving.length > PENDING_BYTES_MAX) {
        missed += 1;
        return;
      }
      if (missed > 0) gathered += lost(missed);
      missed = 0;
      gathered += line;
      if (gathered.length >= ENOUGH_BYTES) send();
      else later(GATHER_MS);
    },
    flush() {
      // What a thread is writing now is out of our hands, and is not written twice.
      let rest = writing ? Buffer.from(gathered) : Buffer.concat([leaving, Buffer.from(gathered)]);
      gathered = '';
      if (!writing) leaving = Buffer.alloc(0);
      const until = performance.now() + FLUSH_MS;
      while (rest.length > 0) {
        try {
          rest = rest.subarray(writeSync(fd, rest));
        } catch (error) {
          const full = error instanceof Error && 'code' in error && error.code === 'EAGAIN';
          if (!full || performance.now() > until) return;
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
        }
      }
    },
  };
}
