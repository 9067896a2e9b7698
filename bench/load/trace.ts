// Requests at moments of a seed's choosing (bursts, lulls, steady pressure), each sent at once to a limiter here and to one
// there, and what both decided and when that was known.
import { seeded } from '../../test/stage/random.ts';
import type { Decision } from '../exact.ts';
import type { Door } from '../gateways/gateway.ts';
import { dial, type RawCaller } from './raw.ts';

/** Milliseconds from the trace's begin, ascending. */
export function arrivals(seed: number, length_ms: number): number[] {
  const random = seeded(seed);
  const times: number[] = [];
  for (let now = 0; now < length_ms;) {
    const kind = random();
    if (kind < 0.3) {
      now += 100 + random() * 1_200;
      continue;
    }
    // A burst is over in a few milliseconds; pressure is 8 to 60 a second for up to two seconds.
    const burst = kind < 0.65;
    const apart_ms = burst ? random() * 0.3 : 1_000 / (8 + random() * 52);
    const end = now + (burst ? apart_ms * (5 + random() * 35) : 500 + random() * 1_500);
    // Random gaps, as of many who do not know of each other.
    for (; now < end && now < length_ms; now += -Math.log(1 - random()) * apart_ms) times.push(now);
  }
  return times;
}

/** Connections kept to one door, for one and the same request. */
export interface Line {
  /** Enough of them for so many at once. */
  open(connections: number): Promise<void>;
  ask(): Promise<Decision>;
  close(): void;
}

export function lineTo(door: Pick<Door, 'url'>, request: Buffer): Line {
  let callers: RawCaller[] = [];
  return {
    async open(connections) {
      callers = callers.filter(({ socket }) => !socket.destroyed);
      const missing = Math.max(0, connections - callers.length);
      callers.push(...(await Promise.all(Array.from({ length: missing }, () => dial(door)))));
    },
    async ask() {
      let caller = callers.find(({ free }) => free);
      // A busy machine: the request is sent later, and counts from then.
      if (caller === undefined) callers.push((caller = await dial(door)));
      const sent_us = performance.now() * 1_000;
      const { status, at } = await caller.ask(request);
      if (status !== 200 && status !== 429) throw new Error(`${door.url} answered ${status}`);
      return { sent_us, told_us: at * 1_000, admitted: status === 200 };
    },
    close() {
      for (const { socket } of callers) socket.destroy();
    },
  };
}

export interface Replayed {
  readonly here: readonly Decision[];
  readonly there: readonly Decision[];
}

/** `here` is several doors of one limiter, taken at random. */
export async function replay(
  times: readonly number[],
  here: readonly Line[],
  there: Line,
  seed: number,
): Promise<Replayed> {
  const random = seeded(seed);
  const begin = performance.now();
  const asked: Promise<readonly [Decision, Decision]>[] = [];
  for (const time of times) {
    await reach(begin + time);
    const door = here[Math.floor(random() * here.length)]!;
    const both = random() < 0.5 ? Promise.all([door.ask(), there.ask()]) : askLast(door, there);
    // Until all have been sent, nobody waits for it.
    both.catch(() => undefined);
    asked.push(both);
  }
  const decisions = await Promise.all(asked);
  return { here: decisions.map(([one]) => one), there: decisions.map(([, other]) => other) };
}

/** Neither limiter is always asked first. */
async function askLast(door: Line, there: Line): Promise<readonly [Decision, Decision]> {
  const other = there.ask();
  const [one] = await Promise.all([door.ask(), other]);
  return [one, await other];
}

/** A timer is a millisecond late; what is due sooner is waited for by turning. */
async function reach(due: number): Promise<void> {
  for (let left = due - performance.now(); left > 0; left = due - performance.now()) {
    await new Promise((resolve) => (left > 2 ? setTimeout(resolve, left - 1.5) : setImmediate(resolve)));
  }
}
