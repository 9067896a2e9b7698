// A YAML file that was written for another program, as that program reads it, with the place of each value. PyYAML's
// dialect: YAML 1.1, in which `yes` is true and `<<` merges maps; of a key that stands twice the last one counts.
import { LineCounter, isAlias, isMap, isScalar, isSeq, parseDocument, visit } from 'yaml';
import type { Alias, Document, Node, YAMLMap } from 'yaml';
import type { Fault, Path, Position } from './faults.ts';
import { NODES_MAX, complaint, onePerLine, start } from './tree.ts';

/** Lists and maps within each other; also what ends an alias that holds itself. */
const DEPTH_MAX = 40;

export interface Foreign {
  /** Maps, lists and scalars; dates as they are written. `undefined` when there are faults. */
  readonly value: unknown;
  readonly faults: readonly Fault[];
  /** Keys that stand again later in the same map, and so count for nothing. */
  readonly repeated: readonly { readonly path: Path; readonly at: Position }[];
  /** Where a value stands, or the nearest map or list that would hold it. */
  readonly locate: (path: Path) => Position;
}

export function readForeign(text: string): Foreign {
  const counter = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: counter,
    prettyErrors: false, // They quote the line, which may hold a secret.
    stringKeys: true,
    uniqueKeys: false,
    version: '1.1',
  });
  const at = (offset: number): Position => {
    const { line, col } = counter.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const broken = [...document.errors, ...document.warnings];
  const faults = onePerLine(broken.map(({ code, pos }) => ({ ...at(pos[0]), text: complaint(code, text, pos[0]) })));
  const walk = new Walk(document);
  const value = faults.length === 0 ? walk.read(document.contents, [], 0) : undefined;
  if (walk.complaint !== undefined) faults.push({ ...at(walk.complaint.offset), text: walk.complaint.text });
  return {
    value: faults.length === 0 ? value : undefined,
    faults,
    repeated: walk.repeated.map(({ path, offset }) => ({ path, at: at(offset) })),
    locate: (path) => at(walk.offset(path)),
  };
}

/** One passage over a document: a class because it counts and remembers. */
class Walk {
  readonly repeated: { path: Path; offset: number }[] = [];
  complaint: { offset: number; text: string } | undefined;
  readonly #targets: ReadonlyMap<Alias, Node>;
  readonly #offsets = new Map<string, number>();
  #nodes = 0;

  constructor(document: Document) {
    this.#targets = targetsIn(document);
  }

  offset(path: Path): number {
    const found = this.#offsets.get(JSON.stringify(path));
    return found ?? (path.length === 0 ? 0 : this.offset(path.slice(0, -1)));
  }

  read(node: unknown, path: Path, depth: number, from = start(node)): unknown {
    this.#count(from);
    if (this.complaint !== undefined) return undefined;
    this.#offsets.set(JSON.stringify(path), from);
    if (depth > DEPTH_MAX)
      return this.#complain(from, `the file is nested deeper than ${DEPTH_MAX} levels, aliases written out`);
    if (isAlias(node)) {
      const target = this.#targets.get(node);
      if (target === undefined) return this.#complain(from, `this alias has no anchor before it`);
      return this.read(target, path, depth + 1, from);
    }
    if (isSeq(node)) return node.items.map((item, index) => this.read(item, [...path, index], depth + 1));
    if (isMap(node)) return Object.fromEntries(this.#entries(node, path, depth));
    if (!isScalar(node)) return null;
    // A date, for one, is an object; and `y` and `n` are in YAML 1.1, but texts to PyYAML: then what is written is meant.
    const { value, source } = node;
    const other = (typeof value === 'object' && value !== null) || (typeof value === 'boolean' && source?.length === 1);
    return other ? (source ?? null) : value;
  }

  /** One value more, wherever it comes from: what is not counted could be repeated without end. */
  #count(offset: number): void {
    this.#nodes += 1;
    if (this.#nodes > NODES_MAX)
      this.#complain(offset, `the file holds more than ${NODES_MAX} values, aliases written out`);
  }

  /** The first complaint stands; after it nothing more is read. */
  #complain(offset: number, text: string): undefined {
    this.complaint ??= { offset, text };
  }

  /** What a map holds, by key: merged maps first, so that its own keys go before theirs. */
  #entries(map: YAMLMap, path: Path, depth: number): Map<string, unknown> {
    const entries = new Map<string, unknown>();
    for (const { value } of map.items.filter(({ key }) => word(key) === '<<')) {
      const merged = isAlias(value) ? this.#targets.get(value) : value;
      // Of several merged maps the first goes before the others.
      for (const one of (isSeq(merged) ? [...merged.items] : [merged]).toReversed()) {
        this.#count(start(one));
        if (this.complaint !== undefined) return entries;
        const source = isAlias(one) ? this.#targets.get(one) : one;
        if (!isMap(source) || depth > DEPTH_MAX) continue;
        for (const [key, inner] of this.#entries(source, path, depth + 1)) entries.set(key, inner);
      }
    }
    const own = map.items.filter(({ key }) => word(key) !== '<<');
    const last = new Map(own.map(({ key }, index) => [word(key), index]));
    for (const [index, { key, value }] of own.entries()) {
      if (this.complaint !== undefined) return entries;
      const name = word(key);
      const at = [...path, name];
      if (last.get(name) !== index) {
        this.#count(start(key));
        this.repeated.push({ path: at, offset: start(key) });
        continue;
      }
      const empty = isScalar(value) ? value.value === null : value === null;
      entries.set(name, this.read(value, at, depth + 1, empty ? start(key) : start(value)));
    }
    return entries;
  }
}

/** What each alias stands for: the last node of its name before it. `Alias.resolve` reads the whole document for each. */
function targetsIn(document: Document): ReadonlyMap<Alias, Node> {
  const named = new Map<string, Node>();
  const targets = new Map<Alias, Node>();
  visit(document, {
    Node: (_, node) => {
      const target = isAlias(node) ? named.get(node.source) : undefined;
      if (isAlias(node) && target !== undefined) targets.set(node, target);
      if (!isAlias(node) && node.anchor !== undefined) named.set(node.anchor, node);
    },
  });
  return targets;
}

function word(key: unknown): string {
  return String(isScalar(key) ? key.value : key);
}
