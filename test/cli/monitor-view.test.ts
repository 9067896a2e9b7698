// The monitor's pure parts: what keys and news do, and what is drawn in windows of any size.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { countsOf, readBatch, STATUSES, type Batch } from '../../src/cli/batch/record.ts';
import { abridged, clean, cut, fitted, widthOf, wrapped } from '../../src/cli/batch/text.ts';
import { age, barOf, span } from '../../src/cli/batch/words.ts';
import { commandsOf } from '../../src/cli/monitor/keys.ts';
import { heightOf, roomOf, textOf } from '../../src/cli/monitor/layout.ts';
import {
  begin,
  changed,
  listed,
  placeOf,
  TABS,
  type Action,
  type Move,
  type State,
} from '../../src/cli/monitor/state.ts';
import { linesOf, onceOf } from '../../src/cli/monitor/view.ts';
import { NOW_S } from './batch-ran.ts';
import { makeBatch } from './batch-stub.ts';

const NOW_MS = NOW_S * 1000;

function batchOf(id: string, status: string, more: Record<string, unknown> = {}): Batch {
  const batch = readBatch(makeBatch(id, status, more));
  if (batch === undefined) throw new Error('no batch');
  return batch;
}

/** Thirty of them, b30 first; of each status about as many. */
const THIRTY = Array.from({ length: 30 }, (_, at) => batchOf(`b${30 - at}`, STATUSES[at % 8] ?? ''));

function opened(more: Partial<Parameters<typeof begin>[0]> = {}): State {
  const window = { columns: 80, rows: 24 };
  return begin({ url: 'http://gateway', all: false, batches: THIRTY, more: false, now_ms: NOW_MS, ...window, ...more });
}

function moved(state: State, ...moves: Move[]): State {
  return moves.reduce((before, move) => changed(before, { type: 'move', move }), state);
}

function drawn(state: State): string[] {
  return linesOf(state).map((line) => textOf(line).trimEnd());
}

describe('what keys do', () => {
  test.each<[string, Parameters<typeof commandsOf>[1], ReturnType<typeof commandsOf>]>([
    ['', { upArrow: true }, ['up']],
    ['', { downArrow: true }, ['down']],
    ['', { leftArrow: true }, ['left']],
    ['', { rightArrow: true }, ['right']],
    ['', { tab: true }, ['right']],
    ['', { tab: true, shift: true }, ['left']],
    ['', { pageUp: true }, ['page_up']],
    ['', { pageDown: true }, ['page_down']],
    ['', { home: true }, ['first']],
    ['', { end: true }, ['last']],
    ['', { return: true }, ['details']],
    ['', { escape: true }, ['quit']],
    ['c', { ctrl: true }, ['quit']],
    ['d', { ctrl: true }, []],
    ['j', { meta: true }, []],
    ['k', {}, ['up']],
    ['h', {}, ['left']],
    ['l', {}, ['right']],
    ['g', {}, ['first']],
    ['G', { shift: true }, ['last']],
    ['r', {}, ['refresh']],
    ['q', {}, ['quit']],
    ['jjkx', {}, ['down', 'down', 'up']],
    ['', {}, []],
  ])('%j with %j means %j', (input, key, commands) => {
    expect(commandsOf(input, key)).toEqual(commands);
  });

  test.each<[Move[], string]>([
    [[], 'b30'],
    [['down', 'down', 'up'], 'b29'],
    [['up'], 'b30'],
    [['last'], 'b1'],
    [['last', 'down'], 'b1'],
    [['last', 'page_up'], 'b19'],
    [['page_down'], 'b12'],
    [['page_down', 'page_down', 'page_down', 'first'], 'b30'],
    [['right'], 'b30'],
    [['right', 'right'], 'b29'],
    [['left'], 'b23'],
    [['down', 'right', 'left'], 'b30'],
  ])('%j chooses %s', (moves, chosen) => {
    expect(moved(opened(), ...moves).chosen).toBe(chosen);
  });

  test('the tabs go round, each with the batches of its status and their number', () => {
    let state = opened();
    for (const tab of [...TABS.slice(1), 'all']) {
      state = moved(state, 'right');
      expect(state.tab).toBe(tab);
      const count = tab === 'all' ? 30 : (countsOf(THIRTY)[tab] ?? 0);
      expect(drawn(state).join('\n')).toContain(`[${tab} ${count}]`);
      expect(listed(state)).toHaveLength(count);
    }
    expect(moved(state, 'left').tab).toBe('cancelled');
  });

  test('enter shows all about the chosen one and hides it; there arrows go on to others and page keys scroll', () => {
    const metadata = Object.fromEntries(Array.from({ length: 16 }, (_, at) => [`key${at}`, `text${at}`]));
    const state = moved(opened({ batches: [batchOf('b2', 'failed', { metadata }), ...THIRTY] }), 'details');
    expect(drawn(state).join('\n')).toMatch(/batch 1 of 31, \d+ more lines below\nid +b2\n/);
    expect(drawn(state).join('\n')).not.toContain('key15');
    const below = moved(state, 'last');
    expect(drawn(below).join('\n')).toMatch(/batch 1 of 31\n/);
    expect(drawn(below).join('\n')).toContain('key15 = text15');
    expect(drawn(moved(below, 'page_up', 'page_up'))).toEqual(drawn(state));
    expect(drawn(moved(state, 'down')).join('\n')).toContain('batch 2 of 31');
    expect(moved(state, 'details')).toEqual({ ...state, details: false });
    expect(moved(opened({ batches: [] }), 'details').details).toBe(false);
  });
});

describe('what news does', () => {
  const loaded = (batches: readonly Batch[]): Action => ({
    type: 'loaded',
    batches,
    more: false,
    now_ms: NOW_MS + 5000,
  });

  test('the chosen one stays chosen when others come before it', () => {
    const state = changed(moved(opened(), 'down'), loaded([batchOf('b31', 'validating'), ...THIRTY]));
    expect([state.chosen, placeOf(state)]).toEqual(['b29', 2]);
    expect(drawn(state).join('\n')).toContain('b31');
  });

  test('where the chosen one is gone, its place is kept', () => {
    const state = changed(moved(opened(), 'down', 'down'), loaded(THIRTY.filter(({ id }) => id !== 'b28')));
    expect(state.chosen).toBe('b27');
    expect(changed(moved(opened(), 'last'), loaded(THIRTY.slice(0, 3))).chosen).toBe('b28');
    expect(changed(opened(), loaded([]))).toMatchObject({ chosen: undefined, details: false });
  });

  test('a failure is told with the age of what is seen, and is gone with the next news', () => {
    const failed = changed(opened(), { type: 'failed', why: 'Busy. (overloaded)', now_ms: NOW_MS + 4000 });
    const later = changed(failed, { type: 'tick', now_ms: NOW_MS + 65_000 });
    expect(drawn(later).at(-2)).toBe('! not refreshed for 1m 5s: Busy. (overloaded)');
    expect(drawn(later).join('\n')).toContain('b30');
    expect(drawn(later)[0]).toMatch(/1m 5s ago$/);
    expect(drawn(changed(later, loaded(THIRTY))).join('\n')).not.toContain('Busy');
  });
});

describe('what is drawn', () => {
  test('a row a batch: what is completed, failed and left, each with its own character', () => {
    const request_counts = { total: 100, completed: 50, failed: 25 };
    const batches = [batchOf('batch_1', 'in_progress', { request_counts, owner: 'alice' })];
    const lines = drawn(opened({ batches, all: true, columns: 100 }));
    expect(lines[3]).toBe(
      '  ID       STATUS       PROGRESS               DONE  FAILED  AGE  MODEL, ENDPOINT              OWNER',
    );
    expect(lines[4]).toBe(
      '> batch_1  in_progress  ██████████xxxx░░░░░  75/100      25   1m  qwen-coder chat/completions  alice',
    );
  });

  test.each([
    [60, '  ID   STATUS       PROGRESS  DONE  AGE  MODEL, ENDPOINT'],
    [44, '  ID   STATUS       PROGRESS       DONE  AGE'],
    [32, '  ID   STATUS       DONE  AGE'],
    [24, '  ID   STATUS       DONE'],
    [12, '  ID'],
  ])('in %i columns the least important columns are left out', (columns, heads) => {
    expect(drawn(opened({ columns })).find((line) => line.includes('ID'))).toContain(heads);
  });

  test('what has gone wrong inside a batch, and what others wrote into it, stays in its place', () => {
    const errors = { object: 'list', data: [{ code: 'x\u001B[31m', message: 'bad\nthing', line: 2, param: null }] };
    const batch = batchOf('b1', 'failed', { errors, metadata: { 'a\u0007': '\u202Eevil' } });
    const told = drawn(moved(opened({ batches: [batch] }), 'details')).join('\n');
    expect(told).toContain('line 2: bad thing (x [31m)');
    expect(told).toContain('a = evil');
    // oxlint-disable-next-line no-control-regex -- control characters are what must not be there
    expect(told).not.toMatch(/[\u0000-\u0009\u000B-\u001F\u202E]/);
  });

  const anyText = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 60 }),
    fc.constantFrom('世界 🌍', '', 'batch_1234567890'),
  );
  const anyBatch = fc
    .record({
      id: fc.string({ minLength: 1, maxLength: 50 }),
      status: fc.oneof(fc.constantFrom(...STATUSES), anyText),
      model: anyText,
      owner: anyText,
      endpoint: anyText,
      metadata: fc.dictionary(anyText, anyText, { maxKeys: 3 }),
      total: fc.nat(50_000),
      completed: fc.nat(50_000),
      failed: fc.nat(50_000),
    })
    .map(({ total, completed, failed, id, status, ...more }) =>
      readBatch(makeBatch(id, status, { ...more, request_counts: { total, completed, failed } })),
    )
    .filter((batch) => batch !== undefined);
  const anyBatches = fc.uniqueArray(anyBatch, { maxLength: 20, selector: ({ id }) => id });
  const anyAction: fc.Arbitrary<Action> = fc.oneof(
    fc
      .constantFrom<Move>('up', 'down', 'left', 'right', 'page_up', 'page_down', 'first', 'last', 'details')
      .map((move) => ({ type: 'move' as const, move })),
    fc.record({ type: fc.constant('loaded' as const), batches: anyBatches, more: fc.boolean(), now_ms: fc.nat() }),
    fc.record({ type: fc.constant('failed' as const), why: anyText, now_ms: fc.nat() }),
    fc.record({ type: fc.constant('resized' as const), columns: fc.nat(200), rows: fc.nat(60) }),
  );

  test('after whatever happens, every line fits and the chosen batch is in sight', () => {
    fc.assert(
      fc.property(anyBatches, fc.boolean(), fc.array(anyAction, { maxLength: 15 }), (batches, all, actions) => {
        let state = opened({ batches, all });
        for (const action of actions) {
          state = changed(state, action);
          const lines = linesOf(state);
          expect(lines.length).toBeLessThanOrEqual(heightOf(state));
          for (const line of lines) expect(widthOf(textOf(line))).toBeLessThanOrEqual(state.columns);
          const [room, count, at] = [roomOf(state), listed(state).length, placeOf(state)];
          expect(state.chosen === undefined).toBe(count === 0);
          if (room > 0) expect(lines).toHaveLength(heightOf(state));
          if (room > 0 && count > 0) expect(at - state.top).toBeLessThan(room);
          expect(state.top).toBeLessThanOrEqual(at);
          const marked = lines.filter((line) => textOf(line).startsWith('> ')).length;
          if (!state.details && room > 0 && count > 0 && state.columns > 2) expect(marked).toBeGreaterThanOrEqual(1);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('a bar is as wide as it shall be, what has failed is in it, and it is full only at the end', () => {
    const counts = fc.record({ total: fc.nat(50_000), completed: fc.nat(50_000), failed: fc.nat(50_000) });
    fc.assert(
      fc.property(counts, fc.integer({ min: 2, max: 60 }), (request_counts, width) => {
        const { total, completed, failed } = request_counts;
        const bar = barOf(batchOf('b', 'in_progress', { request_counts }), width);
        expect(bar.completed + bar.failed + bar.left).toBe(width);
        expect(Math.min(bar.completed, bar.failed, bar.left)).toBeGreaterThanOrEqual(0);
        if (total > 0) expect(bar.failed > 0).toBe(failed > 0);
        if (total > 0) expect(bar.left === 0).toBe(completed + failed >= total);
      }),
    );
  });

  test('text takes as many cells as it is given', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.nat(40), (raw, width) => {
        const text = clean(raw);
        expect(widthOf(cut(text, width))).toBeLessThanOrEqual(width);
        expect(widthOf(fitted(text, width))).toBe(width);
        expect(widthOf(abridged(text, width))).toBeLessThanOrEqual(width);
        const lines = wrapped(text, width);
        for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(width);
        if (width > 1) expect(lines.join('').replaceAll(' ', '')).toBe(text.replaceAll(' ', ''));
      }),
    );
  });

  test.each([
    ['世界', 4],
    ['🌍', 2],
    ['👩‍👩‍👧', 2],
    ['é', 1],
    ['e\u0301', 1],
    ['█░…↑', 4],
    ['', 0],
  ])('%s is %i cells wide', (text, width) => expect(widthOf(text)).toBe(width));

  test.each([
    [-5, '0s', '0s'],
    [59.9, '59s', '59s'],
    [60, '1m', '1m 0s'],
    [3661, '1h', '1h 1m'],
    [90_000, '1d', '1d 1h'],
  ])('%d seconds are %s, or %s', (seconds, short, long) =>
    expect([age(seconds), span(seconds)]).toEqual([short, long]),
  );
});

test.each([undefined, null, 1, [], {}, { id: 1 }, { id: '' }])('%j is no batch', (value) => {
  expect(readBatch(value)).toBeUndefined();
});

test('of what is strange in a batch nothing is known, and the rest is shown', () => {
  const strange = {
    id: 'b',
    status: 7,
    request_counts: 'many',
    usage: [],
    errors: { data: [1, {}] },
    created_at: 'now',
  };
  const batch = readBatch({ ...strange, metadata: { a: 1 }, collation: {}, expires_at: 1e300 });
  expect(batch).toMatchObject({ id: 'b', status: 'unknown', counts: { total: 0 }, tokens: undefined, times: {} });
  expect(onceOf({ batches: batch === undefined ? [] : [batch], all: true, more: false, now_ms: NOW_MS })[1]).toMatch(
    /^b +unknown/,
  );
});
