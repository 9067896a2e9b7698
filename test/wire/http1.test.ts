// Answers by bytes: what is an answer and what is none, wherever the reads end, and the same as Node's own parser has it.
import { request } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { AnswerHeaders, AnswerParser } from '../../src/wire/http1.ts';
import { Malformed } from '../../src/wire/malformed.ts';

interface Heard {
  status: number;
  headers: AnswerHeaders;
  length: number | undefined;
  body: string;
  ended: boolean;
  reusable: boolean;
}

/** What is heard of an answer whose bytes come in these pieces, each gone by the time the next one comes. */
function hear(pieces: readonly (string | Buffer)[], fin = false): Heard {
  const heard: Heard = {
    status: 0,
    headers: new AnswerHeaders(),
    length: undefined,
    body: '',
    ended: false,
    reusable: false,
  };
  const parser = new AnswerParser({
    head: (status, headers, length) => Object.assign(heard, { status, headers, length }),
    body: (bytes) => (heard.body += bytes.toString('latin1')),
    end: () => {
      expect(heard.ended).toBe(false);
      heard.ended = true;
    },
  });
  parser.next();
  for (const piece of pieces) {
    const bytes = Buffer.from(piece as string, 'latin1');
    parser.push(bytes);
    bytes.fill('#');
  }
  if (fin) expect(parser.finish()).toBe(heard.ended);
  return { ...heard, reusable: parser.reusable };
}

const OK = 'HTTP/1.1 200 OK\r\n';
const CHUNKED = `${OK}transfer-encoding: chunked\r\n\r\n`;

describe('an answer', () => {
  test.for<[name: string, bytes: string, heard: Partial<Heard>]>([
    ['of known length', `${OK}Content-Length: 2\r\n\r\nhi`, { length: 2, body: 'hi', ended: true, reusable: true }],
    ['of no length', `${OK}content-length:0\r\n\r\n`, { length: 0, body: '', ended: true, reusable: true }],
    ['in chunks', `${CHUNKED}2\r\nhi\r\n0\r\n\r\n`, { length: undefined, body: 'hi', ended: true, reusable: true }],
    ['in upper-case sizes', `${CHUNKED}0A\r\n0123456789\r\n0\r\n\r\n`, { body: '0123456789', ended: true }],
    ['with extensions', `${CHUNKED}2;a=b\r\nhi\r\n0;x\r\n\r\n`, { body: 'hi', ended: true }],
    ['with a space after the size', `${CHUNKED}2 \r\nhi\r\n0\r\n\r\n`, { body: 'hi', ended: true }],
    ['with trailers', `${CHUNKED}2\r\nhi\r\n0\r\na: b\r\nc: d\r\n\r\n`, { body: 'hi', ended: true, reusable: true }],
    ['not over yet', `${CHUNKED}3\r\nhi`, { body: 'hi', ended: false }],
    ['until the end', `${OK}\r\nhi`, { length: undefined, body: 'hi', ended: false }],
    [
      'after an announcement',
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nlink: y\r\n\r\n${OK}content-length: 1\r\n\r\nx`,
      { status: 200, body: 'x', ended: true },
    ],
    ['without content', 'HTTP/1.1 204 No Content\r\n\r\n', { status: 204, length: 0, ended: true, reusable: true }],
    [
      'not modified, of a length it does not have',
      'HTTP/1.1 304 x\r\ncontent-length: 9\r\n\r\n',
      { ended: true, reusable: true },
    ],
    ['without a reason', 'HTTP/1.1 503\r\ncontent-length: 0\r\n\r\n', { status: 503, ended: true }],
    ['that closes', `${OK}connection: Close\r\ncontent-length: 0\r\n\r\n`, { ended: true, reusable: false }],
    ['of HTTP/1.0', 'HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n', { ended: true, reusable: false }],
    [
      'of HTTP/1.0 that stays',
      'HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n',
      { reusable: true },
    ],
    [
      'with more behind it',
      `${OK}content-length: 2\r\n\r\nhi${OK}content-length: 0\r\n\r\n`,
      { body: 'hi', ended: true, reusable: false },
    ],
    [
      'named as a member of every object',
      `${OK}__proto__: x\r\nconstructor: y\r\ncontent-length: 0\r\n\r\n`,
      { ended: true },
    ],
  ])('%s', ([, bytes, heard]) => {
    expect(hear([bytes])).toMatchObject(heard);
  });

  test('has its headers by lower-case name, each value once, and all of several', () => {
    const { headers } = hear([`${OK}A: 1 \r\nb:\t2\r\na: 3\r\nC:\r\na:4\r\ncontent-length: 0\r\n\r\n`]);
    expect(headers.all('a')).toEqual(['1', '3', '4']);
    expect(['a', 'b', 'c', 'd', 'content-length'].map((name) => headers.get(name))).toEqual([
      '1',
      '2',
      '',
      undefined,
      '0',
    ]);
  });

  test('that has no other end ends with its connection, and nothing else does', () => {
    expect(hear([`${OK}\r\nhi`], true)).toMatchObject({ body: 'hi', ended: true, reusable: false });
    expect(hear([`${OK}content-length: 3\r\n\r\nhi`], true).ended).toBe(false);
    expect(hear([`${CHUNKED}2\r\nhi\r\n`], true).ended).toBe(false);
    expect(hear([OK], true).ended).toBe(false);
  });
});

describe('no answer', () => {
  test.for<[name: string, bytes: string, code: string]>([
    ['another protocol, from its first bytes', 'SSH-2.0-OpenSSH_9.9\r\n', 'NOT_HTTP'],
    ['a request', 'GET / HTTP/1.1\r\n\r\n', 'NOT_HTTP'],
    ['HTTP/2', 'HTTP/2 200 OK\r\n\r\n', 'NOT_HTTP'],
    ['an unknown HTTP/1', 'HTTP/1.2 200 OK\r\n\r\n', 'STATUS_LINE'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n', 'STATUS_LINE'],
    ['a status of four', 'HTTP/1.1 2000 OK\r\n\r\n', 'STATUS_LINE'],
    ['a control character in the reason', 'HTTP/1.1 200 O\0K\r\n\r\n', 'STATUS_LINE'],
    ['lines that end in LF only', 'HTTP/1.1 200 OK\na: b\r\n\r\n', 'STATUS_LINE'],
    ['a header line that ends in LF only', `${OK}a: b\nc: d\r\n\r\n`, 'HEADER'],
    ['a header without a colon', `${OK}no colon\r\n\r\n`, 'HEADER'],
    ['a header without a name', `${OK}: x\r\n\r\n`, 'HEADER'],
    ['white space before the colon', `${OK}content-length : 2\r\n\r\n`, 'HEADER'],
    ['a folded line', `${OK}a: b\r\n c\r\n\r\n`, 'HEADER'],
    ['NUL in a value', `${OK}a: \0\r\n\r\n`, 'HEADER'],
    ['two lengths', `${OK}content-length: 2\r\ncontent-length: 3\r\n\r\n`, 'CONTENT_LENGTH'],
    ['one length twice', `${OK}content-length: 2\r\ncontent-length: 2\r\n\r\n`, 'CONTENT_LENGTH'],
    ['a length that is none', `${OK}content-length: -1\r\n\r\n`, 'CONTENT_LENGTH'],
    ['a length in hexadecimal', `${OK}content-length: 0x10\r\n\r\n`, 'CONTENT_LENGTH'],
    ['a length of several', `${OK}content-length: 2, 2\r\n\r\n`, 'CONTENT_LENGTH'],
    ['a length beyond counting', `${OK}content-length: 99999999999999999999\r\n\r\n`, 'CONTENT_LENGTH'],
    ['a length and chunks', `${OK}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n`, 'TWO_FRAMINGS'],
    ['an encoding nobody asked for', `${OK}transfer-encoding: gzip, chunked\r\n\r\n`, 'TRANSFER_ENCODING'],
    ['chunked twice', `${OK}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n`, 'TRANSFER_ENCODING'],
    ['an upgrade nobody asked for', 'HTTP/1.1 101 x\r\nupgrade: y\r\n\r\n', 'UPGRADE'],
    ['a head without end', `${OK}a: ${'b'.repeat(40_000)}`, 'HEAD_TOO_LARGE'],
    ['a size that is no number', `${CHUNKED}no\r\n`, 'CHUNK_SIZE'],
    ['no size', `${CHUNKED}\r\nhi\r\n`, 'CHUNK_SIZE'],
    ['a size that is signed', `${CHUNKED}-2\r\nhi\r\n`, 'CHUNK_SIZE'],
    ['a size with a prefix', `${CHUNKED}0x2\r\nhi\r\n`, 'CHUNK_SIZE'],
    ['a size beyond counting', `${CHUNKED}1000000000000\r\n`, 'CHUNK_SIZE'],
    ['a size line that ends in LF only', `${CHUNKED}2\nhi\r\n`, 'CHUNK_SIZE'],
    ['an extension that ends in LF only', `${CHUNKED}2;a\nhi\r\n`, 'CHUNK_SIZE'],
    ['an extension without end', `${CHUNKED}2;${'a'.repeat(2_000)}`, 'HEAD_TOO_LARGE'],
    ['a chunk longer than its size', `${CHUNKED}2\r\nhixx`, 'CHUNK_END'],
    ['a chunk that ends in LF only', `${CHUNKED}2\r\nhi\n`, 'CHUNK_END'],
    ['trailers without end', `${CHUNKED}0\r\n${'a: b\r\n'.repeat(10_000)}`, 'HEAD_TOO_LARGE'],
  ])('%s', ([, bytes, code]) => {
    for (const pieces of [[bytes], bytes.split('')]) {
      expect(() => hear(pieces)).toThrow(expect.objectContaining({ constructor: Malformed, code }));
    }
  });
});

// ---- what is made up by chance ------------------------------------------------------------------------------------

const text = fc.string({
  unit: fc.constantFrom('a', 'b', '\r', '\n', '0', ';', ':', ' ', '{', '"', '\u00ff'),
  maxLength: 40,
});
const size = fc.tuple(fc.boolean(), fc.nat(3), fc.constantFrom('', ';a', ';a="b"'));
const chunk = fc
  .tuple(
    text.filter((one) => one !== ''),
    size,
  )
  .map(([data, [upper, zeros, extension]]) => {
    const digits = data.length.toString(16);
    return { data, bytes: `${'0'.repeat(zeros)}${upper ? digits.toUpperCase() : digits}${extension}\r\n${data}\r\n` };
  });
const others = fc.array(fc.constantFrom('server: x\r\n', 'A:b\r\n', 'x-y:\t z \r\n', 'date: now\r\n'), {
  maxLength: 4,
});

/** Whole answers, and the body each has. */
const answers = fc.oneof(
  fc.tuple(others, text).map(([lines, body]) => ({
    body,
    bytes: `${OK}${lines.join('')}Content-Length: ${body.length}\r\n\r\n${body}`,
  })),
  fc.tuple(others, fc.array(chunk, { maxLength: 6 }), others).map(([lines, chunks, trailers]) => ({
    body: chunks.map(({ data }) => data).join(''),
    bytes: `${OK}${lines.join('')}Transfer-Encoding: Chunked\r\n\r\n${chunks.map(({ bytes }) => bytes).join('')}0\r\n${trailers.join('')}\r\n`,
  })),
);

test('wherever the reads end, the answer is the same, and its connection may be used again', () => {
  const cut = fc.tuple(answers, fc.array(fc.nat(400), { maxLength: 12 }));
  fc.assert(
    fc.property(cut, ([{ bytes, body }, places]) => {
      const ends = [...new Set(places.map((place) => place % bytes.length))].sort((a, b) => a - b);
      const pieces = [...ends, bytes.length].map((end, n) => bytes.slice(ends[n - 1] ?? 0, end));
      for (const list of [[bytes], pieces, bytes.split('')]) {
        expect(hear(list)).toMatchObject({ status: 200, body, ended: true, reusable: true });
      }
    }),
    { numRuns: 500 },
  );
});

test('whatever the bytes, the parser gives an answer or says Malformed', () => {
  const parts = fc.constantFrom(
    'HTTP/1.1 ',
    '200',
    ' OK',
    '\r\n',
    '\n',
    ':',
    'content-length',
    'transfer-encoding',
    'chunked',
    '2',
    '0',
    'hi',
    ';',
    ' ',
    '\0',
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(parts, text), { maxLength: 30 }), fc.boolean(), (list, whole) => {
      try {
        hear(whole ? [`${OK}${list.join('')}`] : list.map(String));
      } catch (error) {
        expect(error).toBeInstanceOf(Malformed);
      }
    }),
    { numRuns: 2_000 },
  );
});

test("what Node's own client makes of the bytes is the same", async () => {
  let bytes = '';
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(bytes, 'latin1'));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const asked = (): Promise<{ status: number; body: string }> =>
    new Promise((resolve, reject) => {
      request({ port, agent: false }, (answer) => {
        let body = '';
        answer.setEncoding('latin1').on('data', (part: string) => (body += part));
        answer.once('end', () => resolve({ status: answer.statusCode ?? 0, body })).once('error', reject);
      })
        .once('error', reject)
        .end();
    });
  for (const one of fc.sample(answers, 150)) {
    ({ bytes } = one);
    const { status, body } = hear([bytes]);
    expect({ status, body }).toEqual(await asked());
  }
});
