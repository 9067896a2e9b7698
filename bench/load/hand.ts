// An engine by hand, in this process and on its clock: whoever measures is given each request once it is whole, writes what
// it likes to its socket, and learns when the gateway's side of that socket went.
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { MODELS_ANSWER } from './answers.ts';

export interface HandEngine {
  readonly url: string;
  stop(): Promise<void>;
}

export interface Asked {
  readonly body: string;
  readonly socket: Socket;
  /** When FIN or RST came, by `performance.now()`. */
  readonly gone: Promise<number>;
}

/** A probe's GET is answered with the list of models. */
export async function startHandEngine(asked: (one: Asked) => void): Promise<HandEngine> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    const gone = new Promise<number>((resolve) => {
      const went = (): void => resolve(performance.now());
      socket.once('end', went).on('error', went).once('close', went);
    });
    socket.once('close', () => sockets.delete(socket));
    let text = '';
    socket.setEncoding('latin1').on('data', (part: string) => {
      text += part;
      for (let length = wholeLength(text); length > 0; length = wholeLength(text)) {
        const request = text.slice(0, length);
        text = text.slice(length);
        if (request.startsWith('GET')) socket.write(wholeAnswer(MODELS_ANSWER));
        else asked({ body: request.slice(request.indexOf('\r\n\r\n') + 4), socket, gone });
      }
    });
  });
  await once(server.listen({ port: 0, host: '127.0.0.1', backlog: 1024 }), 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export function wholeAnswer(body: string): string {
  return `${jsonHead(body)}${body}`;
}

/** Its head and half of its body. */
export function halfAnswer(body: string): string {
  return `${jsonHead(body)}${body.slice(0, body.length / 2)}`;
}

export const STREAM_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';

/** One event in a chunk of its own. */
export function eventChunk(data: object): string {
  const event = `data: ${JSON.stringify(data)}\n\n`;
  return `${Buffer.byteLength(event).toString(16)}\r\n${event}\r\n`;
}

function jsonHead(body: string): string {
  return `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`;
}

/** Of the first request in these bytes; 0 while it is not whole. Gateways send small bodies with their length. */
function wholeLength(text: string): number {
  const blank = text.indexOf('\r\n\r\n');
  if (blank < 0) return 0;
  const length = blank + 4 + Number(/\r\ncontent-length: *(\d+)/i.exec(text.slice(0, blank))?.[1] ?? 0);
  return text.length < length ? 0 : length;
}
