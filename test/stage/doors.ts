// The ways into nginx, each as a function that asks for a chat: HTTP/1.1 on the LAN's port, and HTTP/1.1 and HTTP/2 over TLS.
// An answer's head and its body come apart, so that a test sees each part of a stream as it arrives.
import { once } from 'node:events';
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { PassThrough, pipeline, type Readable } from 'node:stream';
import { expect, onTestFinished } from 'vitest';
import type { Front } from './front.ts';
import { KEY } from './gateway.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The body as it comes in. */
  readonly parts: AsyncIterator<Buffer>;
}

export const HEADERS = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };
export const CHAT = { model: 'coder', messages: [{ role: 'user', content: 'Hi' }] };

/** A chat through one of the doors. */
export type Door = (front: Front, body: object) => Promise<Answer>;

const overHttp =
  (pick: (front: Front) => string): Door =>
  async (front, body) => {
    const url = pick(front);
    const make = url.startsWith('https:') ? httpsRequest : httpRequest;
    const request = make(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: HEADERS,
      ca: front.ca,
      agent: false,
    });
    onTestFinished(() => void request.destroy());
    request.end(JSON.stringify(body));
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return { status: response.statusCode ?? 0, headers: response.headers, parts: partsOf(response) };
  };

const overHttp2: Door = async ({ tls, ca }, body) => {
  const session = connectHttp2(tls, { ca });
  onTestFinished(() => session.destroy());
  return await askHttp2(session, body);
};

export const LAN: Door = overHttp(({ lan }) => lan);
const TLS: Door = overHttp(({ tls }) => tls);

export const DOORS: readonly { name: string; open: Door; secure: boolean }[] = [
  { name: 'HTTP/1.1 on the LAN port', open: LAN, secure: false },
  { name: 'HTTP/1.1 over TLS', open: TLS, secure: true },
  { name: 'HTTP/2 over TLS', open: overHttp2, secure: true },
];

/** One more chat on an HTTP/2 connection. */
export async function askHttp2(session: ClientHttp2Session, body: object): Promise<Answer> {
  const stream = session.request({ ':method': 'POST', ':path': '/v1/chat/completions', ...HEADERS });
  stream.end(JSON.stringify(body));
  const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders & { ':status': number }];
  expect(session.alpnProtocol).toBe('h2');
  return { status: headers[':status'], headers, parts: partsOf(stream) };
}

/** Read from now on, whenever the parts are asked for: an HTTP/2 stream of Node's drops what nobody read by its end. */
export function partsOf(body: Readable): AsyncIterator<Buffer> {
  const kept = new PassThrough({ highWaterMark: 2 ** 30 });
  pipeline(body, kept, () => undefined);
  return kept[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
}

/** Reads on until the text holds what is waited for, or has ended. */
export async function readUntil(parts: AsyncIterator<Buffer>, wanted?: string): Promise<string> {
  const read: Buffer[] = [];
  const text = (): string => Buffer.concat(read).toString();
  for (;;) {
    const next = await parts.next();
    if (next.done === true) return text();
    read.push(next.value);
    if (wanted !== undefined && text().includes(wanted)) return text();
  }
}

export interface Refusal {
  readonly error: { readonly message: string; readonly type: string; readonly param: null; readonly code: string };
}

/** One of nginx's own refusals, in the form OpenAI's clients read. */
export async function expectRefusal(response: Response, status: number, code: string): Promise<void> {
  expect(response.status).toBe(status);
  expect(response.headers.get('content-type')).toBe('application/json');
  expect(response.headers.get('x-request-id')).toMatch(/^[0-9a-f]{32}$/);
  const { error } = (await response.json()) as Refusal;
  expect(error).toEqual({ message: expect.any(String), type: expect.any(String), param: null, code });
}

/** On the LAN's port. */
export function ask(
  { lan }: Front,
  to: string,
  body?: object,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(`${lan}${to}`, {
    ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
    headers: { ...HEADERS, ...headers },
  });
}
