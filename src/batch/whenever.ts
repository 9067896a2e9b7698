// Batches opened as soon as their database can be reached. Where it is away at the start the gateway serves all else meanwhile:
// nobody's editor waits for a database.
import { setTimeout as sleep } from 'node:timers/promises';
import { openBatching, type Batching, type BatchingOptions } from './batching.ts';
import { faultOf } from './db/fault.ts';

export interface Opening {
  /** Stops the batches, or the attempts to open them. */
  stop(): Promise<void>;
}

const AGAIN_MS = 2_000;

/** `opened` is called once they are. @throws DatabaseError for what no waiting will change */
export async function openBatchingWhenever(
  options: BatchingOptions & { readonly opened: (batching: Batching) => void },
): Promise<Opening> {
  const { means, opened } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  let batching: Batching | undefined;
  const open = async (): Promise<boolean> => {
    try {
      batching = await openBatching(options);
    } catch (error) {
      if (faultOf(error) !== 'gone') throw error;
      return false;
    }
    if (!signal.aborted) opened(batching);
    return true;
  };
  const goOn = async (): Promise<void> => {
    while (!signal.aborted && !(await open())) await sleep(AGAIN_MS, undefined, { signal }).catch(() => undefined);
    if (!signal.aborted) means.log.info('the database of batches answers');
  };
  let trying = Promise.resolve();
  if (!(await open())) {
    means.log.warn('the database of batches cannot be reached: they are opened as soon as it answers');
    trying = goOn().catch(() =>
      means.log.error('the database of batches cannot be used: see `lanyard check`, and restart'),
    );
  }
  return {
    async stop() {
      stopping.abort();
      await trying;
      await batching?.stop();
    },
  };
}
