// What stands in a shard's file, and where: kept from before it is uploaded, since a service names the lines it finds fault with
// by number, and since an upload whose answer was lost is known by it.
import type { Place } from '../records/lines.ts';
import { isRecord, parseRecord } from '../../wire/record.ts';

export interface Layout {
  readonly bytes: number;
  readonly lines: number;
  /** Lines of a batch that stand one after the other: the first's number and the last's. */
  readonly runs: readonly (readonly [batch: string, from: number, to: number])[];
}

/** Puts a line at the end. */
export function extend(runs: [batch: string, from: number, to: number][], { batch, n }: Place): void {
  const last = runs.at(-1);
  if (last?.[0] === batch && last[2] === n - 1) last[2] = n;
  else runs.push([batch, n, n]);
}

/** Which line has this number, from 1. */
export function placeAt({ runs }: Layout, number: number): Place | undefined {
  let before = 0;
  for (const [batch, from, to] of runs) {
    const count = to - from + 1;
    if (number <= before + count) return number < 1 ? undefined : { batch, n: from + number - before - 1 };
    before += count;
  }
  return undefined;
}

export function readLayout(text: string | null): Layout | undefined {
  const layout = text === null ? undefined : parseRecord(text);
  return isRecord(layout) && Array.isArray(layout['runs']) ? (layout as unknown as Layout) : undefined;
}

/** A line's name at the service: lines of several batches share a file. */
export function customId({ batch, n }: Place): string {
  return `${batch}-${n}`;
}

/** `undefined` for what none of ours is called. */
export function readCustomId(text: string): Place | undefined {
  const found = /^(batch_[0-9a-zA-Z]{1,64})-(\d{1,9})$/.exec(text);
  return found === null ? undefined : { batch: found[1] ?? '', n: Number(found[2]) };
}
