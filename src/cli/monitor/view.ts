// The monitor's whole window as lines, from what is known. Pure.
import { count } from '../../doctor/finding.ts';
import { detailLines } from './details.ts';
import { heightOf, plain, roomOf, tabLines, textOf, type Line } from './layout.ts';
import { listed, placeOf, type State } from './state.ts';
import { tableOf } from './table.ts';
import { countsOf, STATUSES } from '../batch/record.ts';
import { cut, fitted, widthOf } from '../batch/text.ts';
import { span } from '../batch/words.ts';

const KEYS = 'q quit  ↑↓ choose  ←→ tab  enter details  r refresh';
const DETAIL_KEYS = 'q quit  enter back  ↑↓ other batch  pgup pgdn scroll  r refresh';

/** Exactly as many lines as are drawn, none wider than the window. */
export function linesOf(state: State): Line[] {
  const room = roomOf(state);
  const body = state.details ? detailsOf(state, room) : rowsOf(state, room);
  const filled = [...body, ...Array.from({ length: Math.max(0, room + 1 - body.length) }, () => [plain('')])];
  const lines = [
    titleOf(state),
    ...tabLines(state),
    ...filled,
    ...(state.failure === '' ? [] : [failureOf(state)]),
    [plain(state.details ? DETAIL_KEYS : KEYS, 'dim')],
  ];
  return lines.slice(0, heightOf(state)).map((line) => narrowed(line, state.columns));
}

/** Everything once, as wide as it is: for a pipe, a file, a glance. */
export function onceOf({ batches, all, more, now_ms }: Pick<State, 'batches' | 'all' | 'more' | 'now_ms'>): string[] {
  const counts = countsOf(batches);
  const told = STATUSES.filter((status) => counts[status] !== 0).map((status) => `${counts[status]} ${status}`);
  const summary = [
    count(batches.length, more ? 'newest batch' : 'batch', more ? 'newest batches' : 'batches'),
    ...told,
  ].join(', ');
  if (batches.length === 0) return [summary];
  const { heads, row } = tableOf({ batches, all, columns: 400, now_s: now_ms / 1000 });
  const lines = [heads, ...batches.map((batch) => row(batch, false))];
  return [...lines.map((line) => textOf(line).slice(2).trimEnd()), '', summary];
}

function titleOf({ url, columns, all, more, batches, now_ms, loaded_ms }: State): Line {
  const which = more ? `newest ${batches.length}` : all ? 'of all keys' : '';
  const when = `${span((now_ms - loaded_ms) / 1000)} ago`;
  const left = ['Lanyard batches', which, url].filter((part) => part !== '').join('  ');
  // What is told of time must not be pushed out by a long address.
  const room = columns - widthOf(when) - 2;
  if (room < 10) return [plain(left, 'bold')];
  return [plain(fitted(left, room), 'bold'), plain(`  ${when}`, 'dim')];
}

function failureOf({ failure, now_ms, loaded_ms }: State): Line {
  return [plain(`! not refreshed for ${span((now_ms - loaded_ms) / 1000)}: ${failure}`, 'bad')];
}

function rowsOf(state: State, room: number): Line[] {
  const { columns, all, now_ms, top, chosen, tab } = state;
  const batches = listed(state);
  if (batches.length === 0)
    return [[plain(tab === 'all' ? 'There are no batches yet.' : `No batch is ${tab}.`, 'dim')]];
  const { heads, row } = tableOf({ batches, all, columns, now_s: now_ms / 1000 });
  return [heads, ...batches.slice(top, top + room).map((batch) => row(batch, batch.id === chosen))];
}

function detailsOf(state: State, room: number): Line[] {
  const batches = listed(state);
  const at = placeOf(state);
  const batch = batches[at];
  if (batch === undefined) return [];
  const lines = detailLines(batch, state.columns, state.now_ms / 1000);
  const top = Math.min(state.details_top, Math.max(0, lines.length - room));
  const behind = lines.length - top - room;
  const where = `batch ${at + 1} of ${batches.length}${behind > 0 ? `, ${behind} more lines below` : ''}`;
  return [[plain(where, 'dim')], ...lines.slice(top, top + room)];
}

/** No wider than the window. */
function narrowed(line: Line, columns: number): Line {
  let left = columns;
  return line.flatMap((piece) => {
    const text = cut(piece.text, left);
    left -= widthOf(text);
    return text === '' ? [] : [{ ...piece, text }];
  });
}
