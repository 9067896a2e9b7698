// What goes wrong below HTTP is told by kind, for the kind decides whether a request may be sent again.
import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { faultOf as kindOf, type HttpFault, type Phase } from '../../src/fleet/fault.ts';
import { freePort } from '../stage/ports.ts';
import { ASK, CHUNK, HEAD, OK, WAITS, connect, faultOf, serve, text } from './bytes.ts';

const reset = (socket: Socket): void => void socket.resetAndDestroy();
const fin = (socket: Socket): void => void socket.end();

describe('a connection that ends without an answer', () => {
  test.for([
    ['by a reset', reset],
    ['by a FIN', fin],
  ] as const)('on its first request %s is a reset', async ([, end]) => {
    const server = await serve(() => end);
    const fault = await faultOf(connect(server.port).send(ASK, WAITS, undefined));
    expect(fault).toMatchObject({ kind: 'reset', refused: false });
  });

  test.for([
    ['by a reset', reset],
    ['by a FIN', fin],
  ] as const)('on a later one %s is stale, and a fresh socket serves', async ([, end]) => {
    const server = await serve((n) => (n === 1 ? end : OK));
    const connection = connect(server.port);
    await text(await connection.send(ASK, WAITS, undefined));
    expect(await faultOf(connection.send(ASK, WAITS, undefined))).toMatchObject({ kind: 'stale', refused: false });
    expect(await text(await connection.send(ASK, WAITS, undefined, true))).toBe('ok');
    expect(server.asked).toEqual([0, 0, 1]);
  });

  test.for([0, 1])('but with the beginning of one is a reset, on request %d of its socket', async (before) => {
    const server = await serve((n) => (n < before ? OK : (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-le')));
    const connection = connect(server.port);
    for (let n = 0; n < before; n += 1) await text(await connection.send(ASK, WAITS, undefined));
    expect(await faultOf(connection.send(ASK, WAITS, undefined))).toMatchObject({ kind: 'reset' });
  });
});

describe('what goes wrong is told by kind', () => {
  test('nobody listens: connect', async () => {
    expect(await faultOf(connect(await freePort()).send(ASK, WAITS, undefined))).toMatchObject({
      kind: 'connect',
      code: 'ECONNREFUSED',
      refused: true,
    });
  });

  test('a name that is none: dns', async () => {
    const fault = await faultOf(
      connect('http://nowhere.invalid:80', 5_000).send(ASK, { ...WAITS, first_byte_ms: 6_000 }, undefined),
    );
    expect(fault).toMatchObject({ kind: 'dns', refused: true });
  });

  test('a handshake that does not end: connect, after connect_ms', async () => {
    const server = await serve(() => () => {});
    const fault = await faultOf(connect(`https://127.0.0.1:${server.port}`, 100).send(ASK, WAITS, undefined));
    expect(fault).toMatchObject({ kind: 'connect', code: 'connect_ms', refused: true });
    await expect.poll(() => server.sockets[0]?.closed).toBe(true);
  });

  test('no TLS where some is expected: tls', async () => {
    const server = await serve(() => 'HTTP/1.1 400 Bad Request\r\n\r\n');
    expect(await faultOf(connect(`https://127.0.0.1:${server.port}`).send(ASK, WAITS, undefined))).toMatchObject({
      kind: 'tls',
      refused: true,
    });
  });

  test.for([
    ['a reset', reset],
    ['a FIN', fin],
  ] as const)('%s in the handshake: connect', async ([, end]) => {
    const server = await serve(() => end);
    expect(await faultOf(connect(`https://127.0.0.1:${server.port}`).send(ASK, WAITS, undefined))).toMatchObject({
      kind: 'connect',
      refused: true,
    });
  });

  test('a certificate nobody vouches for: tls, and nothing is sent', async () => {
    const server = await serve(() => OK, true);
    expect(await faultOf(connect(`https://localhost:${server.port}`).send(ASK, WAITS, undefined))).toMatchObject({
      kind: 'tls',
      refused: true,
    });
    expect(server.asked).toEqual([]);
  });

  const garbage: [string, string][] = [
    ['another protocol', 'SSH-2.0-OpenSSH_9.9\r\n\u0000\u0001'],
    ['an unknown version', 'HTTP/9.9 200 OK\r\n\r\n'],
    ['a header without a colon', 'HTTP/1.1 200 OK\r\nno colon\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok'],
    ['headers without end', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(40_000)}\r\n\r\n`],
  ];
  test.for(garbage)('%s: garbage', async ([, bytes]) => {
    const server = await serve(() => bytes);
    expect(await faultOf(connect(server.port).send(ASK, WAITS, undefined))).toMatchObject({
      kind: 'garbage',
      refused: false,
    });
    await expect.poll(() => server.sockets[0]?.closed).toBe(true);
  });

  const silences: [string, string, string][] = [
    ['before the head', '', 'first_byte_ms'],
    ['within the head', 'HTTP/1.1 200 OK\r\n', 'first_byte_ms'],
    ['after the head', HEAD, 'first_byte_ms'],
    ['within the body', HEAD + CHUNK, 'idle_ms'],
  ];
  test.for(silences)('silence %s: timeout', async ([, bytes, code]) => {
    const server = await serve(() => bytes);
    const waits = { first_byte_ms: 60, idle_ms: 60 };
    const fault = await faultOf(connect(server.port).send(ASK, waits, undefined).then(text));
    expect(fault).toMatchObject({ kind: 'timeout', code, refused: false });
    await expect.poll(() => server.sockets[0]?.closed).toBe(true);
  });

  const breaks: [string, (socket: Socket) => void, HttpFault['kind']][] = [
    ['a reset', (socket) => socket.write(HEAD + CHUNK, () => setTimeout(() => socket.resetAndDestroy(), 20)), 'reset'],
    ['a FIN', (socket) => socket.end(HEAD + CHUNK), 'reset'],
    ['a body shorter than announced', (socket) => socket.end(OK.replace('length: 2', 'length: 3')), 'reset'],
    ['a chunk size that is no number', (socket) => socket.write(`${HEAD}${CHUNK}no-size\r\n`), 'garbage'],
  ];
  test.for(breaks)('%s within the body', async ([, told, kind]) => {
    const server = await serve(() => told);
    expect(await faultOf(connect(server.port).send(ASK, WAITS, undefined).then(text))).toMatchObject({ kind });
  });
});

describe('an error that no test can bring about on a real socket', () => {
  const rows: [string, Phase, boolean, HttpFault['kind'], boolean][] = [
    ['ETIMEDOUT', 'connecting', false, 'connect', true],
    ['ETIMEDOUT', 'asked', false, 'reset', false],
    ['EHOSTUNREACH', 'asked', true, 'stale', false],
    ['EHOSTUNREACH', 'answering', true, 'reset', false],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'connecting', false, 'tls', true],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'asked', false, 'reset', false],
    ['EAI_AGAIN', 'connecting', false, 'dns', true],
  ];
  test.for(rows)('%s while %s (socket used before: %s) is %s', ([code, phase, used, kind, refused]) => {
    const error = Object.assign(new Error('x'), { code });
    expect(kindOf(error, phase, used)).toMatchObject({ kind, code, refused });
  });

  test.for([
    ['EMFILE', true],
    ['EADDRNOTAVAIL', true],
    ['ECONNREFUSED', false],
  ] as const)("%s while connecting is this process's own lack: %s", ([code, ours]) => {
    expect(kindOf(Object.assign(new Error('x'), { code }), 'connecting', false)).toMatchObject({
      kind: 'connect',
      ours,
    });
  });

  test('what is no error at all is still a fault', () => {
    expect(kindOf('x', 'asked', false)).toMatchObject({ kind: 'reset', code: 'UNKNOWN' });
  });
});
