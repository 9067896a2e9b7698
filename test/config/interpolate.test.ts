// `${NAME}`: what is put in, what is refused, and that it can never be more than one text.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { interpolate } from '../../src/config/interpolate.ts';
import { parseConfig } from '../../src/config/load.ts';
import { readTree } from '../../src/config/tree.ts';

const ENV = { A: 'one', EMPTY: '', DOLLAR: '${A} $$' };

describe('a text', () => {
  test.each([
    ['plain', 'plain'],
    ['${A}', 'one'],
    ['x${A}y${A}z', 'xoneyonez'],
    ['${EMPTY}', ''],
    ['${EMPTY:-default}', 'default'],
    ['${A:-default}', 'one'],
    ['${NONE:-}', ''],
    ['${NONE:-a:-b c}', 'a:-b c'],
    ['${NONE:-$A}', '$A'],
    ['$${A}', '${A}'],
    ['$$$${A}', '$${A}'],
    ['$$${A}', '$one'],
    ['$A costs 5$', '$A costs 5$'],
    ['${DOLLAR}', '${A} $$'],
  ])('%s becomes %s', (written, value) => {
    expect(interpolate(written, ENV)).toEqual({ value, faults: [] });
  });

  test.each(['${', '${}', '${A', '${1A}', '${A-b}', '${A:?no}', '${ A }', '${A.B}', '${Ä}'])(
    '%s is refused',
    (written) => {
      expect(interpolate(written, ENV).faults.map(({ text }) => text)).toEqual([
        'must be written ${NAME} or ${NAME:-default}; `$$` stands for a plain `$`',
      ]);
    },
  );

  test('names of what every object has are not variables', () => {
    expect(interpolate('${constructor:-none}${toString:-}', ENV).value).toBe('none');
  });

  test('all that is missing is told, each at its own place', () => {
    const faults = readTree('a: x\nb:\n  - "${A} ${ONE}${TWO}"\n', ENV).faults;
    expect(faults.map(({ line, column }) => [line, column])).toEqual([
      [3, 11],
      [3, 17],
    ]);
    expect(faults[1]?.text).toBe(
      'b[0] reads TWO, which is not set; set it in the environment or in .env, or write ${TWO:-default}',
    );
  });
});

describe('a value from the environment', () => {
  const text =
    'plain: ${V}\nquoted: "${V}"\nsingle: \'${V}\'\nflow: { a: ["${V}"], b: 1 }\nblock: |-\n  ${V}\nlast: 2\n';

  test('never changes the structure, whatever it holds', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.constantFrom('{a: 1}', '\n- x', 'x: y', '# c', '&a', '*a', '!t', '${V}', '---'),
        ),
        (V) => {
          expect(readTree(text, { V })).toMatchObject({
            value: { plain: V, quoted: V, single: V, flow: { a: [V], b: 1 }, block: V, last: 2 },
            faults: [],
          });
        },
      ),
    );
  });

  test.each(['null', 'true', '4000', '~', '[]', '0x1f'])('stays a text: %s', (V) => {
    expect(readTree(text, { V }).value).toMatchObject({ plain: V, quoted: V });
  });

  test('is taken for a number, a flag, a word or a unit where the option is one', () => {
    const config = parseConfig(
      'listen: [{ port: "${P}", exposed: "${E:-true}", auth: "${O}", host: 0.0.0.0 }]\nlimits: { idle_ms: "${I}", queue_length: "${Q}", ip: "${OFF}" }',
      'f.yaml',
      { P: '8080', O: 'open', I: '90s', Q: '7', OFF: 'off' },
    );
    expect(config.listen).toEqual([{ port: 8080, host: '0.0.0.0', auth: 'open', mode: 'direct' }]);
    expect(config.limits).toMatchObject({ idle_ms: 90_000, queue_length: 7, ip: undefined });
  });

  test('made of digits is still a text where the option is one', () => {
    const config = parseConfig('backends: { d: { url: "http://h", key: "${K}" } }', 'f.yaml', { K: '12345678' });
    expect(config.backends?.get('d')?.key).toBe('12345678');
  });
});
