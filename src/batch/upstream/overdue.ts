// Lines at a service whose batch of ours is over: cancelled, or out of time. Where the whole shard is to be cancelled, or its end
// is near, the service is heard first, since what it has finished is paid for; but not for ever.
import type { Books } from '../books.ts';
import type { Batch } from '../records/batches.ts';
import type { Sent } from '../records/sent.ts';
import { CANCELLED, EXPIRED, unanswered } from '../result.ts';

const TOGETHER = 500;

/** Whether anything was changed. */
export async function endOverdue(books: Books, sent: Sent, grace_ms: number, now: number): Promise<boolean> {
  let did = false;
  for (const batch of await books.batches.overdue(now)) {
    // The keeper turns it first.
    if (batch.status === 'in_progress') continue;
    for (const shard of await sent.shardsOf(batch.id)) {
      if (!(await waits(batch, shard, books, sent, grace_ms, now))) did = (await end(batch, shard, books, sent)) || did;
    }
  }
  return did;
}

/** Whether the service is to be heard first. */
async function waits(
  batch: Batch,
  id: string,
  books: Books,
  sent: Sent,
  grace_ms: number,
  now: number,
): Promise<boolean> {
  const shard = await books.shards.one(id);
  if (shard === undefined || (shard.state !== 'poll' && shard.state !== 'fetch')) return false;
  if (now > (batch.cancelling_at ?? batch.finalizing_at ?? batch.expires_at) + grace_ms) return false;
  if (batch.status !== 'cancelling' || shard.state === 'fetch') return true;
  if (await sent.wanted(id)) return false;
  await books.shards.cancel(id);
  return true;
}

async function end(batch: Batch, shard: string, books: Books, sent: Sent): Promise<boolean> {
  const { code, message } = batch.status === 'cancelling' ? CANCELLED : EXPIRED;
  for (let did = false; ; did = true) {
    const some = await sent.undone(shard, TOGETHER, { batch: batch.id });
    if (some.length === 0) return did;
    await Promise.all(some.map((line) => books.finish(unanswered(line, code, message))));
  }
}
