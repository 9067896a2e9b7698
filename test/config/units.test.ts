// Numbers, durations, sizes and rates: each is read from its spelling exactly, and from nothing else.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { duration, flag, rate, size, usualBurst, whole } from '../../src/config/units.ts';

describe('durations', () => {
  test.each([
    ['0s', 0],
    ['250ms', 250],
    ['5s', 5000],
    ['10m', 600_000],
    ['1h', 3_600_000],
    ['2147483647ms', 2_147_483_647],
    [1500, 1500],
    ['1500', 1500],
  ])('%s is %i ms', (written, ms) => {
    expect(duration(0).parse(written)).toBe(ms);
  });

  test.each([
    '',
    's',
    '5 s',
    ' 5s',
    '5S',
    '1.5s',
    '-1s',
    '+1s',
    '1e3',
    '05s',
    '5d',
    '5sec',
    '1h30m',
    '2147483648ms',
    '5s\n',
    '٥s',
    1.5,
    -1,
    Number.NaN,
    Infinity,
    true,
    null,
    {},
    [],
  ])('%j is refused', (written) => {
    expect(duration(0).safeParse(written).success).toBe(false);
  });

  test('nothing is no duration where one millisecond is the least', () => {
    expect(duration(1).safeParse('0s').success).toBe(false);
    expect(duration(1).safeParse(0).success).toBe(false);
  });

  test('every amount in every unit is read exactly or refused, never clamped', () => {
    const units = fc.constantFrom(
      ['ms', 1] as const,
      ['s', 1000] as const,
      ['m', 60_000] as const,
      ['h', 3_600_000] as const,
    );
    fc.assert(
      fc.property(fc.nat(4_000_000_000), units, (amount, [unit, ms]) => {
        const read = duration(0).safeParse(`${amount}${unit}`);
        expect(read.data).toBe(amount * ms <= 2_147_483_647 ? amount * ms : undefined);
      }),
    );
  });

  test('arbitrary text is refused unless it is a duration', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(duration(0).safeParse(text).success).toBe(
          /^(0|[1-9]\d*)(ms|s|m|h)?$/.test(text) && !text.endsWith('\n'),
        );
      }),
    );
  });
});

describe('sizes', () => {
  test.each([
    ['1B', 1],
    ['1KB', 1000],
    ['10MB', 10_000_000],
    ['64KiB', 65_536],
    ['32MiB', 33_554_432],
    ['1GiB', 1_073_741_824],
    [4096, 4096],
  ])('%s is %i bytes', (written, bytes) => {
    expect(size().parse(written)).toBe(bytes);
  });

  test.each(['0', 0, '1kb', '1M', '1.5MiB', '2GiB', '32 MiB', -1, ''])('%j is refused', (written) => {
    expect(size().safeParse(written).success).toBe(false);
  });
});

describe('rates', () => {
  test.each([
    ['10/s', 10, 1000, 20],
    ['1/s', 1, 1000, 2],
    ['30/min', 30, 60_000, 1],
    ['31/min', 31, 60_000, 2],
    ['1/min', 1, 60_000, 1],
    ['1/h', 1, 3_600_000, 1],
    ['3600/h', 3600, 3_600_000, 2],
    ['1000000/s', 1_000_000, 1000, 2_000_000],
  ])('%s is %i in %i ms, and its usual burst is %i', (written, count, per_ms, burst) => {
    expect(rate().parse(written)).toEqual({ count, per_ms });
    expect(usualBurst({ count, per_ms })).toBe(burst);
  });

  test.each([
    '0/s',
    '10',
    10,
    '10/',
    '/s',
    '10/S',
    '10/sec',
    '10/m',
    '1.5/s',
    '10 / s',
    '10/s ',
    '1000001/s',
    '-1/s',
    null,
  ])('%j is refused', (written) => {
    expect(rate().safeParse(written).success).toBe(false);
  });

  test('a usual burst is two seconds of the rate, rounded up, and never nothing', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000_000 }), fc.constantFrom(1000, 60_000, 3_600_000), (count, per_ms) => {
        const burst = usualBurst({ count, per_ms });
        expect(burst).toBeGreaterThanOrEqual(1);
        expect(burst).toBeGreaterThanOrEqual((2000 * count) / per_ms);
        expect(burst - 1).toBeLessThan((2000 * count) / per_ms);
      }),
    );
  });
});

describe('numbers and flags', () => {
  test('are read from the text that a variable gives', () => {
    expect(whole(0, 65_535).parse('4000')).toBe(4000);
    expect(flag().parse('true')).toBe(true);
    expect(flag().parse('false')).toBe(false);
  });

  test.each([
    '',
    ' 1',
    '1 ',
    '01',
    '0x10',
    '1e3',
    '1_000',
    '1.0',
    '-1',
    '65536',
    null,
    true,
    [1],
    '99999999999999999999',
  ])('%j is no port', (written) => {
    expect(whole(0, 65_535).safeParse(written).success).toBe(false);
  });

  test.each(['', 'yes', 'no', 'Yes', '1', 0, 1, null])('%j is no flag', (written) => {
    expect(flag().safeParse(written).success).toBe(false);
  });
});
