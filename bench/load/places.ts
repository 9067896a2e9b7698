// Streams held open where so many may be at once, over any number of doors to one limiter: more are asked for than there are
// places, some leave, more are asked for again; and in the end many come and go at the same time.
import { setTimeout as pause } from 'node:timers/promises';
import type { Door } from '../gateways/gateway.ts';
import { dial, postTo, type RawCaller } from './raw.ts';

export interface Held {
  /** Open at the same time, at most: a caller's own stream is open from its answer until the caller leaves. */
  readonly most: number;
  /** Open once more had been asked for than there are places, at least. */
  readonly fewest: number;
}

const AT_ONCE = 40;
/** By then a place whose caller has left must be free again. */
const GIVEN_BACK_MS = 100;
const COME_AND_GO = 100;

export async function holdPlaces(
  doors: readonly Door[],
  body: string,
  turns: number,
  random: () => number,
): Promise<Held> {
  const open = new Set<RawCaller>();
  let most = 0;
  let fewest = Infinity;

  async function ask(door: Door, caller: RawCaller): Promise<void> {
    const { status } = await caller.ask(postTo(door, 'chat/completions', body));
    if (status === 200) open.add(caller);
    else caller.socket.destroy();
    if (status !== 200 && status !== 429) throw new Error(`${door.url} answered ${status}`);
    most = Math.max(most, open.size);
  }

  function leave(count: number): void {
    for (const caller of [...open].toSorted(() => random() - 0.5).slice(0, count)) {
      open.delete(caller);
      caller.socket.end();
    }
  }

  async function come(count: number): Promise<void> {
    const callers = await Promise.all(
      Array.from({ length: count }, async () => {
        const door = doors[Math.floor(random() * doors.length)]!;
        return [door, await dial(door)] as const;
      }),
    );
    await Promise.all(callers.map(([door, caller]) => ask(door, caller)));
  }

  for (let turn = 0; turn < turns; turn += 1) {
    await come(AT_ONCE);
    fewest = Math.min(fewest, open.size);
    leave(1 + Math.floor(random() * open.size));
    await pause(GIVEN_BACK_MS);
  }
  for (let n = 0; n < COME_AND_GO; n += 1) {
    leave(Math.floor(random() * 3));
    await come(2);
  }
  leave(open.size);
  await pause(GIVEN_BACK_MS);
  return { most, fewest };
}
