// A caller on a raw socket, in this process and on its clock: bytes out, the moment of the answer's first byte, and FIN or
// RST whenever it likes. A kept connection takes one request after another.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Door } from '../gateways/gateway.ts';

export interface RawCaller {
  readonly socket: Socket;
  /** One request under way at a time. Rejects when the connection ends before the answer begins. */
  ask(request: Buffer): Promise<RawAnswer>;
  /** Whether the last answer was whole, so that another request may be sent. */
  readonly free: boolean;
}

export interface RawAnswer {
  readonly status: number;
  /** When its first byte was here, by `performance.now()`. */
  readonly at: number;
  /** What of it was here then. */
  readonly text: string;
}

export async function dial({ url }: Pick<Door, 'url'>): Promise<RawCaller> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  let under_way: { answered: (answer: RawAnswer) => void; failed: (error: Error) => void } | undefined;
  let text = '';
  let free = true;
  const ended = (): void => {
    free = false;
    under_way?.failed(new Error(`the connection ended without an answer:\n${text}`));
  };
  socket.setEncoding('latin1').on('data', (part: string) => {
    text += part;
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1]);
    if (Number.isNaN(status)) return;
    under_way?.answered({ status, at: performance.now(), text });
    under_way = undefined;
    free = isWhole(text);
  });
  socket.once('end', ended).on('error', ended).once('close', ended);
  await once(socket, 'connect');
  return {
    socket,
    ask: (request) =>
      new Promise((answered, failed) => {
        text = '';
        free = false;
        under_way = { answered, failed };
        socket.write(request);
      }),
    get free() {
      return free;
    },
  };
}

export function postTo({ base, headers }: Door, route: string, body: string): Buffer {
  const { host, pathname } = new URL(`${base}/${route}`);
  const lines = Object.entries({
    host,
    ...headers,
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
  });
  return Buffer.from(
    `POST ${pathname} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`,
  );
}

/** A refusal that closes the connection is followed by its end. */
function isWhole(text: string): boolean {
  const blank = text.indexOf('\r\n\r\n');
  const length = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, blank))?.[1];
  return blank > 0 && length !== undefined && text.length >= blank + 4 + Number(length);
}
