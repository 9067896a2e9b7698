// The matched stop string, kept out of what is told: OpenAI never sends it, OpenVINO Model Server does in streams. What could
// be the beginning of one is held back until the next piece shows that it is not.
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
    const found = this.#stops.map((stop) => all.indexOf(stop)).filter((at) => at >= 0);
    if (found.length > 0) {
      this.#stopped = true;
      this.#held = '';
      return all.slice(0, Math.min(...found));
    }
    const kept = this.#pending(all);
    this.#held = all.slice(all.length - kept);
    return all.slice(0, all.length - kept);
  }

  /** What was held back, once nothing more comes. */
  end(): string {
    const held = this.#held;
    this.#held = '';
    return held;
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

/** The stop strings that a call gives. */
export function stopsOf({ body, fields }: Call): readonly string[] {
  const field = fields.members.get('stop');
  if (field === undefined) return [];
  const value: unknown = JSON.parse(body.toString('utf8', field.value_start, field.value_end));
  return [value].flat().filter((stop) => typeof stop === 'string' && stop !== '') as string[];
}
