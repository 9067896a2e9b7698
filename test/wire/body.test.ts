// The scanner against JSON.parse as its oracle, and splices against the untouched bytes around them.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  findMembers,
  isNull,
  pieces,
  readBoolean,
  readString,
  removeMember,
  renameMember,
  scanArray,
  scanMember,
  scanObject,
  setMember,
  splice,
  valueKind,
} from '../../src/wire/body.ts';
import type { Edit } from '../../src/wire/body.ts';
import { GatewayError } from '../../src/wire/errors.ts';

const bytes = (text: string): Buffer => Buffer.from(text);

function refusal(act: () => unknown): GatewayError {
  try {
    act();
  } catch (error) {
    if (error instanceof GatewayError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

function member(body: Buffer, name: string): unknown {
  const field = scanObject(body).members.get(name)!;
  return JSON.parse(body.toString('utf8', field.value_start, field.value_end));
}

describe('scanObject', () => {
  test('says where the members, their names and the braces stand', () => {
    const body = bytes(' { "model" : "m" ,\n"n":[1,{"model":2}]} ');
    const fields = scanObject(body);
    expect(fields).toMatchObject({ open: 1, close: 38 });
    expect([...fields.members.keys()]).toEqual(['model', 'n']);
    expect(fields.members.get('model')).toEqual({ key_start: 3, value_start: 13, value_end: 16 });
  });

  test.each([
    ['an empty body', ''],
    ['only space', ' \n'],
    ['a member that is not closed', '{"model":"m"'],
    ['a string that is not closed', '{"model":"m}'],
    ['a string that ends in an escape', '{"model":"m\\'],
    ['a comma too many', '{"model":"m",}'],
    ['a comma first', '{,"model":"m"}'],
    ['a comma too many in an array', '{"a":[1,]}'],
    ['a comma missing', '{"a":1 "b":2}'],
    ['a colon missing', '{"a" 1}'],
    ['a value missing', '{"a":}'],
    ['a name without quotes', '{model:"m"}'],
    ['single quotes', "{'model':'m'}"],
    ['a comment', '{"a":1/*b*/}'],
    ['NaN', '{"a":NaN}'],
    ['True', '{"a":True}'],
    ['a literal cut short', '{"a":tru}'],
    ['a literal too long', '{"a":nulll}'],
    ['a leading zero', '{"a":01}'],
    ['a leading plus', '{"a":+1}'],
    ['a lone minus', '{"a":-}'],
    ['a point with nothing after it', '{"a":1.}'],
    ['an exponent with nothing after it', '{"a":1e+}'],
    ['a raw newline in a string', '{"a":"line\nline"}'],
    ['an escape that is none', '{"a":"\\x41"}'],
    ['three hexadecimal digits', '{"a":"\\u12"}'],
    ['a bad escape deep in a name', `{"${'n'.repeat(100)}\\x":1}`],
    ['two objects', '{}{}'],
    ['a byte after the end', '{} x'],
    ['a NUL after the end', '{}\0'],
    ['a byte order mark', '\ufeff{}'],
    ['a vertical tab as space', '{\v}'],
  ])('refuses %s, as JSON.parse does', (_, text) => {
    expect(() => JSON.parse(text)).toThrow(SyntaxError);
    const error = refusal(() => scanObject(bytes(text)));
    expect(error.code).toBe('invalid_json');
    expect(error.message).toMatch(/at byte \d+|is empty/);
  });

  test.each(['[]', '[{"model":"m"}]', '"model"', 'null', '1'])('refuses %s, which is no object', (text) => {
    expect(refusal(() => scanObject(bytes(text))).message).toContain('an object is expected, at byte 0');
  });

  test.each([
    ['little-endian', Buffer.from('{"a":1}', 'utf16le')],
    ['little-endian, marked', Buffer.from('\ufeff{}', 'utf16le')],
    ['big-endian', Buffer.from('{"a":1}', 'utf16le').swap16()],
    ['big-endian, marked', Buffer.from('\ufeff{}', 'utf16le').swap16()],
  ])('names UTF-16, %s, for what it is', (_, body) => {
    expect(refusal(() => scanObject(body)).message).toContain('UTF-8 is expected');
  });

  test('tells the byte and never the text', () => {
    const error = refusal(() => scanObject(bytes('{"secret":"é", oops}')));
    expect(error.message).toBe('The body is not valid JSON: a member name in double quotes is expected, at byte 16.');
  });

  test('takes 64 levels and not 65', () => {
    const nest = (levels: number): Buffer => bytes(`{"a":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`);
    expect(scanObject(nest(64)).members.size).toBe(1);
    expect(refusal(() => scanObject(nest(65)))).toMatchObject({
      code: 'invalid_json',
      message: expect.stringContaining('nested deeper than 64'),
    });
    expect(refusal(() => scanObject(bytes('{"a":'.repeat(100_000)))).code).toBe('invalid_json');
    expect(refusal(() => findMembers(bytes(`{"a":${'['.repeat(5_000_000)}`))).code).toBe('upstream_invalid');
  });

  test('takes 1024 members and not more', () => {
    const many = (count: number): Buffer =>
      bytes(`{${Array.from({ length: count }, (_, n) => `"k${n}":${n}`).join(',')}}`);
    expect(scanObject(many(1024)).members.size).toBe(1024);
    expect(refusal(() => scanObject(many(1025))).code).toBe('invalid_json');
  });

  test('decodes escaped names', () => {
    expect(member(bytes('{"\\u006dodel":"m"}'), 'model')).toBe('m');
    expect([...scanObject(bytes('{"\\"\\ud83d\\ude00\\ud800":1}')).members.keys()]).toEqual(['"😀\ud800']);
  });

  test('lets the last of two stand, as JSON.parse does', () => {
    expect(member(bytes('{"a":1,"a":2}'), 'a')).toBe(2);
  });

  test.each([
    ['{"model":"a","model":"b"}', 'model'],
    ['{"model":"a","\\u006dodel":"b"}', 'model'],
    ['{"model":"a","Model":"b"}', 'model'],
    ['{"MODEL":"a","model":"b"}', 'model'],
    ['{"stream":false,"\u017ftream":true}', 'stream'],
    ['{"stream":false,"\\u017ftream":true}', 'stream'],
    ['{"STREAM_option\u017f":{},"stream_options":{}}', 'stream_options'],
  ])('refuses %s: a Go backend could believe the other one', (text, param) => {
    const error = refusal(() => scanObject(bytes(text)));
    expect(error).toMatchObject({ code: 'invalid_value', details: { param } });
  });

  test('refuses the Kelvin sign for a k, where k is in a name that may occur once', () => {
    const twice = bytes('{"max_tokens":1,"max_to\u212aens":2}');
    expect(scanObject(twice).members.size).toBe(2);
    expect(refusal(() => scanObject(twice, { once: ['max_tokens'] })).details.param).toBe('max_tokens');
  });

  test.each(['{"Model":"m"}', '{"models":1,"model":"m"}', '{"messages":[{"model":1,"model":2}],"model":"m"}'])(
    'finds nothing twice in %s',
    (text) => {
      expect(scanObject(bytes(text)).members.size).toBeGreaterThan(0);
    },
  );

  test('is not troubled by names that mean something to JavaScript', () => {
    const body = bytes('{"__proto__":{"model":"x"},"constructor":1,"toString":2,"model":"m"}');
    const { members } = scanObject(body);
    expect([...members.keys()]).toEqual(['__proto__', 'constructor', 'toString', 'model']);
    expect(members.get('hasOwnProperty')).toBeUndefined();
    expect(Object.prototype).not.toHaveProperty('model');
  });

  test('leaps over long strings, whatever their quotes and backslashes', () => {
    for (const tail of ['', '\\\\', '\\"', '\\\\\\"', '\\\\\\\\', '\\"\\"', `\\"${'y'.repeat(200)}`]) {
      for (const length of [0, 1, 62, 63, 64, 65, 66, 127, 128, 500]) {
        const text = `{"a":"${'x'.repeat(length)}${tail}","b":"${tail}${'é'.repeat(length)}"}`;
        const parsed = JSON.parse(text) as Record<string, string>;
        for (const name of ['a', 'b']) expect(member(bytes(text), name)).toBe(parsed[name]);
      }
    }
  });

  test('scans a 20 MB vision body', () => {
    const url = `data:image/png;base64,${'iVBORw0KGgo+/'.repeat(1_500_000)}`;
    const body = bytes(JSON.stringify({ model: 'm', messages: [{ content: [{ image_url: { url } }] }], stream: true }));
    expect(body.length).toBeGreaterThan(19_000_000);
    expect([...scanObject(body).members.keys()]).toEqual(['model', 'messages', 'stream']);
  });
});

// JSON as strangers write it: random space, random escapes, any Unicode, members named like others.
const space = fc.array(fc.constantFrom(' ', '\n', '\t', '\r'), { maxLength: 3 }).map((list) => list.join(''));
// None is a lone backslash: once V8 (Node 26.10) has parsed an object with a member named so, JSON.parse may read the
// name of another that is one escaped character as `\`: `{"a":1,"\"":2}`. Then it is no judge of names.
const text = fc
  .oneof(
    fc.string({ unit: 'binary', maxLength: 80 }),
    fc.string({ unit: fc.constantFrom('"', '\\', '/', 'x', '\n', '\u2028', '😀'), maxLength: 200 }),
    fc.constantFrom('model', 'Model', 'stream', 'a', '__proto__', 'constructor', ''),
  )
  .filter((each) => each !== '\\');
const written = fc.tuple(text, fc.infiniteStream(fc.boolean())).map(([value, coin]) => {
  let out = '';
  for (let i = 0; i < value.length; i += 1) {
    const unit = value[i]!;
    if (coin.next().value && value.length < 100) out += `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
    else out += JSON.stringify(unit).slice(1, -1);
  }
  return `"${out}"`;
});
const { value: jsonValue } = fc.letrec<{ value: string; array: string; object: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom('true', 'false', 'null', '0', '-0', '1e9', '-1.5E-3', '12345678901234567890', '0.1'),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => JSON.stringify(n)),
    written,
    tie('array'),
    tie('object'),
  ),
  array: fc
    .tuple(space, fc.array(fc.tuple(tie('value'), space), { maxLength: 4 }))
    .map(([s, items]) => `[${s}${items.map(([v, t]) => `${t}${v}${t}`).join(',')}]`),
  object: fc
    .tuple(space, fc.array(fc.tuple(written, tie('value'), space), { maxLength: 4 }))
    .map(([s, items]) => `{${s}${items.map(([k, v, t]) => `${t}${k}${t}:${t}${v}${t}`).join(',')}}`),
}));
const jsonObject = fc
  .tuple(space, fc.array(fc.tuple(written, jsonValue, space), { maxLength: 6 }))
  .map(([s, items]) => `${s}{${s}${items.map(([k, v, t]) => `${t}${k}${t}:${t}${v}${t}`).join(',')}}${s}`);

describe('against JSON.parse', () => {
  test('every member of any object is what JSON.parse finds, and its kind too', () => {
    fc.assert(
      fc.property(jsonObject, (json) => {
        const body = bytes(json);
        const { members } = scanObject(body, { once: [] });
        const parsed = JSON.parse(body.toString()) as Record<string, unknown>;
        expect(new Set(members.keys())).toEqual(new Set(Object.keys(parsed)));
        for (const [name, field] of members) {
          const value = Object.getOwnPropertyDescriptor(parsed, name)?.value as unknown;
          expect(JSON.parse(body.toString('utf8', field.value_start, field.value_end))).toEqual(value);
          expect(readString(body, field)).toBe(typeof value === 'string' ? value : undefined);
          expect(readBoolean(body, field)).toBe(typeof value === 'boolean' ? value : undefined);
          expect(isNull(body, field)).toBe(value === null);
          expect(body[field.key_start]).toBe(0x22);
          if (valueKind(body, field) === 'array') {
            const items = scanArray(body, field).map((at) => body.toString('utf8', at.value_start, at.value_end));
            expect(items.map((item) => JSON.parse(item) as unknown)).toEqual(value);
          }
          if (valueKind(body, field) === 'object') {
            expect(new Set(scanMember(body, field).members.keys())).toEqual(new Set(Object.keys(value as object)));
          }
        }
      }),
      { numRuns: 1000 },
    );
  });

  const parses = (body: Buffer): boolean => {
    try {
      const parsed: unknown = JSON.parse(body.toString());
      return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed);
    } catch {
      return false;
    }
  };
  const scans = (body: Buffer): boolean => {
    try {
      scanObject(body, { once: [] });
      return true;
    } catch (error) {
      expect(error).toBeInstanceOf(GatewayError);
      return false;
    }
  };
  const mended = (body: Buffer): Buffer =>
    bytes(
      body
        .toString()
        // oxlint-disable-next-line no-control-regex
        .replaceAll(/[\0-\x1f]/g, ' ')
        .replaceAll(/\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})?/g, (escape) => (escape.length > 1 ? escape : 'x')),
    );
  const change = fc.record({
    at: fc.nat(),
    take: fc.nat({ max: 3 }),
    put: fc.oneof(
      fc.uint8Array({ maxLength: 3 }),
      fc
        .string({ unit: fc.constantFrom(...Array.from('{}[]:,"\\ \n\0eE+-.019tfnu')), maxLength: 3 })
        .map((put) => bytes(put)),
    ),
  });
  const mutated = fc.tuple(jsonObject, fc.array(change, { minLength: 1, maxLength: 3 })).map(([json, changes]) => {
    let body = bytes(json);
    for (const { at, take, put } of changes) {
      const i = at % (body.length + 1);
      body = Buffer.concat([body.subarray(0, i), put, body.subarray(i + take)]);
    }
    return body;
  });

  test('whatever is done to the bytes, it refuses what JSON.parse refuses (long strings aside)', () => {
    fc.assert(
      fc.property(mutated, (body) => {
        const strict = parses(body);
        if (strict || body.length <= 64) expect(scans(body)).toBe(strict);
        // The one leniency: raw control characters and bad escapes in the depth of a long string.
        else if (scans(body)) expect(parses(mended(body))).toBe(true);
      }),
      { numRuns: 5000 },
    );
  });

  test('is lenient only in the depth of long strings, and there the end is not moved', () => {
    const long = 'x'.repeat(64);
    for (const inner of ['\n', '\0', '\\x', '\\u12']) {
      const body = bytes(`{"a":"${long}${inner}","model":"m"}`);
      expect(parses(body)).toBe(false);
      expect([...scanObject(body).members.keys()]).toEqual(['a', 'model']);
      expect(refusal(() => readString(body, scanObject(body).members.get('a')!)).code).toBe('invalid_json');
    }
  });
});

const LETTERS = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];

describe('splice', () => {
  const edited = (json: string, edit: (body: Buffer, fields: ReturnType<typeof scanObject>) => Edit[]): string => {
    const body = bytes(json);
    return splice(body, edit(body, scanObject(body))).toString();
  };

  test.each<[string, string, string]>([
    ['{"model":"a","n":1}', 'set', '{"model":"é","n":1}'],
    ['{ "n": 1e400, "model" : "a" }', 'set', '{ "n": 1e400, "model" : "é" }'],
    ['{"n":1}', 'set', '{"n":1,"model":"é"}'],
    ['{}', 'set', '{"model":"é"}'],
    ['{ \n }', 'set', '{ \n "model":"é"}'],
    ['{"model":1}', 'remove', '{}'],
    ['{"model":1,"n":2}', 'remove', '{"n":2}'],
    ['{ "model" : 1 , "n":2}', 'remove', '{ "n":2}'],
    ['{"a":0, "model":1, "n":2}', 'remove', '{"a":0, "n":2}'],
    ['{"a":0 , "model":1 }', 'remove', '{"a":0  }'],
    ['{"n":1}', 'remove', '{"n":1}'],
    ['{"\\u006dodel" : 1}', 'rename', '{"name" : 1}'],
    ['{"n":1}', 'rename', '{"n":1}'],
  ])('%s, %s: %s', (json, what, result) => {
    expect(
      edited(json, (body, fields) => {
        if (what === 'set') return [setMember(body, fields, 'model', '"é"')];
        if (what === 'remove') return [removeMember(body, fields, 'model')];
        return [renameMember(body, fields, 'model', 'name')];
      }),
    ).toBe(result);
  });

  test('overlapping edits are a bug, not a body', () => {
    const edits: Edit[] = [
      { start: 1, end: 4, text: '' },
      { start: 3, end: 5, text: '' },
    ];
    expect(() => splice(bytes('{"a":1}'), edits)).toThrow(RangeError);
    expect(() => pieces(bytes('{"a":1}'), edits)).toThrow(RangeError);
  });

  test('any set of edits makes what was meant and leaves every other byte', () => {
    const plan = fc.record({
      names: fc.uniqueArray(fc.constantFrom(...LETTERS), { maxLength: 6 }),
      values: fc.array(jsonValue, { minLength: 6, maxLength: 6 }),
      pads: fc.array(space, { minLength: 6, maxLength: 6 }),
      steps: fc.uniqueArray(
        fc.record({ name: fc.constantFrom(...LETTERS), what: fc.constantFrom('set', 'remove', 'rename') }),
        { selector: (step) => step.name, maxLength: 8 },
      ),
    });
    fc.assert(
      fc.property(plan, ({ names, values, pads, steps }) => {
        const rows = names.map((name, n) => `${pads[n]}"${name}"${pads[n]}:${values[n]}${pads[n]}`);
        const body = bytes(`{${rows.join(',')}}`);
        const fields = scanObject(body);
        const edits: Edit[] = [];
        const wanted: [string, string][] = names.map((name, n) => [name, values[n]!]);
        for (const { name, what } of steps) {
          const row = wanted.find(([each]) => each === name);
          if (what === 'set') {
            edits.push(setMember(body, fields, name, '{"new":1}'));
            if (row === undefined) wanted.push([name, '{"new":1}']);
            else row[1] = '{"new":1}';
          } else if (what === 'remove') {
            edits.push(removeMember(body, fields, name));
            if (row !== undefined) wanted.splice(wanted.indexOf(row), 1);
          } else {
            edits.push(renameMember(body, fields, name, `${name}${name}`));
            if (row !== undefined) row[0] = `${name}${name}`;
          }
        }
        const out = splice(body, edits);
        expect(Buffer.concat(pieces(body, edits)).equals(out)).toBe(true);
        const after = scanObject(out);
        const found = [...after.members].map(([name, at]) => [
          name,
          out.toString('utf8', at.value_start, at.value_end),
        ]);
        expect(found).toEqual(wanted);
        expect(() => JSON.parse(out.toString()) as unknown).not.toThrow();
      }),
      { numRuns: 2000 },
    );
  });
});

describe('findMembers', () => {
  test('finds what an answer holds, letter case and repeats aside', () => {
    const answer = bytes('{"data":[{"embedding":[0.1,-2e-3]}],"Model":"x","model":"y","usage":{"total_tokens":3}}');
    const { members } = findMembers(answer);
    expect([...members.keys()]).toEqual(['data', 'Model', 'model', 'usage']);
    expect(scanArray(answer, members.get('data')!)).toHaveLength(1);
    expect([...scanMember(answer, members.get('usage')!).members.keys()]).toEqual(['total_tokens']);
  });

  test.each(['', '<html>502</html>', '[]', '{"error":', 'null'])('tells that %j is no answer', (answer) => {
    expect(refusal(() => findMembers(bytes(answer))).code).toBe('upstream_invalid');
  });
});
