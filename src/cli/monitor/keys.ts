// What a key means to the monitor. Pure: ink tells the keys, and several at once when they come fast.
import type { Key } from 'ink';
import type { Move } from './state.ts';

export type Command = Move | 'refresh' | 'quit';

const LETTERS: ReadonlyMap<string, Command> = new Map([
  ['k', 'up'],
  ['j', 'down'],
  ['h', 'left'],
  ['l', 'right'],
  ['g', 'first'],
  ['G', 'last'],
  ['r', 'refresh'],
  ['q', 'quit'],
  ['\r', 'details'],
  ['\n', 'details'],
  ['\t', 'right'],
  ['\u0003', 'quit'],
]);

export function commandsOf(input: string, key: Partial<Key>): Command[] {
  if (key.ctrl === true) return input === 'c' ? ['quit'] : [];
  if (key.upArrow === true) return ['up'];
  if (key.downArrow === true) return ['down'];
  if (key.leftArrow === true) return ['left'];
  if (key.rightArrow === true) return ['right'];
  if (key.pageUp === true) return ['page_up'];
  if (key.pageDown === true) return ['page_down'];
  if (key.home === true) return ['first'];
  if (key.end === true) return ['last'];
  if (key.tab === true) return [key.shift === true ? 'left' : 'right'];
  if (key.return === true) return ['details'];
  if (key.escape === true) return ['quit'];
  // What is held with Alt is meant for something else.
  if (key.meta === true) return [];
  return Array.from(input).flatMap((letter) => LETTERS.get(letter) ?? []);
}
