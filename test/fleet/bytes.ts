// A server made of bytes and the connection to it, for the tests of the door to backends.
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { expect, onTestFinished } from 'vitest';
import { HttpFault } from '../../src/fleet/fault.ts';
import { Connection, readAll, type HttpAnswer } from '../../src/fleet/http.ts';

export const ASK = {
  method: 'POST',
  path: '/v1/chat/completions',
  headers: { 'x-a': 'b' },
  body: [Buffer.from('{}')],
} as const;
export const WAITS = { first_byte_ms: 2_000, idle_ms: 2_000 };
export const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
export const HEAD = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';
export const CHUNK = '2\r\nok\r\n';

export interface Server {
  readonly port: number;
  /** One entry a connection, in order. */
  readonly sockets: readonly Socket[];
  /** One entry a request, the number of its connection. */
  readonly asked: readonly number[];
}

/** Writes `answer(n)` to the n-th request; a function does what it likes with the socket. */
export async function serve(answer: (n: number) => string | ((socket: Socket) => void), tls = false): Promise<Server> {
  const sockets: Socket[] = [];
  const asked: number[] = [];
  const accept = (socket: Socket): void => {
    const at = sockets.push(socket) - 1;
    socket.on('error', () => {});
    socket.on('data', () => {
      asked.push(at);
      const told = answer(asked.length - 1);
      if (typeof told === 'string') socket.write(told);
      else told(socket);
    });
  };
  const pem = tls ? readFileSync(new URL('../fixtures/self-signed.pem', import.meta.url)) : undefined;
  const server = pem === undefined ? createServer(accept) : createTlsServer({ key: pem, cert: pem }, accept);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: (server.address() as AddressInfo).port, sockets, asked };
}

export function connect(origin: number | string, connect_ms = 1_000, idle_ms = 4_000): Connection {
  const connection = new Connection(typeof origin === 'number' ? `http://127.0.0.1:${origin}` : origin, {
    connect_ms,
    idle_ms,
  });
  onTestFinished(() => connection.destroy());
  return connection;
}

export async function faultOf(promise: Promise<unknown>): Promise<HttpFault> {
  const fault: unknown = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(fault).toBeInstanceOf(HttpFault);
  return fault as HttpFault;
}

export async function text(answer: HttpAnswer): Promise<string> {
  return (await readAll(answer, 1 << 20)).toString();
}
