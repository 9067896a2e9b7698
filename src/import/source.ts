// The file that is being imported, as a ledger: every value in it is either carried over or remarked upon, and what is
// left at the end is remarked upon too. So nothing is ever dropped without a word. No remark repeats a value: it may be a
// secret.
import type { Path } from '../config/faults.ts';

/** What follows from a remark: something to do, a difference, a loss, or nothing. */
export type Kind = 'todo' | 'changed' | 'lost' | 'needless';

export interface Note {
  readonly kind: Kind;
  readonly text: string;
}

export interface Remark extends Note {
  /** What it is about; empty: the file as a whole. */
  readonly path: Path;
}

export class Source {
  readonly remarks: Remark[] = [];
  readonly #root: unknown;
  /** Paths of which nothing more need be said, and every path on the way to one. */
  readonly #settled = new Set<string>();
  readonly #opened = new Set<string>();

  constructor(root: unknown) {
    this.#root = root;
  }

  /** The value at a path; `undefined` where there is none, or nothing after the colon. */
  at(...path: Path): unknown {
    let value = this.#root;
    for (const step of path) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
      value = Reflect.get(value, step);
    }
    return value ?? undefined;
  }

  map(...path: Path): readonly [string, unknown][] {
    const value = this.at(...path);
    return typeof value === 'object' && value !== undefined && !Array.isArray(value) ? Object.entries(value ?? {}) : [];
  }

  list(...path: Path): readonly unknown[] {
    const value = this.at(...path);
    return Array.isArray(value) ? value : [];
  }

  /** A text, or what was meant as one: a model called `4`. */
  text(...path: Path): string | undefined {
    const value = this.at(...path);
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined;
  }

  /** A number, also one in quotes. */
  number(...path: Path): number | undefined {
    const text = this.text(...path);
    return text !== undefined && /^\d+(\.\d+)?$/.test(text) ? Number(text) : undefined;
  }

  /** The value at this path decides something in what is written. */
  carry(...path: Path): void {
    this.#settle(path);
  }

  /** Says what becomes of the value at this path, and of all within it. A path that the file does not have says nothing. */
  remark({ kind, text }: Note, ...path: Path): void {
    if (path.length > 0 && this.at(...path) === undefined) return;
    this.remarks.push({ kind, path, text });
    if (path.length > 0) this.#settle(path);
  }

  /** Looked into: what is left in it is told one by one. */
  open(...path: Path): void {
    for (let end = 0; end <= path.length; end += 1) this.#opened.add(key(path.slice(0, end)));
  }

  /** Remarks upon all that was neither carried nor remarked upon, each thing at its top. */
  settleRest(note: (path: Path) => Note): void {
    const visit = (value: unknown, path: Path): void => {
      if (value === null || this.#settled.has(key(path))) return;
      const inner = typeof value === 'object' ? Object.entries(value) : [];
      if (typeof value === 'object' && inner.length === 0) return;
      if (!this.#opened.has(key(path))) return this.remark(note(path), ...path);
      for (const [step, one] of inner) visit(one, [...path, Array.isArray(value) ? Number(step) : step]);
    };
    visit(this.#root, []);
  }

  #settle(path: Path): void {
    this.#settled.add(key(path));
    this.open(...path);
  }
}

function key(path: Path): string {
  return JSON.stringify(path);
}
