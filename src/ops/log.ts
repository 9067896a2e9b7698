// The log: one JSON line an event on standard error. Redaction lives here: no key, prompt or answer reaches it, because
// errors are told by name, code and stack frames, never by their message (JSON.parse quotes its input in it).
import { openLines } from './lines.ts';
import type { LogLevel } from '../types.ts';

type Fields = Readonly<Record<string, string | number | boolean | undefined | null>>;

export interface Log {
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
  level(level: LogLevel): void;
  /** Writes what is still held back. */
  flush(): void;
}

const RANKS = { DEBUG: 0, INFO: 1, WARNING: 2, ERROR: 3 } as const satisfies Record<LogLevel, number>;
/** As they stand in a line, by rank. */
const NAMES = ['debug', 'info', 'warn', 'error'] as const;

/** `fd`: an open file, standard error unless given; lines are held back for a moment and written together. */
export function openLog(level: LogLevel, fd = 2): Log {
  // Opened as a stream, a pipe no longer blocks who writes to it (libuv's uv_pipe_open). Without a listener, what else
  // writes to a pipe whose reader has gone would end the process.
  if (fd === 2) process.stderr.on('error', () => undefined);
  const stamp = stamps();
  const line = ({ name, at_ms, message, fields }: Entry): string =>
    `${JSON.stringify({ level: name, time: stamp(at_ms), ...fields, msg: message })}\n`;
  const lost = (count: number): Entry => ({
    name: 'warn',
    at_ms: Date.now(),
    message: 'log lines lost: they were not read',
    fields: { count },
  });
  const lines = openLines(fd, line, lost);
  let least: number = RANKS[level];
  const at =
    (rank: number) =>
    (message: string, fields?: Fields): void => {
      if (rank >= least) lines.write({ name: NAMES[rank] ?? 'error', at_ms: Date.now(), message, fields });
    };
  return {
    debug: at(RANKS.DEBUG),
    info: at(RANKS.INFO),
    warn: at(RANKS.WARNING),
    error: at(RANKS.ERROR),
    level: (next) => {
      least = RANKS[next];
    },
    flush: () => lines.flush(),
  };
}

/** One line, not made yet. */
interface Entry {
  readonly name: (typeof NAMES)[number];
  readonly at_ms: number;
  readonly message: string;
  readonly fields: Fields | undefined;
}

/** ISO 8601 in UTC. The lines of one millisecond share a stamp: making it costs as much as half a line. */
function stamps(): (at_ms: number) => string {
  let made_at = Number.NaN;
  let stamp = '';
  return (at_ms) => {
    if (at_ms !== made_at) stamp = new Date(at_ms).toISOString();
    made_at = at_ms;
    return stamp;
  };
}

/** An unexpected error for the log: what and where, without its message. */
export function describeError(error: unknown): { error: string; stack: string | undefined } {
  if (!(error instanceof Error)) return { error: typeof error, stack: undefined };
  const code = 'code' in error && typeof error.code === 'string' ? ` ${error.code}` : '';
  // The stack begins with the message, and a line of that may look like a frame.
  const { message, stack = '' } = error;
  const frames = stack
    .slice(stack.indexOf(message) + message.length)
    .split('\n')
    .filter((line) => line.startsWith('    at '));
  return { error: `${error.name}${code}`, stack: frames.slice(0, 8).join('\n') };
}
