// One page as its readers use it: the blocks they paste, the links they follow, the headings links point to.

export interface Block {
  /** The first line of the block itself, counted from 1. */
  readonly line: number;
  /** The info string behind the fence: what a block is decides how it is checked. */
  readonly kind: string;
  readonly text: string;
}

export interface Page {
  readonly blocks: readonly Block[];
  readonly links: readonly { readonly line: number; readonly target: string }[];
  /** What `#…` may say: GitHub's form of each heading. */
  readonly anchors: ReadonlySet<string>;
  /** Inline code, outside blocks. */
  readonly codes: readonly { readonly line: number; readonly text: string }[];
  /** What would be passed over: fences that are indented or never closed, code by indentation or over a line's end. */
  readonly faults: readonly string[];
}

export function readPage(text: string): Page {
  const blocks: Block[] = [];
  const links: { line: number; target: string }[] = [];
  const codes: { line: number; text: string }[] = [];
  const anchors = new Set<string>();
  const faults: string[] = [];
  let open: { line: number; kind: string; lines: string[] } | undefined;
  let before = '';
  for (const [at, line] of text.split('\n').entries()) {
    const number = at + 1;
    if (open !== undefined) {
      if (line === '```') {
        blocks.push({ line: open.line, kind: open.kind, text: `${open.lines.join('\n')}\n` });
        open = undefined;
      } else {
        open.lines.push(line);
      }
      continue;
    }
    if (line.startsWith('```')) {
      open = { line: number + 1, kind: line.slice(3).trim(), lines: [] };
    } else if (/^\s*(?:```|~~~)/.test(line)) {
      faults.push(
        `${number}: a fence that this reader does not see: begin it at the line's start, with three backticks`,
      );
    } else if (/^ {4}/.test(line) && before.trim() === '') {
      faults.push(`${number}: code by indentation, which nothing checks: fence it`);
    }
    before = line;
    if (open !== undefined) continue;
    if ((line.match(/`/g)?.length ?? 0) % 2 === 1) {
      faults.push(`${number}: inline code over the line's end, which nothing checks: keep it on one line`);
    }
    const heading = /^#+ (.+)$/.exec(line)?.[1];
    if (heading !== undefined) anchors.add(anchorOf(heading));
    for (const [, code = ''] of line.matchAll(/`([^`]+)`/g)) codes.push({ line: number, text: code });
    for (const [, target = ''] of line.replaceAll(/`[^`]*`/g, '``').matchAll(/\]\(([^)\s]+)\)/g)) {
      links.push({ line: number, target });
    }
  }
  if (open !== undefined) faults.push(`${open.line}: a block that is never closed`);
  return { blocks, links, anchors, codes, faults };
}

/** As GitHub makes it: lower case, blanks to dashes, everything else but letters, digits, dashes and underscores gone. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}
