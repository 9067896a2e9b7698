// A YAML text as plain values, with the place each came from. With foreign.ts, for files of others, the one door to `yaml`:
// what is odd about YAML (tags, several documents, aliases that multiply, values that swallow a comment) is refused here
// and known nowhere else.
import { LineCounter, isAlias, isMap, isScalar, isSeq, parseDocument } from 'yaml';
import type { Document, ErrorCode, Node, Scalar, YAMLMap } from 'yaml';
import { label } from './faults.ts';
import type { Fault, Finding, Path, Position } from './faults.ts';
import { interpolate } from './interpolate.ts';

/** Lists and maps within each other; the configuration itself needs 6. */
const DEPTH_MAX = 20;
/** Values in all, aliases written out: a few hundred bytes of nested aliases could otherwise become billions. */
export const NODES_MAX = 50_000;

export interface Tree {
  /** Maps, lists and scalars, `${NAME}` read; `undefined` for an empty file. */
  readonly value: unknown;
  /** What is wrong with the text itself. */
  readonly faults: readonly Fault[];
  /** False when the text is so broken that its values mean nothing. */
  readonly readable: boolean;
  /** Whether this value is at fault already, so that nothing more need be said about it. */
  readonly isBroken: (path: Path) => boolean;
  readonly locate: (finding: Finding) => Position;
}

export function readTree(text: string, env: Readonly<Record<string, string | undefined>>): Tree {
  const counter = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: counter,
    prettyErrors: false, // They quote the line, which may hold a secret.
    stringKeys: true, // A model may be called `4` or `1.10`.
    version: '1.2',
    schema: 'core',
    merge: false,
  });
  const at = (offset: number): Position => {
    const { line, col } = counter.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const errors = [...document.errors, ...document.warnings];
  const faults = onePerLine(errors.map(({ code, pos }) => ({ ...at(pos[0]), text: complaint(code, text, pos[0]) })));
  if (document.directives?.yaml.explicit === true && document.directives.yaml.version !== '1.2') {
    faults.push({ line: 1, column: 1, text: 'only YAML 1.2 is read here: remove the %YAML line' });
  }
  const locate = (finding: Finding): Position => at(offsetOf(document, finding));
  // A key written twice leaves the rest as meant; anything else may have moved it.
  const readable = errors.every(({ code }) => code === 'DUPLICATE_KEY');
  if (!readable) return { value: undefined, faults, readable, isBroken: () => false, locate };

  const walk = new Walk(document, text, env);
  const value = walk.read(document.contents, [], 0) ?? undefined;
  faults.push(...walk.found.map((found) => ({ ...at(found.offset), text: found.text })));
  const isBroken = (path: Path): boolean =>
    walk.broken.some((part) => part.every((step, index) => step === path[index]));
  return { value, faults, readable, isBroken, locate };
}

/** One passage over a document, and what it met: a class because it counts. */
class Walk {
  readonly found: { offset: number; text: string }[] = [];
  readonly broken: Path[] = [];
  readonly #document: Document;
  readonly #text: string;
  readonly #env: Readonly<Record<string, string | undefined>>;
  #nodes = 0;

  constructor(document: Document, text: string, env: Readonly<Record<string, string | undefined>>) {
    this.#document = document;
    this.#text = text;
    this.#env = env;
  }

  read(node: unknown, path: Path, depth: number): unknown {
    this.#nodes += 1;
    if (this.#nodes > NODES_MAX) {
      if (this.#nodes > NODES_MAX + 1) return undefined;
      return this.#fault([], 0, `the file holds more than ${NODES_MAX} values, aliases written out`);
    }
    if (depth > DEPTH_MAX) {
      // All of the section is nonsense then: one fault is enough.
      return this.#fault(
        path.slice(0, 1),
        start(node),
        `nested deeper than ${DEPTH_MAX} levels; nothing here needs it`,
      );
    }
    if (isAlias(node)) {
      const target = node.resolve(this.#document);
      if (target !== undefined) return this.read(target, path, depth + 1);
      return this.#fault(
        path,
        start(node),
        'a text that begins with * is an alias, and has no anchor before it; put it in quotes',
      );
    }
    if (isScalar(node)) return this.#scalar(node, path);
    if (isSeq(node)) return node.items.map((item, index) => this.read(item, [...path, index], depth + 1));
    if (isMap(node)) return this.#map(node, path, depth);
    return null;
  }

  #map(node: YAMLMap, path: Path, depth: number): Record<string, unknown> {
    const entries: [string, unknown][] = [];
    for (const pair of node.items) {
      const key = String(isScalar(pair.key) ? pair.key.value : pair.key);
      // Zod skips this name in silence, and nobody means it.
      if (key === '__proto__') this.#fault([...path, key], start(pair.key), 'a key may not be called __proto__');
      else if (key.includes('${'))
        this.#fault([...path, key], start(pair.key), 'only values read the environment: write this key out');
      else entries.push([key, this.read(pair.value, [...path, key], depth + 1)]);
    }
    return Object.fromEntries(entries);
  }

  #scalar(node: Scalar, path: Path): unknown {
    if (typeof node.value !== 'string') return node.value;
    const { value, faults } = interpolate(node.value, this.#env);
    for (const { piece, text } of faults) {
      const [from, to] = [node.range?.[0] ?? 0, node.range?.[1] ?? 0];
      const within = this.#text.slice(from, to).indexOf(piece);
      this.#fault(path, from + Math.max(within, 0), `${label(path)} ${text}`);
    }
    return value;
  }

  #fault(path: Path, offset: number, text: string): undefined {
    this.found.push({ offset, text });
    this.broken.push(path);
  }
}

/** Where a path leads, or as far as it leads: a missing key is a fault of the map that lacks it. */
function offsetOf(document: Document, { path, at_key }: Finding): number {
  let node: unknown = document.contents;
  let offset = start(node);
  for (const [index, step] of path.entries()) {
    while (isAlias(node)) node = node.resolve(document);
    if (isSeq(node)) {
      node = node.items[Number(step)];
      offset = start(node);
      continue;
    }
    if (!isMap(node)) return offset;
    const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(step));
    if (pair === undefined) return offset;
    const last = index === path.length - 1;
    const empty = isScalar(pair.value) && pair.value.value === null && pair.value.source === '';
    node = pair.value;
    offset = (last && at_key === true) || empty || node === null ? start(pair.key) : start(node);
  }
  return offset;
}

/** Where a node begins in the text. */
export function start(node: unknown): number {
  return (
    (isAlias(node) || isScalar(node) || isMap(node) || isSeq(node) ? (node satisfies Node).range?.[0] : undefined) ?? 0
  );
}

/** One broken quote can make a complaint of every word after it on the line. */
export function onePerLine(faults: Fault[]): Fault[] {
  return faults.filter((fault, index) => faults.findIndex(({ line }) => line === fault.line) === index);
}

/** The parser's complaint in our words: its own repeat pieces of the file. */
export function complaint(code: ErrorCode, text: string, offset: number): string {
  const from = text.lastIndexOf('\n', offset - 1) + 1;
  const line = text.slice(from, text.indexOf('\n', offset) < 0 ? undefined : text.indexOf('\n', offset));
  const open = line.search(/[[{]/);
  const inFlow = open >= 0 && line.includes('${', open);
  return `${COMPLAINTS[code] ?? 'this is not valid YAML'}${inFlow ? '; within [ ] or { }, write "${NAME}" in quotes' : ''}`;
}

const COMPLAINTS: { readonly [code in ErrorCode]?: string } = {
  BAD_ALIAS: 'this alias (*name) is not valid; put a text that begins with * in quotes',
  BAD_DIRECTIVE: 'a line that begins with % is a YAML directive, and this is not one that is known: remove it',
  BAD_DQ_ESCAPE: "this backslash escape is unknown; within '…' a backslash is itself",
  BAD_INDENT: 'the indentation is wrong, or a bracket is not closed: keep the entries of one map or list in one column',
  BAD_SCALAR_START: 'a text may not begin with this character: put it in quotes',
  BLOCK_AS_IMPLICIT_KEY:
    'a map cannot begin here, after a colon on the same line: put a text that holds ": " in quotes',
  BLOCK_IN_FLOW: 'within [ ] or { } every entry is separated by a comma',
  DUPLICATE_KEY: 'this key stands twice in one map: keep one',
  KEY_OVER_1024_CHARS: 'this key is longer than 1024 characters',
  MISSING_CHAR: 'something is missing here: a closing quote, a bracket, a comma or a space after a colon',
  MULTIPLE_DOCS: 'a second YAML document begins here; a configuration is one',
  MULTILINE_IMPLICIT_KEY: 'a colon is missing after this key, or a quote is not closed',
  NON_STRING_KEY: 'a key must be a plain text',
  RESOURCE_EXHAUSTION: 'the file is nested too deeply to be read',
  TAB_AS_INDENT: 'a tab cannot indent in YAML: use spaces',
  TAG_RESOLVE_FAILED: 'YAML tags (!name) are not used here: put a text that begins with ! in quotes',
  UNEXPECTED_TOKEN: 'this cannot stand here: is a quote, a bracket or a comma missing, or one too many?',
};
