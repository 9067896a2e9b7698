// How long a prompt is in tokens, without a tokenizer: by its bytes, and by what a token of this model has lately taken. An
// estimate is a span, and only what lies beyond the whole of it is taken for certain.
/** Tokens: at least, and at most. */
export interface Estimate {
  readonly least: number;
  readonly most: number;
}

/** A prompt so short is mostly template: it says nothing of the model's tokens. */
const BYTES_MIN = 2_000;
const SAMPLES_MIN = 4;
/**
 * Before anything is learned: English prose has 4 to 5 bytes a token, code 3, Chinese as UTF-8 about 3; a file of
 * nothing but \u escapes has 2, one of indentation 8 and more.
 */
const UNKNOWN = { low: 1.5, high: 16 };
/** What a prompt may differ from those before it. */
const MARGIN = 2;

export class Measure {
  readonly #ratios = new Map<string, { bytes_per_token: number; samples: number }>();

  /** A prompt of so many bytes turned out to have so many tokens. */
  learn(model: string, bytes: number, tokens: number): void {
    if (bytes < BYTES_MIN || tokens <= 0) return;
    const found = bytes / tokens;
    const known = this.#ratios.get(model);
    if (known === undefined) this.#ratios.set(model, { bytes_per_token: found, samples: 1 });
    else {
      known.bytes_per_token += (found - known.bytes_per_token) / 8;
      known.samples += 1;
    }
  }

  tokens(model: string, bytes: number): Estimate {
    const known = this.#ratios.get(model);
    const { low, high } =
      known === undefined || known.samples < SAMPLES_MIN
        ? UNKNOWN
        : { low: known.bytes_per_token / MARGIN, high: known.bytes_per_token * MARGIN };
    return { least: Math.floor(bytes / high), most: Math.ceil(bytes / low) };
  }
}
