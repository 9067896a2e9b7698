// The units an operator writes: whole numbers, durations, sizes, rates. Each has one spelling, one message and a range;
// what is outside is refused, never clamped. Text of digits is a number too, because `${NAME}` always gives text.
import { z } from 'zod';
import type { Rate } from '../types.ts';

/** What Node's timers can hold: a longer wait would fire at once instead of never. */
const MS_MAX = 2_147_483_647;
/** A Buffer of more is refused by some of the platforms Node runs on. */
const BYTES_MAX = 2_147_483_647;

const MS = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
]);
const BYTES = new Map([
  ['B', 1],
  ['KB', 1000],
  ['MB', 1000 ** 2],
  ['GB', 1000 ** 3],
  ['KiB', 1024],
  ['MiB', 1024 ** 2],
  ['GiB', 1024 ** 3],
]);
const DAY_MS = 86_400_000;
const AGE_MS = new Map([...MS, ['d', DAY_MS]]);
const VOLUMES = new Map([...BYTES, ['TB', 1000 ** 4], ['TiB', 1024 ** 4]]);
const PER_MS = new Map([
  ['s', 1000],
  ['min', 60_000],
  ['h', 3_600_000],
]);

/** A whole number from `min` to `max`. */
export function whole(min: number, max: number) {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.preprocess(fromDigits, z.int({ error }).min(min, { error }).max(max, { error }));
}

/** `true` or `false`. */
export function flag() {
  return z.preprocess(fromWord, z.boolean({ error: 'must be true or false' }));
}

/** Milliseconds, from `250ms`, `5s`, `10m`, `1h` or a whole number of milliseconds. */
export function duration(min_ms: 0 | 1) {
  const error = `must be a duration such as 250ms, 5s, 10m or 1h, or whole milliseconds, from ${min_ms}ms to 596h`;
  return measure(/^(0|[1-9]\d{0,9})(ms|s|m|h)?$/, MS, min_ms, MS_MAX, error);
}

/** Milliseconds as well, but no timer's: from `1h`, `30d` or a whole number of milliseconds, up to ten years. */
export function age() {
  const error = 'must be an age such as 30m, 12h or 30d, from 1s to 3650d';
  return measure(/^(0|[1-9]\d{0,9})(ms|s|m|h|d)?$/, AGE_MS, 1000, 3650 * DAY_MS, error);
}

/** Bytes of a store, which may be more than one Buffer's: from `1MB`, `20GiB`, `2TB` or a whole number of bytes. */
export function volume() {
  const error = 'must be a size such as 500MB, 20GiB or 2TB, or whole bytes, from 1 to 1PB';
  return measure(/^(0|[1-9]\d{0,15})(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$/, VOLUMES, 1, 1e15, error);
}

/** Bytes, from `64KiB`, `32MiB`, `10MB` or a whole number of bytes. */
export function size() {
  const error = 'must be a size such as 64KiB, 32MiB or 10MB, or whole bytes, from 1 to 2147483647';
  return measure(/^(0|[1-9]\d{0,9})(B|KB|MB|GB|KiB|MiB|GiB)?$/, BYTES, 1, BYTES_MAX, error);
}

/** `10/s`, `30/min`, `500/h`. */
export function rate() {
  const error = 'must be a rate such as 10/s, 30/min or 500/h: a whole number from 1 to 1000000, per s, min or h';
  return z
    .string({ error })
    .regex(/^([1-9]\d{0,5}|1000000)\/(s|min|h)$/, { error, abort: true })
    .transform((text): Rate => {
      const slash = text.indexOf('/');
      return { count: Number(text.slice(0, slash)), per_ms: PER_MS.get(text.slice(slash + 1)) ?? Number.NaN };
    });
}

/** Two seconds' worth of a rate, rounded up: 20 for `10/s`, 1 for `1/min`. */
export function usualBurst(rate: Rate): number {
  return Math.ceil((2000 * rate.count) / rate.per_ms);
}

function measure(pattern: RegExp, units: ReadonlyMap<string, number>, min: number, max: number, error: string) {
  return z
    .union([z.int({ error }).min(min, { error }).max(max, { error }), z.string({ error }).regex(pattern, { error })], {
      error,
    })
    .transform((value, context) => {
      if (typeof value === 'number') return value;
      const [, digits, unit] = pattern.exec(value) ?? [];
      const amount = Number(digits) * (unit === undefined ? 1 : (units.get(unit) ?? Number.NaN));
      if (amount >= min && amount <= max) return amount;
      context.addIssue({ code: 'custom', message: error });
      return z.NEVER;
    });
}

function fromDigits(value: unknown): unknown {
  return typeof value === 'string' && /^(0|[1-9]\d{0,14})$/.test(value) ? Number(value) : value;
}

function fromWord(value: unknown): unknown {
  // `True` is how Python's settings are written.
  const word = typeof value === 'string' ? value.toLowerCase() : value;
  return word === 'true' ? true : word === 'false' ? false : value;
}
