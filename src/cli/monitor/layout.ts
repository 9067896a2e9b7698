// How the monitor's lines share the window: a title, the tabs, the table or the details, what went wrong, the keys.
import type { State, Tab } from './state.ts';
import { countsOf, STATUSES } from '../batch/record.ts';
import { widthOf } from '../batch/text.ts';

/** How a piece of a line looks where there are colours; the text alone must tell the same. */
export type Look = 'plain' | 'dim' | 'bold' | 'good' | 'bad' | 'busy' | 'warn' | 'chosen';

export interface Piece {
  readonly text: string;
  readonly look: Look;
}

export type Line = readonly Piece[];

export function plain(text: string, look: Look = 'plain'): Piece {
  return { text, look };
}

export function textOf(line: Line): string {
  return line.map(({ text }) => text).join('');
}

type Window = Pick<State, 'columns' | 'rows' | 'batches' | 'tab' | 'failure'>;

/** The lines that are drawn: one less than there are, or a terminal may scroll. */
export function heightOf({ rows }: Pick<State, 'rows'>): number {
  return Math.max(1, rows - 1);
}

/** How many rows of the table are seen, or lines of the details. */
export function roomOf(state: Window): number {
  // The title, the table's heads, the keys.
  const taken = 3 + tabLines(state).length + (state.failure === '' ? 0 : 1);
  return Math.max(0, heightOf(state) - taken);
}

/** Every tab with its count, in as many lines as they need; in a low window only the line of the chosen one. */
export function tabLines({ columns, rows, batches, tab }: Window): Line[] {
  const lines: { pieces: Piece[]; width: number; chosen: boolean }[] = [];
  for (const { name, count } of tabsOf(batches)) {
    const text = name === tab ? `[${name} ${count}]` : ` ${name} ${count} `;
    const piece = plain(text, name === tab ? 'chosen' : count === 0 ? 'dim' : 'plain');
    let line = lines.at(-1);
    if (line === undefined || line.width + widthOf(text) > columns) {
      line = { pieces: [], width: 0, chosen: false };
      lines.push(line);
    }
    line.pieces.push(piece);
    line.width += widthOf(text);
    line.chosen ||= name === tab;
  }
  return lines.filter(({ chosen }) => chosen || rows >= 10 + lines.length).map(({ pieces }) => pieces);
}

function tabsOf(batches: State['batches']): { readonly name: Tab; readonly count: number }[] {
  const counts = countsOf(batches);
  return [{ name: 'all', count: batches.length }, ...STATUSES.map((name) => ({ name, count: counts[name] ?? 0 }))];
}
