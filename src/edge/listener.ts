// One open port. Node's parser faces the world; what it refuses, and what it lets through but no gateway should, gets the
// OpenAI error object like everything else.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Server as TcpServer, type AddressInfo, type Socket } from 'node:net';
import { HEADER_BYTES_MAX, refusalOf, refuseRaw } from './refusal.ts';
import { isLoopback } from '../wire/address.ts';
import { GatewayError, type ErrorCode } from '../wire/errors.ts';
import type { Limits, Listener } from '../types.ts';

/** Answers. What it gives back is called where the request turns out not to be HTTP in the middle of its body. */
export type Handler = (request: IncomingMessage, response: ServerResponse, listener: Listener) => Malformed | undefined;

/** With the refusal to answer. */
export type Malformed = (refusal: GatewayError) => void;

/** What all listeners share. */
export interface Door {
  readonly instance: string;
  readonly handler: Handler;
  /** Open now, over all listeners; one beyond `connections_max` is cut off. */
  readonly connections: Set<Socket>;
  limits(): Limits;
  /** Something was refused before the handler saw it. */
  refused(code: ErrorCode | 'connections_max'): void;
}

export interface OpenListener {
  /** Where it really listens: the port is known even if 0 was asked. */
  readonly address: { readonly host: string; readonly port: number };
  /** Its socket was opened by another and outlives it: closed here, it would go on taking callers whom nobody answers. */
  readonly handed_over: boolean;
  /** What the configuration says of it now. */
  readonly config: Listener;
  /** Takes on what a reload changed without closing the port. */
  change(config: Listener): void;
  /** Stops accepting. Requests under way go on, idle connections may bring one more for `idle_ms`; then each closes. */
  drain(idle_ms: number): void;
  /** Once it drains: the last connection has closed. */
  readonly closed: Promise<void>;
  /** Stops accepting, and cuts the connections that are left after `wait_ms`. */
  close(wait_ms: number): Promise<void>;
}

/** The socket that was handed over listens elsewhere than the configuration says. */
export class WrongSocket extends Error {}

/** Longer than clients and proxies keep idle connections (nginx 60 s unless told otherwise): who closes first meets no race. */
const KEEP_ALIVE_MS = 75_000;
/**
 * What is idle when the gateway drains is heard for so long: a request may be on its way. nginx.conf gives idle connections
 * up after one second, so that none of its requests ever meets a connection that is just being closed.
 */
export const LAST_IDLE_MS = 2_000;

/**
 * Listens: on the open socket with that file descriptor, or on one of its own.
 * Rejects with the system's error when the port cannot be had, and with WrongSocket.
 */
export async function listen(config: Listener, door: Door, socket?: number): Promise<OpenListener> {
  /** The connections, and what was answered on each last; the latest, where several requests were sent at once. */
  const open = new Map<Socket, Exchange | undefined>();
  const refused = new WeakSet<Socket>();
  let configured = config;
  const server = createServer({
    headersTimeout: door.limits().headers_ms,
    // Bodies have an idle limit of ours; a limit on the whole would cut slow but living uploads.
    requestTimeout: 0,
    connectionsCheckingInterval: 1_000,
    keepAliveTimeout: KEEP_ALIVE_MS,
    maxHeaderSize: HEADER_BYTES_MAX,
    // Checked by `refuseAmbiguity`, so that the refusal has a body.
    requireHostHeader: false,
  });

  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request;
    const exchange: Exchange = { response, malformed: undefined };
    open.set(socket, exchange);
    if (!server.listening) {
      response.shouldKeepAlive = false;
      socket.setTimeout(0);
    }
    exchange.malformed = door.handler(request, response, configured);
  };
  // `Expect` other than 100-continue, and any of HTTP/1.0, is ignored (RFC 9110 §10.1.1); Node would answer 417, no body.
  const expectNothing = (request: IncomingMessage, response: ServerResponse): void => {
    // Taking a member out makes an object slow, so only where there is one.
    if (request.headers.expect !== undefined) delete request.headers.expect;
    answer(request, response);
  };
  server.on('request', expectNothing);
  server.on('checkExpectation', expectNothing);
  server.on('checkContinue', answer);
  server.on('connection', (socket: Socket) => {
    if (door.connections.size >= door.limits().connections_max) {
      door.refused('connections_max');
      socket.destroy();
      return;
    }
    door.connections.add(socket);
    open.set(socket, undefined);
    // A FIN means that the caller has left. Node would first wait until one who has stopped reading took what is pending.
    socket.once('end', () => {
      const response = open.get(socket)?.response;
      if (response?.writableEnded === false) response.destroy();
    });
    socket.once('close', () => {
      door.connections.delete(socket);
      open.delete(socket);
    });
  });
  server.on('connect', (_request, socket: Socket) => {
    // Node has taken its own listeners off this socket: a reset would be nobody's, and the end of the process.
    socket.on('error', () => socket.destroy());
    const refusal = new GatewayError('method_not_allowed', 'CONNECT is not served.');
    door.refused(refusal.code);
    refuseRaw(socket, refusal, door.instance);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    // A FIN in the middle of a request means that the client left.
    if (!socket.writable || error.code === 'ECONNRESET' || error.code === 'HPE_INVALID_EOF_STATE') {
      socket.destroy();
      return;
    }
    // Each part that still arrives is another such error; it is read, so that the refusal is not lost to a reset.
    if (refused.has(socket)) return;
    refused.add(socket);
    const refusal = refusalOf(error);
    const exchange = underWay(open.get(socket));
    if (exchange === undefined) {
      door.refused(refusal.code);
      refuseRaw(socket, refusal, door.instance);
      return;
    }
    const { response } = exchange;
    // Bytes written now would land in the middle of an answer: it goes out whole, and the connection ends with it.
    response.shouldKeepAlive = false;
    response.once('close', () => socket.destroy());
    if (response.req.complete) door.refused(refusal.code);
    else exchange.malformed?.(refusal);
  });
  await bind(server, config, socket);
  const { port } = server.address() as AddressInfo;
  const closed = new Promise<void>((resolve) => void server.once('close', resolve));
  const drain = (idle_ms: number): void => {
    if (!server.listening) return;
    server.keepAliveTimeout = idle_ms;
    server.keepAliveTimeoutBuffer = 0;
    for (const [one, last] of open) {
      const exchange = underWay(last);
      if (exchange === undefined) one.setTimeout(idle_ms);
      else exchange.response.shouldKeepAlive = false;
    }
    // What Node's HTTP server adds to this would cut off the idle ones at once; it is due once all have gone.
    TcpServer.prototype.close.call(server);
    void closed.then(() => server.close());
  };
  return {
    address: { host: config.host, port },
    handed_over: socket !== undefined,
    get config() {
      return configured;
    },
    change: (next) => {
      configured = next;
      server.headersTimeout = door.limits().headers_ms;
    },
    drain,
    closed,
    close: async (wait_ms) => {
      drain(wait_ms);
      const timer = setTimeout(() => server.closeAllConnections(), wait_ms);
      await closed;
      clearTimeout(timer);
    },
  };
}

interface Exchange {
  readonly response: ServerResponse;
  malformed: Malformed | undefined;
}

function underWay(last: Exchange | undefined): Exchange | undefined {
  return last?.response.closed === false ? last : undefined;
}

async function bind(server: Server, { host, port }: Listener, fd: number | undefined): Promise<void> {
  const listening = once(server, 'listening');
  server.listen(fd === undefined ? { host, port } : { fd });
  await listening;
  if (fd === undefined) return;
  const at = server.address() as AddressInfo;
  if (at.port === port && (at.address === host || (host === 'localhost' && isLoopback(at.address)))) return;
  server.close();
  throw new WrongSocket(
    `the socket that was handed over is ${at.address}:${at.port}, the configuration says ${host}:${port}`,
  );
}
