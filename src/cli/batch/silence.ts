// How long nothing may happen, step by step of one exchange. What a step costs is its own: a file may take hours, a silent
// gateway may not.

export interface Silence extends Disposable {
  /** Aborts with a TimeoutError. */
  readonly signal: AbortSignal;
  /** From now on something must happen within so long. */
  within(ms: number): void;
  /** What is slow now is not the gateway. */
  rest(): void;
}

export function silence(): Silence {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let over = false;
  const rest = (): void => clearTimeout(timer);
  return {
    signal: late.signal,
    rest,
    within(ms) {
      rest();
      // Whatever still runs when it is over must not keep the process.
      if (!over) timer = setTimeout(() => late.abort(new DOMException('too long', 'TimeoutError')), ms);
    },
    [Symbol.dispose]() {
      over = true;
      rest();
    },
  };
}
