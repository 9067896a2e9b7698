// Where the log's lines go: gathered for a moment, written together, never waited for. A reader that stands still costs
// lines, which are counted, and neither memory nor the process; one that has gone costs nothing at all.
import { write, writeSync } from 'node:fs';

/** What waits to be written; beyond it new lines are lost. A line has some 400 bytes. */
const PENDING_MAX = 16_384;
/** So many are written without waiting for more: each write is a trip through libuv's threads. */
const ENOUGH = 64;
const GATHER_MS = 200;
/** Until a write that the system did not take is tried again. */
const AGAIN_MS = 50;
/** The last lines have this long to be taken. */
const FLUSH_MS = 500;

export interface Lines<Line> {
  /** Nothing of it may change afterwards: it is made into text when it is written. */
  write(line: Line): void;
  /** Writes what is held back, waiting for it, within FLUSH_MS. Never throws. */
  flush(): void;
}

/**
 * `text` makes a line's text, for many lines at once: one between two requests would cost more. `lost`
 * makes the line that tells how many went missing, once there is room again.
 */
export function openLines<Line>(fd: number, text: (line: Line) => string, lost: (count: number) => Line): Lines<Line> {
  let gathered: Line[] = [];
  let leaving: Buffer = Buffer.alloc(0);
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
      leaving = taken();
    }
    if (leaving.length === 0) return;
    writing = true;
    write(fd, leaving, (error, bytes) => {
      writing = false;
      if (error !== null) {
        if (error.code === 'EPIPE') leave();
        // The pipe is full (EAGAIN), or the disk: both may pass.
        else later(AGAIN_MS);
        return;
      }
      leaving = leaving.subarray(bytes);
      if (leaving.length > 0 || gathered.length >= ENOUGH) send();
      else if (gathered.length > 0) later(GATHER_MS);
    });
  }

  function taken(): Buffer {
    const all = Buffer.from(gathered.map(text).join(''));
    gathered = [];
    return all;
  }

  function leave(): void {
    gone = true;
    gathered = [];
    leaving = Buffer.alloc(0);
  }

  return {
    write(line) {
      if (gone) return;
      if (gathered.length >= PENDING_MAX) {
        missed += 1;
        return;
      }
      if (missed > 0) gathered.push(lost(missed));
      missed = 0;
      gathered.push(line);
      if (gathered.length >= ENOUGH) send();
      else later(GATHER_MS);
    },
    flush() {
      // What a thread is writing now is out of our hands, and is not written twice.
      let rest = writing ? taken() : Buffer.concat([leaving, taken()]);
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
