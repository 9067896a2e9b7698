// The grammar of JSON (RFC 8259) over bytes: where a value ends. Nothing is built; strings, which are nearly all of a
// large body, are leapt over with a native search for the quote.
//
// Checked everywhere but in the depth of long strings: past the first LOOK bytes after a string's opening quote (or after
// an escaped quote) a raw control character or a bad escape passes. Neither can move the string's end, so gateway and
// backend still agree on every member, and the backend refuses such a body in its own words.

import { GatewayError } from './errors.ts';

export const QUOTE = 0x22;
export const COMMA = 0x2c;
const MINUS = 0x2d;
export const COLON = 0x3a;
export const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
export const CLOSE_BRACKET = 0x5d;
export const OPEN_BRACE = 0x7b;
export const CLOSE_BRACE = 0x7d;

/** How far a string is read byte by byte before leaping: a native search costs about as much as this many bytes. */
const LOOK = 64;

/** Where the value at `at` ends; `depth` objects and arrays are open around it. @throws GatewayError */
export function endOfValue(body: Buffer, at: number, depth: number, depth_max: number): number {
  const c = body[at];
  if (c === QUOTE) return endOfString(body, at);
  if (c === OPEN_BRACE) return endOfObject(body, at, depth, depth_max);
  if (c === OPEN_BRACKET) return endOfArray(body, at, depth, depth_max);
  if (c === MINUS || isDigit(c)) return endOfNumber(body, at);
  return endOfLiteral(body, at);
}

function endOfObject(body: Buffer, open: number, depth: number, depth_max: number): number {
  if (depth >= depth_max) fail(`nested deeper than ${depth_max}`, open);
  let i = skipSpace(body, open + 1);
  if (body[i] === CLOSE_BRACE) return i + 1;
  for (;;) {
    if (body[i] !== QUOTE) fail('a member name in double quotes is expected', i);
    i = skipSpace(body, endOfString(body, i));
    if (body[i] !== COLON) fail("':' is expected", i);
    i = skipSpace(body, endOfValue(body, skipSpace(body, i + 1), depth + 1, depth_max));
    if (body[i] === CLOSE_BRACE) return i + 1;
    if (body[i] !== COMMA) fail("a comma or '}' is expected", i);
    i = skipSpace(body, i + 1);
  }
}

function endOfArray(body: Buffer, open: number, depth: number, depth_max: number): number {
  if (depth >= depth_max) fail(`nested deeper than ${depth_max}`, open);
  let i = skipSpace(body, open + 1);
  if (body[i] === CLOSE_BRACKET) return i + 1;
  for (;;) {
    i = skipSpace(body, endOfValue(body, i, depth + 1, depth_max));
    if (body[i] === CLOSE_BRACKET) return i + 1;
    if (body[i] !== COMMA) fail("a comma or ']' is expected", i);
    i = skipSpace(body, i + 1);
  }
}

export function endOfString(body: Buffer, open: number): number {
  const { length } = body;
  let i = open + 1;
  for (;;) {
    const look = Math.min(i + LOOK, length);
    while (i < look) {
      const c = body[i]!;
      if (c === QUOTE) return i + 1;
      if (c === BACKSLASH) i = endOfEscape(body, i);
      else if (c < 0x20) fail('a control character must be escaped', i);
      else i += 1;
    }
    const quote = i < length ? body.indexOf(QUOTE, i) : -1;
    if (quote < 0) fail('a string has no end', open);
    // The leap began between characters, so no backslash before it belongs to this quote.
    let slash = quote;
    while (slash > i && body[slash - 1] === BACKSLASH) slash -= 1;
    i = quote + 1;
    if ((quote - slash) % 2 === 0) return i;
  }
}

function endOfEscape(body: Buffer, at: number): number {
  switch (body[at + 1]) {
    case QUOTE:
    case BACKSLASH:
    case 0x2f: // /
    case 0x62: // b
    case 0x66: // f
    case 0x6e: // n
    case 0x72: // r
    case 0x74: // t
      return at + 2;
    case 0x75: // u
      for (let n = at + 2; n < at + 6; n += 1) if (!isHex(body[n])) fail('\\u needs four hexadecimal digits', at);
      return at + 6;
    case undefined:
    default:
      return fail('there is no such escape', at);
  }
}

function endOfNumber(body: Buffer, at: number): number {
  let i = body[at] === MINUS ? at + 1 : at;
  const whole = i;
  i = endOfDigits(body, i);
  if (i > whole + 1 && body[whole] === 0x30) fail('a number must not start with 0', whole);
  if (body[i] === 0x2e) i = endOfDigits(body, i + 1);
  if (body[i] === 0x65 || body[i] === 0x45) {
    const sign = body[i + 1];
    i = endOfDigits(body, sign === 0x2b || sign === MINUS ? i + 2 : i + 1);
  }
  return i;
}

function endOfDigits(body: Buffer, at: number): number {
  let i = at;
  while (isDigit(body[i])) i += 1;
  if (i === at) fail('a digit is expected', at);
  return i;
}

function endOfLiteral(body: Buffer, at: number): number {
  for (const word of ['true', 'false', 'null']) {
    let n = 0;
    while (n < word.length && body[at + n] === word.charCodeAt(n)) n += 1;
    if (n === word.length) return at + n;
  }
  return fail('a value is expected', at);
}

export function skipSpace(body: Buffer, at: number): number {
  let i = at;
  while (isSpace(body[i])) i += 1;
  return i;
}

export function skipSpaceBack(body: Buffer, at: number): number {
  let i = at;
  while (i >= 0 && isSpace(body[i])) i -= 1;
  return i;
}

function isSpace(c: number | undefined): boolean {
  return c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09;
}

function isDigit(c: number | undefined): boolean {
  return c !== undefined && c >= 0x30 && c <= 0x39;
}

function isHex(c: number | undefined): boolean {
  return isDigit(c) || (c !== undefined && (c | 0x20) >= 0x61 && (c | 0x20) <= 0x66);
}

/** The string from quote to quote. */
export function decode(body: Buffer, start: number, end: number): string {
  // Names and most short values have no escapes, and then their bytes are their text.
  let plain = start + 1;
  while (plain < end - 1 && body[plain]! >= 0x20 && body[plain] !== BACKSLASH) plain += 1;
  if (plain === end - 1) return body.toString('utf8', start + 1, plain);
  try {
    return JSON.parse(body.toString('utf8', start, end)) as string;
  } catch {
    return fail('a string holds a raw control character or a bad escape', start);
  }
}

export function fail(what: string, at: number): never {
  throw new GatewayError('invalid_json', `The body is not valid JSON: ${what}, at byte ${at}.`);
}
