// JSON bodies without parsing them: where the top-level members stand, and splices that leave every other byte alone.
// Strings, which are nearly all of a large body, are leapt over with `indexOf('"')`: a 20 MB vision body costs a
// millisecond where JSON.parse and JSON.stringify block the event loop for 200.

import type { Field, Fields } from '../types.ts';
import { GatewayError } from './errors.ts';
import {
  CLOSE_BRACE,
  CLOSE_BRACKET,
  COLON,
  COMMA,
  OPEN_BRACE,
  OPEN_BRACKET,
  QUOTE,
  decode,
  endOfString,
  endOfValue,
  fail,
  skipSpace,
  skipSpaceBack,
} from './json.ts';

/** What the gateway itself reads: given twice, it and a backend could each believe another one. */
const READ_NAMES: readonly string[] = ['model', 'stream', 'stream_options'];

/** An answer's nesting is the engine's affair: this only keeps the stack whole. */
const ANSWER_DEPTH_MAX = 1000;

/** A value's bytes, end exclusive. */
export type Span = Pick<Field, 'value_start' | 'value_end'>;

interface ScanLimits {
  /** Objects and arrays open at once, the outermost counted. */
  readonly depth_max?: number;
  /** Top-level members: each costs a map entry, and four million of them fit in 32 MB. */
  readonly members_max?: number;
  /** Names that may occur once, letter case ignored. */
  readonly once?: readonly string[];
}

type Kind = 'string' | 'number' | 'object' | 'array' | 'true' | 'false' | 'null';

/**
 * The top-level members of the JSON object that is the whole of `body`. Of a name given twice the last stands, as in
 * JSON.parse, except for the names in `once`. @throws GatewayError `invalid_json` with the byte offset and never the
 * text; `invalid_value` for a second one of `once`.
 */
export function scanObject(body: Buffer, limits: ScanLimits = {}): Fields {
  refuseEncodings(body);
  const fields = scanAt(body, skipSpace(body, 0), limits);
  const rest = skipSpace(body, fields.close + 1);
  if (rest < body.length) fail('nothing may follow the closing brace', rest);
  return fields;
}

/** The members of an object within a scanned body, such as `stream_options`. Offsets are into `body`. */
export function scanMember(body: Buffer, span: Span, limits: ScanLimits = {}): Fields {
  return scanAt(body, span.value_start, { once: [], ...limits });
}

/** The members of a backend's answer: `usage`, `error`, `choices`, `data`. @throws GatewayError `upstream_invalid` */
export function findMembers(answer: Buffer): Fields {
  try {
    return scanObject(answer, { depth_max: ANSWER_DEPTH_MAX, once: [] });
  } catch {
    throw noObject();
  }
}

/** A backend's answer, parsed. @throws GatewayError `upstream_invalid` */
export function parseAnswer(answer: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(answer.toString('utf8'));
  } catch {
    throw noObject();
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw noObject();
  return value as Record<string, unknown>;
}

function noObject(): GatewayError {
  return new GatewayError('upstream_invalid', 'The backend sent an answer that is not a JSON object.', {
    cause: 'answer is not a JSON object',
  });
}

/** The elements of an array within a scanned body. */
export function scanArray(body: Buffer, span: Span): Span[] {
  if (body[span.value_start] !== OPEN_BRACKET) fail('an array is expected', span.value_start);
  const elements: Span[] = [];
  let i = skipSpace(body, span.value_start + 1);
  if (body[i] === CLOSE_BRACKET) return elements;
  for (;;) {
    const end = endOfValue(body, i, 0, ANSWER_DEPTH_MAX);
    elements.push({ value_start: i, value_end: end });
    i = skipSpace(body, end);
    if (body[i] === CLOSE_BRACKET) return elements;
    if (body[i] !== COMMA) fail("a comma or ']' is expected", i);
    i = skipSpace(body, i + 1);
  }
}

/** What a scanned value is; told by its first byte. */
export function valueKind(body: Buffer, span: Span): Kind {
  switch (body[span.value_start]) {
    case QUOTE:
      return 'string';
    case OPEN_BRACE:
      return 'object';
    case OPEN_BRACKET:
      return 'array';
    case 0x74:
      return 'true';
    case 0x66:
      return 'false';
    case 0x6e:
      return 'null';
    case undefined:
    default:
      return 'number';
  }
}

/** The string, escapes decoded; `undefined` for any other kind. @throws GatewayError `invalid_json`. */
export function readString(body: Buffer, span: Span): string | undefined {
  return body[span.value_start] === QUOTE ? decode(body, span.value_start, span.value_end) : undefined;
}

export function readBoolean(body: Buffer, span: Span): boolean | undefined {
  const kind = valueKind(body, span);
  return kind === 'true' ? true : kind === 'false' ? false : undefined;
}

export function isNull(body: Buffer, span: Span): boolean {
  return valueKind(body, span) === 'null';
}

// ---- splices ---------------------------------------------------------------------------------------------------

/** One change to a body: bytes `start` to `end` become `text`. For a whole member, `splice` sees to the commas. */
export interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
  readonly member?: 'added' | 'removed';
}

/** Gives a member this value (JSON text): in its place, or as the last member where the object has none of the name. */
export function setMember(_body: Buffer, fields: Fields, name: string, json: string): Edit {
  const field = fields.members.get(name);
  if (field !== undefined) return { start: field.value_start, end: field.value_end, text: json };
  return { start: fields.close, end: fields.close, text: `${JSON.stringify(name)}:${json}`, member: 'added' };
}

/** Takes a member out; of one given twice, the last. Changes nothing where there is none. */
export function removeMember(_body: Buffer, fields: Fields, name: string): Edit {
  const field = fields.members.get(name);
  if (field === undefined) return { start: fields.close, end: fields.close, text: '' };
  return { start: field.key_start, end: field.value_end, text: '', member: 'removed' };
}

/** Gives a member another name and leaves its value. Changes nothing where there is none. */
export function renameMember(body: Buffer, fields: Fields, name: string, to: string): Edit {
  const field = fields.members.get(name);
  if (field === undefined) return { start: fields.close, end: fields.close, text: '' };
  return { start: field.key_start, end: endOfString(body, field.key_start), text: JSON.stringify(to) };
}

/** The body with the edits made, in one allocation. In any order; two that overlap are a bug. @throws RangeError */
export function splice(body: Buffer, edits: readonly Edit[]): Buffer {
  const cuts = cutsOf(body, edits);
  let length = body.length;
  for (const cut of cuts) length += Buffer.byteLength(cut.text) - (cut.end - cut.start);
  const out = Buffer.allocUnsafe(length);
  let from = 0;
  let to = 0;
  for (const cut of cuts) {
    if (cut.start < from) throw new RangeError('edits overlap');
    to += body.copy(out, to, from, cut.start);
    to += out.write(cut.text, to);
    from = cut.end;
  }
  body.copy(out, to, from);
  return out;
}

/** The same without a copy: views of the body, and the edits' text between them. @throws RangeError */
export function pieces(body: Buffer, edits: readonly Edit[]): Buffer[] {
  const parts: Buffer[] = [];
  let from = 0;
  for (const cut of cutsOf(body, edits)) {
    if (cut.start < from) throw new RangeError('edits overlap');
    if (cut.start > from) parts.push(body.subarray(from, cut.start));
    if (cut.text !== '') parts.push(Buffer.from(cut.text));
    from = cut.end;
  }
  if (from < body.length) parts.push(body.subarray(from));
  return parts;
}

function cutsOf(body: Buffer, edits: readonly Edit[]): readonly Edit[] {
  // A value alone, such as the model's name, moves no commas.
  return edits.length === 1 && edits[0]?.member === undefined ? edits : settleCommas(body, edits);
}

/** Members added and removed with their commas, so that any set of edits leaves an object. */
function settleCommas(body: Buffer, edits: readonly Edit[]): Edit[] {
  const sorted = edits.toSorted((a, b) => a.start - b.start || a.end - b.end);
  const cuts: Edit[] = [];
  // The closing brace of an object that has no member before it, at this point of the walk.
  let bare = -1;
  let added = -1;
  for (let n = 0; n < sorted.length; n += 1) {
    const edit = sorted[n]!;
    if (edit.member === 'added') {
      const empty = bare === edit.start || body[skipSpaceBack(body, edit.start - 1)] === OPEN_BRACE;
      cuts.push(empty && added !== edit.start ? edit : { ...edit, text: `,${edit.text}` });
      added = edit.start;
    } else if (edit.member === 'removed') {
      // Neighbours that go too share the commas between them.
      let { end } = edit;
      let after = skipSpace(body, end);
      while (sorted[n + 1]?.member === 'removed' && body[after] === COMMA) {
        const next = sorted[n + 1]!;
        if (skipSpace(body, after + 1) !== next.start) break;
        n += 1;
        end = next.end;
        after = skipSpace(body, end);
      }
      const before = skipSpaceBack(body, edit.start - 1);
      if (body[after] === COMMA) cuts.push({ start: edit.start, end: skipSpace(body, after + 1), text: '' });
      else if (body[before] === COMMA) cuts.push({ start: before, end, text: '' });
      else {
        cuts.push({ start: edit.start, end, text: '' });
        bare = after;
      }
    } else {
      cuts.push(edit);
    }
  }
  return cuts;
}

// ---- the scan ------------------------------------------------------------------------------------------------------

function scanAt(body: Buffer, open: number, limits: ScanLimits): Fields {
  const { depth_max = 64, members_max = 1024, once = READ_NAMES } = limits;
  if (body[open] !== OPEN_BRACE) fail('an object is expected', open);
  const members = new Map<string, Field>();
  const seen: string[] = [];
  let count = 0;
  let i = skipSpace(body, open + 1);
  if (body[i] === CLOSE_BRACE) return { members, open, close: i };
  for (;;) {
    const key_start = i;
    if (body[i] !== QUOTE) fail('a member name in double quotes is expected', i);
    const key_end = endOfString(body, i);
    const name = decode(body, key_start, key_end);
    i = skipSpace(body, key_end);
    if (body[i] !== COLON) fail("':' is expected", i);
    const value_start = skipSpace(body, i + 1);
    const value_end = endOfValue(body, value_start, 1, depth_max);
    count += 1;
    if (count > members_max) throw new GatewayError('invalid_json', `The body has more than ${members_max} members.`);
    refuseSecond(name, once, seen);
    members.set(name, { key_start, value_start, value_end });
    i = skipSpace(body, value_end);
    if (body[i] === CLOSE_BRACE) return { members, open, close: i };
    if (body[i] !== COMMA) fail("a comma or '}' is expected", i);
    i = skipSpace(body, i + 1);
  }
}

/**
 * Go's encoding/json, and so Ollama, matches names under Unicode simple folding: `Model` and `ſtream` are read as
 * `model` and `stream`. For ASCII names that is letter case, U+212A for k (toLowerCase knows it) and U+017F for s.
 */
function refuseSecond(name: string, once: readonly string[], seen: string[]): void {
  for (const plain of once) {
    if (name.length !== plain.length) continue;
    if (name !== plain && name.toLowerCase().replaceAll('\u017f', 's') !== plain.toLowerCase()) continue;
    if (seen.includes(plain)) {
      throw new GatewayError('invalid_value', `'${plain}' is given more than once (letter case aside).`, {
        param: plain,
      });
    }
    seen.push(plain);
  }
}

/** RFC 8259 §8.1: UTF-8 and no byte order mark. The commonest slips are named, the rest fail as a bad first byte. */
function refuseEncodings(body: Buffer): void {
  if (body.length === 0) throw new GatewayError('invalid_json', 'The body is empty; a JSON object is expected.');
  const [a, b, c] = body;
  if (a === 0xef && b === 0xbb && c === 0xbf) fail('a byte order mark must not be sent', 0);
  if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff) || a === 0 || b === 0) fail('UTF-8 is expected', 0);
}
