// All that is known of one batch, as lines of the monitor. Pure.
import { plain, type Line } from './layout.ts';
import { barPieces, lookOf } from './table.ts';
import type { Batch } from '../batch/record.ts';
import { fitted, wrapped } from '../batch/text.ts';
import { described, progressOf } from '../batch/words.ts';

const NAME_WIDTH = 11;

/** A name and what it stands for a line; long texts are broken beneath themselves. */
export function detailLines(batch: Batch, columns: number, now_s: number): Line[] {
  const width = Math.max(8, columns - NAME_WIDTH - 2);
  const bar = [
    plain(fitted('progress', NAME_WIDTH + 2), 'dim'),
    ...barPieces(batch, Math.min(40, Math.max(0, width - 24))),
  ];
  const lines = described(batch, now_s).flatMap(([name, text]) =>
    wrapped(text, width).map((part, at): Line => [
      plain(fitted(at === 0 ? name : '', NAME_WIDTH + 2), 'dim'),
      plain(part, name === 'status' ? lookOf(batch.status) : name === 'error' ? 'bad' : 'plain'),
    ]),
  );
  return lines.toSpliced(2, 0, [...bar, plain(` ${progressOf(batch)}`)]);
}
