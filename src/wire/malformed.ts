// What a backend sent is not HTTP.
/** The bytes are no answer. `code` says what is wrong with them, in our words. */
export class Malformed extends Error {
  override readonly name = 'Malformed';
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}
