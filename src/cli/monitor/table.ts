// The monitor's table: a line a batch, in columns that fit the window; what does not fit goes, the least important first. Pure.
import { plain, type Line, type Look, type Piece } from './layout.ts';
import type { Batch } from '../batch/record.ts';
import { abridged, fitted, widthOf } from '../batch/text.ts';
import { age, BAR, barOf } from '../batch/words.ts';

type Name = 'id' | 'status' | 'bar' | 'done' | 'failed' | 'age' | 'model' | 'owner';
type Widths = Readonly<Partial<Record<Name, number>>>;

const ORDER: readonly Name[] = ['id', 'status', 'bar', 'done', 'failed', 'age', 'model', 'owner'];
const HEADS: Readonly<Record<Name, string>> = {
  id: 'ID',
  status: 'STATUS',
  bar: 'PROGRESS',
  done: 'DONE',
  failed: 'FAILED',
  age: 'AGE',
  model: 'MODEL, ENDPOINT',
  owner: 'OWNER',
};
const RIGHT: ReadonlySet<Name> = new Set(['done', 'failed', 'age']);
/** What goes first where there is no room for all. */
const DISPENSABLE: readonly Name[] = ['model', 'bar', 'owner', 'age', 'failed', 'done', 'status'];
/** How far each grows in turn while there is room. */
const GROWTH: readonly (readonly [Name, number])[] = [
  ['id', 16],
  ['model', 24],
  ['bar', 14],
  ['owner', 16],
  ['id', 44],
  ['model', 60],
  ['bar', 30],
  ['owner', 30],
];
/** Of a mark in front, and between two columns. */
const MARK = 2;
const GAP = 2;

interface Table {
  readonly batches: readonly Batch[];
  readonly all: boolean;
  readonly columns: number;
  readonly now_s: number;
}

/** The heads, and a function that makes a batch's line. The widths are those of all `batches`, so that no column jumps. */
export function tableOf(table: Table): { readonly heads: Line; readonly row: (batch: Batch, chosen: boolean) => Line } {
  const widths = widthsOf(table);
  const names = ORDER.filter((name) => widths[name] !== undefined);
  const heads = names.map((name) => fitted(HEADS[name], widths[name] ?? 0, RIGHT.has(name) ? 'right' : 'left'));
  return {
    heads: [plain(' '.repeat(MARK) + heads.join(' '.repeat(GAP)), 'dim')],
    row(batch, chosen) {
      const cells = names.flatMap((name, at) => [
        ...(at === 0 ? [] : [plain(' '.repeat(GAP))]),
        ...cellOf(name, batch, widths[name] ?? 0, table.now_s),
      ]);
      return [plain(chosen ? '> ' : '  ', 'bold'), ...cells.map((cell) => emphasised(cell, chosen))];
    },
  };
}

export function lookOf(status: string): Look {
  if (status === 'completed') return 'good';
  if (status === 'failed') return 'bad';
  if (status === 'expired') return 'warn';
  return status === 'cancelled' ? 'dim' : 'busy';
}

/** The bar: what is completed, what failed, what is left; each has its own character. */
export function barPieces(batch: Batch, width: number): Piece[] {
  const { completed, failed, left } = barOf(batch, width);
  return [
    plain(BAR.completed.repeat(completed), 'good'),
    plain(BAR.failed.repeat(failed), 'bad'),
    plain(BAR.left.repeat(left), 'dim'),
  ].filter(({ text }) => text !== '');
}

function cellOf(name: Name, batch: Batch, width: number, now_s: number): Piece[] {
  const text = textIn(name, batch, now_s);
  switch (name) {
    case 'bar':
      return barPieces(batch, width);
    case 'id':
      return [plain(fitted(abridged(text, width), width))];
    case 'status':
      return [plain(fitted(text, width), lookOf(batch.status))];
    case 'failed':
      return [plain(fitted(text, width, 'right'), 'bad')];
    case 'done':
    case 'age':
      return [plain(fitted(text, width, 'right'))];
    case 'model':
    case 'owner':
      return [plain(fitted(text, width))];
  }
  return name satisfies never;
}

function textIn(name: Name, { id, status, counts, times, model, endpoint, owner }: Batch, now_s: number): string {
  switch (name) {
    case 'id':
      return id;
    case 'status':
      return status;
    case 'bar':
      return '';
    case 'done':
      return `${counts.completed + counts.failed}/${counts.total}`;
    case 'failed':
      return counts.failed === 0 ? '' : String(counts.failed);
    case 'age':
      return times.created_at === undefined ? '-' : age(now_s - times.created_at);
    case 'model':
      return [model, endpoint.replace(/^\/v1\//, '')].filter((part) => part !== '').join(' ') || '-';
    case 'owner':
      return owner || '-';
  }
  return name satisfies never;
}

/** A chosen line is bold as a whole; what is coloured keeps its colour. */
function emphasised(piece: Piece, chosen: boolean): Piece {
  return chosen && piece.look === 'plain' ? { ...piece, look: 'bold' } : piece;
}

function widthsOf({ batches, all, columns, now_s }: Table): Widths {
  const natural = (name: Name): number =>
    Math.max(widthOf(HEADS[name]), ...batches.map((batch) => widthOf(textIn(name, batch, now_s))));
  const wanted = new Map<Name, number>(ORDER.map((name) => [name, natural(name)]));
  if (!all) wanted.delete('owner');
  if (batches.every(({ counts }) => counts.failed === 0)) wanted.delete('failed');
  const least = (name: Name): number => {
    const want = wanted.get(name) ?? 0;
    return name === 'id'
      ? Math.min(want, 12)
      : name === 'model'
        ? Math.min(want, 8)
        : name === 'owner'
          ? Math.min(want, 6)
          : want;
  };
  const taken = (): number =>
    MARK + [...wanted.keys()].reduce((sum, name) => sum + least(name), 0) + GAP * (wanted.size - 1);
  for (const name of DISPENSABLE) if (taken() > columns) wanted.delete(name);
  // Of the identifier alone, whatever there is.
  const widths = new Map([...wanted.keys()].map((name) => [name, least(name)] as const));
  if (taken() > columns) widths.set('id', Math.max(0, columns - MARK));
  let spare = Math.max(0, columns - taken());
  for (const [name, most] of GROWTH) {
    const width = widths.get(name);
    if (width === undefined) continue;
    const want = name === 'bar' ? most : Math.min(most, wanted.get(name) ?? 0);
    const more = Math.max(0, Math.min(spare, want - width));
    widths.set(name, width + more);
    spare -= more;
  }
  return Object.fromEntries(widths);
}
