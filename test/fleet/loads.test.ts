// One load for all who wait for it: who leaves only stops waiting, a failure is told to all, and times are learned.
import { getEventListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Loads } from '../../src/fleet/loads.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const settled = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

/** Loads, each ended by hand, and what became of those who waited. */
function bench() {
  const loads = new Loads();
  const begun: (PromiseWithResolvers<void> & { model: string })[] = [];
  const told: string[] = [];
  return {
    loads,
    begun,
    told,
    join: (who: string, model = 'm', signal = new AbortController().signal): Promise<void> =>
      loads
        .join(
          model,
          () => {
            const load = { ...Promise.withResolvers<void>(), model };
            begun.push(load);
            return load.promise;
          },
          signal,
        )
        .then(
          () => void told.push(`${who} has it`),
          (error: Error) => void told.push(`${who}: ${error.message}`),
        ),
  };
}

describe('a load', () => {
  test('is begun once, whoever waits for it, and is over for all at once', async () => {
    const { join, begun, told, loads } = bench();
    for (const who of ['1', '2', '3']) void join(who);
    await settled();
    expect(begun).toHaveLength(1);
    expect([told, loads.loaded('m')]).toEqual([[], false]);
    begun[0]?.resolve();
    await settled();
    expect(told).toEqual(['1 has it', '2 has it', '3 has it']);
    expect(loads.loaded('m')).toBe(true);
  });

  test('is one for each model', async () => {
    const { join, begun, told } = bench();
    void join('1', 'm');
    void join('2', 'n');
    await settled();
    expect(begun.map(({ model }) => model)).toEqual(['m', 'n']);
    begun[1]?.resolve();
    await settled();
    expect(told).toEqual(['2 has it']);
  });

  test('that is over is begun anew by who asks again', async () => {
    const { join, begun } = bench();
    void join('1');
    begun[0]?.resolve();
    await settled();
    void join('2');
    await settled();
    expect(begun).toHaveLength(2);
  });

  test('that fails is told to all as it is, and the next one begins anew', async () => {
    const { join, begun, told, loads } = bench();
    void join('1');
    void join('2');
    begun[0]?.reject(new Error('no memory'));
    await settled();
    expect(told).toEqual(['1: no memory', '2: no memory']);
    expect([loads.loaded('m'), loads.tookMs('m'), loads.leftMs('m', 0)]).toEqual([false, undefined, undefined]);
    void join('3');
    begun[1]?.resolve();
    await settled();
    expect(told.at(-1)).toBe('3 has it');
  });

  test('that cannot even begin is nobody’s but who asked, and the next one begins anew', async () => {
    const { join, begun, told, loads } = bench();
    const begin = (): never => {
      throw new Error('bug');
    };
    await expect(loads.join('m', begin, new AbortController().signal)).rejects.toThrow('bug');
    void join('2');
    begun[0]?.resolve();
    await settled();
    expect(told).toEqual(['2 has it']);
  });
});

describe('who leaves', () => {
  test('stops waiting at once, and the load goes on for the others', async () => {
    const { join, begun, told } = bench();
    const leaver = new AbortController();
    void join('1', 'm', leaver.signal);
    void join('2');
    await settled();
    leaver.abort(new Error('gone'));
    await settled();
    expect(told).toEqual(['1: gone']);
    begun[0]?.resolve();
    await settled();
    expect(told).toEqual(['1: gone', '2 has it']);
  });

  test('last leaves the load to whoever asks again', async () => {
    const { join, begun, told, loads } = bench();
    const leaver = new AbortController();
    void join('1', 'm', leaver.signal);
    leaver.abort(new Error('gone'));
    await settled();
    void join('2');
    await settled();
    expect(begun).toHaveLength(1);
    begun[0]?.resolve();
    await settled();
    expect(told).toEqual(['1: gone', '2 has it']);
    expect(loads.loaded('m')).toBe(true);
  });

  test('last hears nothing of its failure, and neither does the process', async () => {
    const { join, begun, told } = bench();
    const leaver = new AbortController();
    void join('1', 'm', leaver.signal);
    leaver.abort(new Error('gone'));
    await settled();
    begun[0]?.reject(new Error('no memory'));
    await settled();
    expect(told).toEqual(['1: gone']);
  });

  test('before it asks begins nothing', async () => {
    const { join, begun, told } = bench();
    await join('1', 'm', AbortSignal.abort(new Error('gone')));
    expect([told, begun]).toEqual([['1: gone'], []]);
  });

  test('is not listened to any more, once its wait is over', async () => {
    const { join, begun } = bench();
    const { signal } = new AbortController();
    void join('1', 'm', signal);
    await settled();
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    begun[0]?.resolve();
    await settled();
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });
});

describe('how long a load takes', () => {
  test('is learned, and halfway anew each time', async () => {
    const { join, begun, loads } = bench();
    for (const [took_ms, known_ms] of [
      [8_000, 8_000],
      [4_000, 6_000],
    ] as const) {
      void join('1');
      await vi.advanceTimersByTimeAsync(took_ms);
      begun.at(-1)?.resolve();
      await settled();
      expect(loads.tookMs('m')).toBeCloseTo(known_ms);
    }
    expect(loads.tookMs('n')).toBeUndefined();
  });

  test('tells what is left of the one under way, and never less than nothing', async () => {
    const { join, begun, loads } = bench();
    loads.took('m', 8_000);
    const left = (): number | undefined => loads.leftMs('m', performance.now());
    expect(left()).toBeUndefined();
    void join('1');
    await vi.advanceTimersByTimeAsync(3_000);
    expect(left()).toBeCloseTo(5_000);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(left()).toBe(0);
    begun[0]?.resolve();
    await settled();
    expect(left()).toBeUndefined();
  });

  test('tells nothing of a model that was never seen to load', async () => {
    const { join, loads } = bench();
    void join('1');
    await settled();
    expect(loads.leftMs('m', performance.now())).toBeUndefined();
  });
});

test('a model that answered is loaded, until the backend tells what it holds', () => {
  const loads = new Loads();
  loads.seen('m');
  expect([loads.loaded('m'), loads.loaded('n')]).toEqual([true, false]);
  loads.forget();
  expect(loads.loaded('m')).toBe(false);
});
