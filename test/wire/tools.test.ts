// Tool calls as engines tell them, and as a client puts them together: openai-python joins the pieces by index, and every
// string of a piece to that of the one before, ids and names too.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isRecord } from '../../src/wire/record.ts';
import { ToolCalls } from '../../src/wire/tools.ts';

interface Put {
  id: string;
  name: string;
  arguments: string;
}

/** What a client has of these events; `accumulate_delta` of openai-python 2. */
function accumulated(events: readonly (readonly unknown[])[]): Put[] {
  const calls: Put[] = [];
  for (const piece of events.flat()) {
    if (!isRecord(piece) || typeof piece['index'] !== 'number') throw new Error('a piece without an index');
    const call = (calls[piece['index']] ??= { id: '', name: '', arguments: '' });
    const called = isRecord(piece['function']) ? piece['function'] : {};
    const strings = { id: piece['id'], name: called['name'], arguments: called['arguments'] };
    for (const name of ['id', 'name', 'arguments'] as const) {
      const more = strings[name];
      if (more === undefined) continue;
      if (typeof more !== 'string') throw new Error(`${name} is no string`);
      call[name] += more;
    }
  }
  return calls;
}

function put(...events: object[][]): Put[] {
  const tools = new ToolCalls('x');
  return accumulated(events.map((event) => tools.pieces(event)));
}

/** One piece, short. */
function piece(index: number | undefined, id: string | undefined, name: string | undefined, args?: unknown): object {
  return { index, id, type: id === undefined ? undefined : 'function', function: { name, arguments: args } };
}

const f = (id: string, args = '{}'): Put => ({ id, name: 'f', arguments: args });
const g = (id: string): Put => ({ ...f(id), name: 'g' });

describe('pieces are mended', () => {
  test.each<[string, object[][], Put[]]>([
    [
      'Ollama: parallel calls all have the index 0',
      [[piece(0, 'a', 'f', '{}')], [piece(0, 'b', 'f', '{}'), piece(0, 'c', 'g', '{}')]],
      [f('a'), f('b'), g('c')],
    ],
    ['no index at all', [[piece(undefined, 'a', 'f', '{}')], [piece(undefined, 'b', 'f', '{}')]], [f('a'), f('b')]],
    ['an index from 1', [[piece(1, 'a', 'f', '{')], [piece(1, undefined, undefined, '}')]], [f('a')]],
    [
      'no ids, told apart by the index',
      [[piece(0, undefined, 'f', '{')], [piece(0, undefined, undefined, '}')], [piece(1, undefined, 'f', '{}')]],
      [f('call_x_0'), f('call_x_1')],
    ],
    [
      'neither ids nor indices, told apart by the names',
      [[piece(undefined, undefined, 'f', '{')], [piece(undefined, '', '', '}')], [piece(undefined, '', 'g', '{}')]],
      [f('call_x_0'), g('call_x_1')],
    ],
    ['id and name with each piece', [[piece(0, 'a', 'f', '{')], [piece(0, 'a', 'f', '}')]], [f('a')]],
    ['the id made up anew with each piece', [[piece(0, 'a', 'f', '{')], [piece(0, 'b', undefined, '}')]], [f('a')]],
    ['the name late', [[piece(0, 'a', undefined, '')], [piece(0, undefined, 'f', '{}')]], [f('a')]],
    ['the name late, and the id made up anew', [[piece(0, 'a', undefined)], [piece(0, 'b', 'f', '{}')]], [f('a')]],
    ['one id for all', [[piece(0, 'a', 'f', '{}')], [piece(1, 'a', 'g', '{}')]], [f('a'), g('call_x_1')]],
    [
      'the name for an id, twice the same',
      [[piece(0, 'f', 'f', '{')], [piece(0, 'f', 'f', '}')], [piece(1, 'f', 'f', '{}')]],
      [f('f'), f('call_x_1')],
    ],
    [
      'one id and one index for all, told apart by the names',
      [[piece(0, 'a', 'f', '{}'), piece(0, 'a', 'g', '{}')]],
      [f('a'), g('call_x_1')],
    ],
    ['arguments as an object', [[piece(0, 'a', 'f', { n: [1] })]], [f('a', '{"n":[1]}')]],
    ['no arguments', [[piece(0, 'a', 'f')], [piece(0, undefined, undefined, null)]], [f('a', '')]],
    [
      'calls in turns',
      [[piece(0, 'a', 'f', '{'), piece(1, 'b', 'g', '{')], [piece(1, undefined, undefined, '}')]],
      [f('a', '{'), g('b')],
    ],
  ])('%s', (_name, events, calls) => {
    expect(put(...events)).toEqual(calls);
  });

  test('a mended call is a whole one: an index, a type, a name and arguments', () => {
    expect(new ToolCalls('x').pieces([{ function: { name: 'f' } }])).toEqual([
      { index: 0, id: 'call_x_0', type: 'function', function: { name: 'f', arguments: '' } },
    ]);
  });

  test('calls that are right are the same list, event by event', () => {
    const tools = new ToolCalls('x');
    const events = [
      [piece(0, 'a', 'f', '')],
      [{ index: 0, function: { arguments: '{' } }],
      [{ index: 0, function: { arguments: '}' } }, piece(1, 'b', 'f', '{}')],
    ];
    for (const event of events) expect(tools.pieces(event)).toBe(event);
    expect(tools.any).toBe(true);
  });

  test('what is no call is left as it is', () => {
    const tools = new ToolCalls('x');
    const event = [null, 'f', 3];
    expect(tools.pieces(event)).toBe(event);
    expect(tools.any).toBe(false);
  });
});

// ---- an engine with any quirks --------------------------------------------------------------------------------

interface Quirks {
  readonly index: 'right' | 'from one' | 'zero' | 'none';
  readonly id: 'once' | 'each' | 'anew' | 'alike' | 'none';
  readonly name: 'once' | 'each' | 'late';
  readonly args: 'text' | 'object';
  readonly type: boolean;
}

interface Called {
  readonly name: string;
  readonly args: object;
}

const quirks: fc.Arbitrary<Quirks> = fc.record({
  index: fc.constantFrom('right', 'from one', 'zero', 'none'),
  id: fc.constantFrom('once', 'each', 'anew', 'alike', 'none'),
  name: fc.constantFrom('once', 'each', 'late'),
  args: fc.constantFrom('text', 'object'),
  type: fc.boolean(),
});
const RIGHT: Quirks = { index: 'right', id: 'once', name: 'once', args: 'text', type: true };

const called: fc.Arbitrary<Called> = fc.record({
  name: fc.constantFrom('f', 'g'),
  args: fc.dictionary(fc.string({ maxLength: 4 }), fc.oneof(fc.string({ maxLength: 8 }), fc.integer()), { maxKeys: 3 }),
});
const sequence = fc.array(called, { minLength: 1, maxLength: 5 });

/** Whether anybody could tell the calls apart. */
function tellsApart({ index, id, name }: Quirks, calls: readonly Called[]): boolean {
  // A new id and the same name: Ollama's next call, or the same call's next piece.
  if (id === 'anew' && name === 'each') return false;
  if (index === 'right' || index === 'from one') return !(id === 'alike' && name === 'late');
  if (name === 'late') return calls.length === 1 && id !== 'alike';
  if (id === 'none' || id === 'alike') return calls.every((call, at) => call.name !== calls[at + 1]?.name);
  return true;
}

/** The pieces of one call, as this engine tells them. */
function told(quirks: Quirks, { name, args }: Called, at: number, cuts: readonly number[]): object[] {
  const text = JSON.stringify(args);
  const places = [...new Set(cuts.map((cut) => cut % text.length))].toSorted((a, b) => a - b);
  const texts = [0, ...places].map((from, n) => text.slice(from, places[n] ?? text.length));
  const given: unknown[] = quirks.args === 'object' ? [args] : texts;
  if (quirks.name === 'late') given.unshift(undefined);
  const ids = {
    once: (n: number) => (n === 0 ? `id${at}` : undefined),
    each: () => `id${at}`,
    anew: (n: number) => `id${at}.${n}`,
    alike: () => 'id',
    none: () => undefined,
  };
  return given.map((piece, n) => ({
    index: { right: at, 'from one': at + 1, zero: 0, none: undefined }[quirks.index],
    id: ids[quirks.id](n),
    ...(quirks.type && n === 0 && { type: 'function' }),
    function: {
      ...((quirks.name === 'each' || n === (quirks.name === 'late' ? 1 : 0)) && { name }),
      arguments: piece,
    },
  }));
}

/** A list in groups of these sizes: what comes in one event. */
function grouped<T>(list: readonly T[], sizes: readonly number[]): T[][] {
  const groups: T[][] = [];
  for (let at = 0, n = 0; at < list.length; n += 1) groups.push(list.slice(at, (at += sizes[n % sizes.length] ?? 1)));
  return groups;
}

const cuts = fc.array(fc.nat(), { maxLength: 3 });
const sizes = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 4 });

describe('of any calls', () => {
  const have = (calls: readonly Called[]): object[] =>
    calls.map(({ name, args }) => ({ name, arguments: JSON.stringify(args) }));

  test('a client has them all in order, each with an id of its own, whatever the quirks of the engine', () => {
    fc.assert(
      fc.property(quirks, sequence, cuts, sizes, (engine, calls, places, groups) => {
        fc.pre(tellsApart(engine, calls));
        const pieces = calls.flatMap((call, at) => told(engine, call, at, places));
        const got = put(...grouped(JSON.parse(JSON.stringify(pieces)) as object[], groups));
        expect(got.map(({ id: _id, ...rest }) => rest)).toEqual(have(calls));
        expect(got.every(({ id }) => id !== '')).toBe(true);
        expect(new Set(got.map(({ id }) => id)).size).toBe(calls.length);
        if (engine.id === 'once' || engine.id === 'each')
          expect(got.map(({ id }) => id)).toEqual(calls.map((_, at) => `id${at}`));
      }),
      { numRuns: 5000 },
    );
  });

  test('nothing is changed of an engine without quirks, however its calls take turns', () => {
    fc.assert(
      fc.property(sequence, cuts, sizes, fc.infiniteStream(fc.nat()), (calls, places, groups, turns) => {
        const queues = calls.map((call, at) => told(RIGHT, call, at, places));
        const pieces: object[] = [];
        // Each begins in its turn, and then they go on as they like.
        for (const queue of queues) pieces.push(queue.shift()!);
        while (queues.some((queue) => queue.length > 0)) {
          const piece = queues[turns.next().value % queues.length]?.shift();
          if (piece !== undefined) pieces.push(piece);
        }
        const tools = new ToolCalls('x');
        const events = grouped(
          pieces.map((one) => JSON.parse(JSON.stringify(one)) as object),
          groups,
        );
        for (const event of events) expect(tools.pieces(event)).toBe(event);
        expect(accumulated(events).map(({ id: _id, ...rest }) => rest)).toEqual(have(calls));
      }),
    );
  });
});

describe('the calls of a whole answer', () => {
  const whole = (id: unknown, args: unknown = '{}', more: object = {}): object => ({
    id,
    type: 'function',
    function: { name: 'f', arguments: args },
    ...more,
  });

  test.each<[string, object[], object[]]>([
    ['without ids', [whole(undefined), whole('')], [whole('call_x_0'), whole('call_x_1')]],
    ['with one id for two', [whole('a'), whole('a')], [whole('a'), whole('call_x_1')]],
    ['with arguments as an object', [whole('a', { n: 1 })], [whole('a', '{"n":1}')]],
    ['with no arguments', [whole('a', null)], [whole('a', '')]],
    ['without a type', [whole('a', '{}', { type: undefined })], [whole('a')]],
    ['whose other fields stay', [whole('', '{}', { index: 4 })], [whole('call_x_0', '{}', { index: 4 })]],
  ])('%s', (_name, given, mended) => {
    expect(new ToolCalls('x').whole(given)).toEqual(mended);
  });

  test('that are right are the same list', () => {
    const given = [whole('a'), whole('b')];
    expect(new ToolCalls('x').whole(given)).toBe(given);
  });
});
