// Waiting for what may outlast the one who waits.
import { setTimeout as pause } from 'node:timers/promises';

/** The work's result, or the signal's reason when that comes first; the work goes on. */
export async function waitFor<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const left = Promise.withResolvers<never>();
  const leave = (): void => left.reject(signal.reason);
  signal.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([work, left.promise]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}

/** Resolves with the promise, or after so long. */
export async function within(wait_ms: number, promise: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  await Promise.race([promise, pause(wait_ms, undefined, over).catch(() => undefined)]);
  over.abort();
}
