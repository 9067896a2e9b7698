// What stands between the chunks of a chunked body (RFC 9112 §7.1): sizes, extensions, line ends, trailers. By bytes, so it
// does not matter where a read ends; nothing is gathered.
import { Malformed } from './malformed.ts';

/** Trailers, which nobody reads. */
const TRAILER_BYTES_MAX = 32 * 1024;
/** A chunk's extension likewise. */
const EXTENSION_BYTES_MAX = 1024;
/** 2^48 bytes: no chunk is larger, and sums stay exact. */
const SIZE_DIGITS_MAX = 12;

const CR = 0x0d;
const LF = 0x0a;

export class Chunks {
  /** Bytes of the present chunk still to come. */
  left = 0;
  /** The last chunk has come, with its trailers. */
  over = false;

  #state: 'size' | 'extension' | 'size_lf' | 'data_cr' | 'data_lf' | 'trailer' | 'trailer_line' | 'last_lf' = 'size';
  /** The size as far as it has been read. */
  #size = 0;
  #digits = 0;
  #dropped = 0;

  /** Reads on to where a chunk's bytes begin, or the body is over, or the bytes are. Gives where. @throws Malformed */
  skip(bytes: Buffer, from: number): number {
    let at = from;
    for (; at < bytes.length && this.left === 0 && !this.over; at += 1) this.#read(bytes[at]!);
    return at;
  }

  /** So many bytes of the chunk were taken. */
  took(bytes: number): void {
    this.left -= bytes;
  }

  #read(byte: number): void {
    switch (this.#state) {
      case 'size':
        this.#digit(byte);
        break;
      case 'extension':
        if (byte === CR) this.#state = 'size_lf';
        else if (byte === LF) throw new Malformed('CHUNK_SIZE');
        else this.#drop(EXTENSION_BYTES_MAX);
        break;
      case 'size_lf':
        if (byte !== LF) throw new Malformed('CHUNK_SIZE');
        this.left = this.#size;
        this.#state = this.#size === 0 ? 'trailer' : 'data_cr';
        this.#size = this.#digits = this.#dropped = 0;
        break;
      case 'data_cr':
        if (byte !== CR) throw new Malformed('CHUNK_END');
        this.#state = 'data_lf';
        break;
      case 'data_lf':
        if (byte !== LF) throw new Malformed('CHUNK_END');
        this.#state = 'size';
        break;
      case 'trailer':
        this.#state = byte === CR ? 'last_lf' : 'trailer_line';
        this.#drop(TRAILER_BYTES_MAX);
        break;
      case 'trailer_line':
        if (byte === LF) this.#state = 'trailer';
        this.#drop(TRAILER_BYTES_MAX);
        break;
      case 'last_lf':
        if (byte !== LF) throw new Malformed('CHUNK_END');
        this.over = true;
        break;
    }
  }
  #digit(byte: number): void {
    const digit = hexOf(byte);
    if (digit >= 0) {
      this.#digits += 1;
      if (this.#digits > SIZE_DIGITS_MAX) throw new Malformed('CHUNK_SIZE');
      this.#size = this.#size * 16 + digit;
    } else if (this.#digits === 0) throw new Malformed('CHUNK_SIZE');
    else if (byte === CR) this.#state = 'size_lf';
    // `;` begins an extension; white space before it is bad but seen (RFC 9112 §7.1.1).
    else if (byte === 0x3b || byte === 0x20 || byte === 0x09) this.#state = 'extension';
    else throw new Malformed('CHUNK_SIZE');
  }

  #drop(bytes_max: number): void {
    this.#dropped += 1;
    if (this.#dropped > bytes_max) throw new Malformed('HEAD_TOO_LARGE');
  }
}

function hexOf(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}
