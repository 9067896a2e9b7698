// What the doctor says: one finding a check and subject, and what to do about it. A check that throws or hangs becomes a
// finding too, so that one sick part never hides the others.

/**
 * `note`: worth knowing, nothing to mend. `warn`: works, and will hurt one day. `fail`: requests fail, or soon will.
 * `skipped`: not looked at, and why.
 */
export type Status = 'ok' | 'note' | 'warn' | 'fail' | 'skipped';

export interface Finding {
  /** `area.what`, for scripts. */
  readonly check: string;
  /** What was looked at: a backend's name, a URL, a file. */
  readonly subject: string;
  readonly status: Status;
  /** What was seen, in one line, never holding a secret. */
  readonly found: string;
  /** What to do; empty where nothing is to be done. */
  readonly do: string;
}

/** Findings of one check on one subject: `about('redis.reachable', '10.0.0.5:6379').ok('answers')`. */
export function about(check: string, subject: string) {
  const make =
    (status: Status) =>
    (found: string, remedy = ''): Finding => ({ check, subject, status, found, do: remedy });
  return { ok: make('ok'), note: make('note'), warn: make('warn'), fail: make('fail'), skipped: make('skipped') };
}

/** Runs a part of the examination with a time limit. Never rejects. The signal aborts when the time is over. */
export async function within(
  wait_ms: number,
  check: string,
  subject: string,
  examine: (signal: AbortSignal) => Promise<readonly Finding[]>,
): Promise<readonly Finding[]> {
  const late = new AbortController();
  const { promise, resolve } = Promise.withResolvers<readonly Finding[]>();
  const timer = setTimeout(() => {
    resolve([about(check, subject).fail(`no result within ${wait_ms / 1000} s`, 'See why it hangs; then ask again.')]);
    late.abort();
  }, wait_ms);
  try {
    return await Promise.race([promise, examine(late.signal)]);
  } catch (error) {
    // By name and code only: a message may quote what it was about.
    const code = error instanceof Error && 'code' in error ? ` ${String(error.code)}` : '';
    const name = error instanceof Error ? error.name : typeof error;
    return [
      about(check, subject).fail(`the check itself broke (${name}${code})`, 'Tell us: this is a bug in Lanyard.'),
    ];
  } finally {
    clearTimeout(timer);
  }
}

/** `1 model`, `2 models`. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}

/** The first few names, and how many more there are. */
export function few(names: readonly string[], shown = 5): string {
  const more = names.length > shown ? `, and ${names.length - shown} more` : '';
  return `${names.slice(0, shown).join(', ')}${more}`;
}
