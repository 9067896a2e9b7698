// What is refused before a route sees it: what is not HTTP, and what two parsers may read in two ways. It gets the OpenAI
// error object and the headers of every response, like everything else.
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { GatewayError, errorBody, errorHeaders } from '../wire/errors.ts';

export const HEADER_BYTES_MAX = 16 * 1024;

/** Headers that may stand once (refuseAmbiguity knows how long they are): of a second one Node drops either, and another parser the other. */
const ONCE = new Set(['host', 'authorization', 'content-type']);

/** What Node's parser lets through and two parsers may read in two ways. @throws GatewayError `bad_request` */
export function refuseAmbiguity(request: IncomingMessage): void {
  const { rawHeaders, url = '', httpVersion } = request;
  // A line without a version is HTTP/0.9 to Node's parser.
  if (httpVersion !== '1.1' && httpVersion !== '1.0') {
    throw new GatewayError('bad_request', 'The request is not of HTTP/1.1 or HTTP/1.0.');
  }
  let host = false;
  const seen: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const sent = rawHeaders[at] ?? '';
    // Nearly all others are told apart by their length alone.
    if (sent.length !== 4 && sent.length !== 12 && sent.length !== 13) continue;
    const name = sent.toLowerCase();
    if (!ONCE.has(name)) continue;
    if (seen.includes(name)) throw new GatewayError('bad_request', `The request has more than one ${name} header.`);
    seen.push(name);
    if (name === 'host') host = true;
  }
  if (!host && httpVersion === '1.1') throw new GatewayError('bad_request', 'The request has no Host header.');
  if (!url.startsWith('/') && !(url === '*' && request.method === 'OPTIONS')) {
    throw new GatewayError('bad_request', 'The request target must be a path.');
  }
}

/** What Node's parser says of bytes that are no request, as a refusal of ours. */
export function refusalOf(error: NodeJS.ErrnoException): GatewayError {
  if (error.code === 'HPE_HEADER_OVERFLOW') {
    return new GatewayError('headers_too_large', `The request's headers are larger than ${HEADER_BYTES_MAX} bytes.`);
  }
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new GatewayError('request_timeout', 'The request headers did not arrive in time.');
  }
  return new GatewayError('bad_request', 'The request is not valid HTTP.');
}

/** Where Node has no response to write to. */
export function refuseRaw(socket: Socket, error: GatewayError, instance: string): void {
  const body = errorBody(error);
  const headers = {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    ...errorHeaders(error),
  };
  const lines = Object.entries({ ...headers, ...everyResponse(instance) }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  socket.end(`HTTP/1.1 ${error.status} Refused\r\nconnection: close\r\n${lines.join('')}\r\n${body}`);
  // The rest of a malformed request is not read: a client that goes on sending is cut off.
  setTimeout(() => socket.destroy(), 1_000).unref();
}

/** Headers of every response, whatever answers: `x-accel-buffering` keeps nginx from holding streams back. */
export function everyResponse(instance: string) {
  return {
    'x-request-id': requestId(),
    'x-lanyard-instance': instance,
    'x-accel-buffering': 'no',
    'cache-control': 'no-cache, no-transform',
  };
}

/** 128 bits, 122 of them random, in 32 hexadecimal digits. */
export function requestId(): string {
  const id = randomUUID();
  return `req_${id.slice(0, 8)}${id.slice(9, 13)}${id.slice(14, 18)}${id.slice(19, 23)}${id.slice(24)}`;
}
