// What `lanyard batch` and `lanyard monitor` take from where they run; tests say it.
import type { Writable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { toStandardError } from '../standard-error.ts';

export interface Surroundings {
  readonly dir: string;
  readonly stdin: AsyncIterable<Uint8Array>;
  /** Standard output, for bytes as they are. */
  readonly stdout: Writable;
  /** One line of standard error. */
  readonly fail: (line: string) => void;
  /** Standard error where it is a terminal: for what is written over again and again. */
  readonly terminal: Terminal | undefined;
  readonly now_ms: () => number;
  /** Rejects with the signal's reason. */
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Calls `stop` on Ctrl-C, until it is disposed of. */
  readonly interrupts: (stop: () => void) => Disposable;
}

export interface Terminal {
  readonly columns: () => number;
  readonly write: (text: string) => void;
  readonly colour: boolean;
}

export function usualSurroundings(): Surroundings {
  const { stderr } = process;
  return {
    dir: process.cwd(),
    get stdin() {
      return process.stdin;
    },
    get stdout() {
      return process.stdout;
    },
    fail: toStandardError,
    terminal: stderr.isTTY
      ? {
          columns: () => stderr.columns || 80,
          write: (text) => void stderr.write(text),
          colour: !process.env['NO_COLOR'],
        }
      : undefined,
    now_ms: Date.now,
    async pause(ms, signal) {
      try {
        await pause(ms, undefined, { signal });
      } catch {
        signal.throwIfAborted();
      }
    },
    interrupts(stop) {
      process.once('SIGINT', stop);
      return { [Symbol.dispose]: () => void process.off('SIGINT', stop) };
    },
  };
}
