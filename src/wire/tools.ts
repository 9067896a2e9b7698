// Tool calls as clients need them: numbered in the order they come, each with an id of its own, told once with its name.
// Ollama gives parallel calls the index 0, several engines leave out the id or repeat the name with every piece; clients
// then join two calls to one, or drop both.
import { isRecord } from './record.ts';

interface Known {
  /** As the engine numbers it. */
  readonly index: number | undefined;
  readonly id: string;
  /** As the engine calls it; empty where it does not. */
  readonly told_id: string;
  name: string;
}

type Call = Record<string, unknown>;

export class ToolCalls {
  readonly #id: string;
  readonly #known: Known[] = [];

  /** `id` makes the ids that are missing: unique to the answer and the choice. */
  constructor(id: string) {
    this.#id = id;
  }

  get any(): boolean {
    return this.#known.length > 0;
  }

  /** The pieces of calls in one event; the same array where nothing was wrong with them. */
  pieces(told: readonly unknown[]): readonly unknown[] {
    const mended = told.map((one) => (isRecord(one) ? this.#piece(one) : one));
    return mended.some((one, at) => one !== told[at]) ? mended : told;
  }

  /** The calls of an unstreamed answer, likewise. */
  whole(told: readonly unknown[]): readonly unknown[] {
    const mended = told.map((one) => (isRecord(one) ? this.#call(one) : one));
    return mended.some((one, at) => one !== told[at]) ? mended : told;
  }

  #piece(told: Call): Call {
    const { index, id, name, given } = read(told);
    const at = this.#find(index, id, name);
    const known = this.#known[at];
    if (known === undefined) return this.#begin(told);
    const again = told['id'] !== undefined || told['type'] !== undefined || name !== '';
    if (!again && index === at && (given === undefined || typeof given === 'string')) return told;
    const late = known.name === '' ? nameOf(name) : {};
    if (known.name === '') known.name = name;
    const { id: _id, type: _type, ...rest } = told;
    return { ...rest, index: at, function: { ...late, ...argumentsOf(given) } };
  }

  /** A call not seen before. */
  #begin(told: Call): Call {
    const { index, id, name, given } = read(told);
    const at = this.#known.length;
    const own = this.#free(id) ? id : `call_${this.#id}_${at}`;
    this.#known.push({ index, id: own, told_id: id, name });
    if (own === id && index === at && told['type'] === 'function' && typeof given === 'string') return told;
    return {
      ...told,
      index: at,
      id: own,
      type: 'function',
      function: { ...nameOf(name), arguments: '', ...argumentsOf(given) },
    };
  }

  #call(told: Call): Call {
    const { id, name, given } = read(told);
    const at = this.#known.length;
    const own = this.#free(id) ? id : `call_${this.#id}_${at}`;
    this.#known.push({ index: at, id: own, told_id: id, name });
    if (own === id && told['type'] === 'function' && typeof given === 'string') return told;
    return { ...told, id: own, type: 'function', function: { ...nameOf(name), arguments: '', ...argumentsOf(given) } };
  }

  #free(id: string): boolean {
    return id !== '' && !this.#known.some((one) => one.id === id);
  }

  /** Which call a piece goes on with; the number of the next where it begins one. */
  #find(index: number | undefined, id: string, name: string): number {
    const next = this.#known.length;
    const goesOn = (one: Known | undefined): boolean => name === '' || one?.name === '' || one?.name === name;
    const at = index === undefined ? next - 1 : this.#known.findLastIndex((one) => one.index === index);
    const known = this.#known[at];
    if (id !== '') {
      // Where the name stands for the id, as with one id for all, only the index tells the next call of the same name.
      const same = this.#known.findLastIndex(
        (one) => one.told_id === id && (name === '' || index === undefined || one.index === index),
      );
      if (same >= 0 && goesOn(this.#known[same])) return same;
      // A new id with a name begins a call, whatever its index says; without one it is an engine's that makes up one a piece.
      if (name !== '' && known?.name !== '') return next;
    }
    return known !== undefined && goesOn(known) ? at : next;
  }
}

function read(told: Call): { index: number | undefined; id: string; name: string; given: unknown } {
  const called = isRecord(told['function']) ? told['function'] : {};
  const { index, id } = told;
  const { name, arguments: given } = called;
  return {
    index: typeof index === 'number' ? index : undefined,
    id: typeof id === 'string' ? id : '',
    name: typeof name === 'string' ? name : '',
    given,
  };
}

function nameOf(name: string): { name?: string } {
  return name === '' ? {} : { name };
}

/** A string of JSON, also from an engine that gives the object itself. */
function argumentsOf(given: unknown): { arguments?: string } {
  if (given === undefined || given === null) return {};
  return { arguments: typeof given === 'string' ? given : JSON.stringify(given) };
}
