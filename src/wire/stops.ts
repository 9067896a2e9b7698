// The matched stop string, kept out of what is told: OpenAI never sends it, OpenVINO Model Server does in streams. What could
// be the beginning of one is held back until the next piece shows that it is not.
import { readString, scanArray, valueKind } from './body.ts';
import type { Call } from '../types.ts';

export class Stops {
  readonly #stops: readonly string[];
  #held = '';
  #stopped = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** Takes a piece of text, gives what may be told now. */
  push(text: string): string {
    if (this.#stopped) return '';
    const all = this.#held + text;
    const found = this.#found(all);
    const open = all.length - this.#pending(all);
    // One that began before it may still become whole: of two that overlap the first counts, however the text is cut.
    this.#stopped = found <= open;
    const told = all.slice(0, Math.min(found, open));
    this.#held = this.#stopped ? '' : all.slice(open);
    return told;
  }

  /** What was held back, once nothing more comes. */
  end(): string {
    const held = this.#held;
    this.#held = '';
    return held.slice(0, this.#found(held));
  }

  /** Where the first of them begins. */
  #found(text: string): number {
    return Math.min(...this.#stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0), Infinity);
  }

  /** How many characters at the end may begin a stop string. */
  #pending(text: string): number {
    let most = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > most; length -= 1) {
        if (text.endsWith(stop.slice(0, length))) most = length;
      }
    }
    return most;
  }
}

/** The stop strings that a call gives. @throws GatewayError `invalid_json` */
export function stopsOf({ body, fields }: Call): readonly string[] {
  const field = fields.members.get('stop');
  if (field === undefined) return [];
  const spans = valueKind(body, field) === 'array' ? scanArray(body, field) : [field];
  return spans.map((span) => readString(body, span) ?? '').filter((stop) => stop !== '');
}
