// Text as a terminal's cells: what others wrote (owners, metadata, errors) may be in any script, and must not move a cursor.

const PLAIN = /^[\u0020-\u007E]*$/;
/** What East Asian Width calls wide or fullwidth (UAX #11), by its blocks. */
const WIDE =
  /[\u1100-\u115F\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97C\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF01-\uFF60\uFFE0-\uFFE6\u{20000}-\u{3FFFD}]|\p{Emoji_Presentation}|\uFE0F/u;
const NOTHING = /^[\p{M}\p{Cc}\p{Cf}]*$/u;
const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' });

/** Without control and formatting characters: one line, and nothing that a terminal obeys. */
export function clean(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]+/gu, ' ').trim();
}

/** How many cells it takes. */
export function widthOf(text: string): number {
  if (PLAIN.test(text)) return text.length;
  let width = 0;
  for (const { segment } of graphemes.segment(text)) width += cellsOf(segment);
  return width;
}

/** At most so many cells; what is cut ends in `…`. */
export function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  if (width < 1) return '';
  return `${firstOf(text, width - 1)}…`;
}

/** Exactly so many cells. */
export function fitted(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const shown = cut(text, width);
  const space = ' '.repeat(Math.max(0, width - widthOf(shown)));
  return align === 'left' ? shown + space : space + shown;
}

/** Cut in its middle: of an identifier both ends tell it from others. */
export function abridged(id: string, width: number): string {
  if (widthOf(id) <= width) return id;
  if (width < 5 || !PLAIN.test(id)) return cut(id, width);
  const behind = Math.floor((width - 1) / 3);
  return `${id.slice(0, width - 1 - behind)}…${id.slice(id.length - behind)}`;
}

/** Lines of at most so many cells, broken between words where that can be. */
export function wrapped(text: string, width: number): string[] {
  if (width < 1) return [];
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (widthOf(longer) <= width) {
      line = longer;
      continue;
    }
    if (line !== '') lines.push(line);
    line = word;
    while (widthOf(line) > width) {
      // A character that is wider than the whole line stands alone.
      const part = firstOf(line, width) || (Array.from(line)[0] ?? '');
      lines.push(cut(part, width));
      line = line.slice(part.length);
    }
  }
  lines.push(line);
  return lines;
}

/** Rows of cells as lines, each column as wide as its widest cell; the last is not filled up. */
export function aligned(rows: readonly (readonly string[])[], right: ReadonlySet<number> = new Set()): string[] {
  const widths = (rows[0] ?? []).map((_, at) => Math.max(...rows.map((row) => widthOf(row[at] ?? ''))));
  return rows.map((row) =>
    row
      .map((cell, at) => fitted(cell, widths[at] ?? 0, right.has(at) ? 'right' : 'left'))
      .join('  ')
      .trimEnd(),
  );
}

function firstOf(text: string, width: number): string {
  let shown = '';
  let used = 0;
  for (const { segment } of graphemes.segment(text)) {
    used += cellsOf(segment);
    if (used > width) break;
    shown += segment;
  }
  return shown;
}

function cellsOf(grapheme: string): number {
  if (NOTHING.test(grapheme)) return 0;
  return WIDE.test(grapheme) ? 2 : 1;
}
