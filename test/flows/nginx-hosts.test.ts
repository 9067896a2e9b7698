// By which names nginx.conf may be called: on 443 only those in server_name, on 8080 any, and what port 80 makes of them.
import { once } from 'node:events';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ask, HEADERS, partsOf, readUntil, type Refusal } from '../stage/doors.ts';
import { openFront, type Front } from '../stage/front.ts';
import { dial } from '../stage/raw.ts';

interface Asked {
  /** What the handshake names; none unless given. */
  readonly sni?: string;
  /** What the request names; no Host at all (HTTP/1.0) unless given. */
  readonly host?: string;
  readonly path?: string;
  readonly tls?: ConnectionOptions;
}

const KNOWN: readonly (Asked & { readonly name: string })[] = [
  { name: 'the name', sni: 'lanyard.example.com', host: 'lanyard.example.com' },
  { name: 'the name, in capitals, with a port', sni: 'lanyard.example.com', host: 'LANYARD.example.com:8443' },
  { name: 'an address in server_name, which no handshake can name', host: '127.0.0.1' },
  { name: 'the name, without a name in the handshake', host: 'lanyard.example.com' },
  { name: 'the name on a connection opened for another', sni: 'other.example.com', host: 'lanyard.example.com' },
];

const UNKNOWN: readonly (Asked & { readonly name: string })[] = [
  { name: 'another name', sni: 'other.example.com', host: 'other.example.com' },
  { name: 'another name on a connection opened for ours', sni: 'lanyard.example.com', host: 'other.example.com' },
  { name: 'an address that is not in server_name', host: '192.0.2.1' },
  { name: 'no name at all', sni: 'lanyard.example.com' },
  { name: 'a name below ours', host: 'a.lanyard.example.com' },
  { name: 'another name, for /health', host: 'other.example.com', path: '/health' },
  { name: 'another name, for /metrics', host: 'other.example.com', path: '/metrics' },
  { name: 'another name, for an upload', host: 'other.example.com', path: '/v1/files' },
];

describe('on 443', () => {
  test.for(KNOWN)('$name is served', async (asked) => {
    const all = await openFront();
    const { status, body } = await askTls(all, asked);
    expect(status).toBe(200);
    expect(body).toContain('team/coder:7b');
  });

  test.for(UNKNOWN)('$name is refused, and the gateway does not hear of it', async (asked) => {
    const all = await openFront();
    // Whatever reached the gateway would be answered 502 now.
    await all.gateway.stop();
    const { status, headers, body } = await askTls(all, asked);
    expect(status).toBe(421);
    expect(headers).toMatch(/^content-type: application\/json\r?$/im);
    expect((JSON.parse(body) as Refusal).error).toEqual({
      message: expect.stringContaining('server_name'),
      type: 'invalid_request_error',
      param: null,
      code: 'unknown_host',
    });
  });

  test('one HTTP/2 connection serves our name and refuses another, each by itself', async () => {
    const { tls, ca } = await openFront();
    const session = connectHttp2(tls, { ca });
    onTestFinished(() => session.destroy());
    const statuses = [];
    for (const authority of ['localhost', 'other.example.com', 'lanyard.example.com'])
      statuses.push((await askHttp2(session, authority)).status);
    expect(statuses).toEqual([200, 421, 200]);
  });

  test('IPv6 addresses stand in server_name in brackets', async () => {
    const all = await openFront('ip: off', [['lanyard.example.com localhost 127.0.0.1', 'localhost [fd00::20]']]);
    expect((await askTls(all, { host: '[fd00::20]:8443' })).status).toBe(200);
    expect((await askTls(all, { host: '[fd00::21]' })).status).toBe(421);
  });

  test.for([
    ['TLSv1.1', false],
    ['TLSv1.2', true],
    ['TLSv1.3', true],
  ] as const)('%s: %s', async ([version, served]) => {
    for (const sni of ['lanyard.example.com', 'other.example.com']) {
      const all = await openFront();
      // Node's own list would not offer 1.1 at all.
      const tls: ConnectionOptions = { minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' };
      const asked = askTls(all, { sni, host: 'lanyard.example.com', tls });
      if (served) expect((await asked).status).toBe(200);
      else await expect(asked).rejects.toThrow(/protocol version|unsupported protocol/);
    }
  });

  test('no session tickets are given', async () => {
    const all = await openFront();
    const { ticket } = await askTls(all, { sni: 'localhost', host: 'localhost', tls: { maxVersion: 'TLSv1.2' } });
    expect(ticket).toBeUndefined();
  });
});

test.for(['127.0.0.1', 'gpu.local', 'whatever.example.com', '[::1]', '192.168.1.20:8080'])(
  'on 8080 it may be called %s',
  async (host) => {
    const { lan } = await openFront();
    const head = `GET /v1/models HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${HEADERS.authorization}\r\n\r\n`;
    const [answer] = await (await dial(Number(new URL(lan).port), head)).until(1);
    expect(answer?.status).toBe(200);
  },
);

describe('on 80', () => {
  test('http is sent to https, with method and body, by the name that was dialled', async () => {
    const { plain } = await openFront();
    const response = await fetch(`${plain}/v1/models/a%2Fb?x=1`, { method: 'POST', body: '{}', redirect: 'manual' });
    expect(response.status).toBe(308);
    expect(response.headers.get('location')).toBe('https://127.0.0.1/v1/models/a%2Fb?x=1');
  });

  test.for([
    '//evil.example.com/',
    '/\\evil.example.com',
    '/x?u=https://evil.example.com',
    'http://evil.example.com/x',
  ])('no path sends a caller elsewhere: %s', async (target) => {
    const { plain } = await openFront();
    const head = `GET ${target} HTTP/1.1\r\nHost: lanyard.example.com\r\nX-Forwarded-Host: evil.example.com\r\n\r\n`;
    const [answer] = await (await dial(Number(new URL(plain).port), head)).until(1);
    expect(answer?.status).toBe(308);
    const { hostname } = new URL(answer?.headers['location'] ?? '');
    // A target that names a host is the one thing a proxy sends, and names the host it dialled (RFC 9112 §3.2.2).
    expect(hostname).toBe(target.startsWith('http:') ? 'evil.example.com' : 'lanyard.example.com');
  });

  test("the certificate authority's challenge is answered", async () => {
    const { plain, nginx } = await openFront();
    mkdirSync(`${nginx.folder}/.well-known/acme-challenge`, { recursive: true });
    writeFileSync(`${nginx.folder}/.well-known/acme-challenge/token`, 'token.thumbprint');
    const response = await fetch(`${plain}/.well-known/acme-challenge/token`, { redirect: 'manual' });
    expect([response.status, await response.text()]).toEqual([200, 'token.thumbprint']);
    const missing = await fetch(`${plain}/.well-known/acme-challenge/none`, { redirect: 'manual' });
    expect([missing.status, missing.headers.get('content-type')]).toEqual([404, 'application/json']);
  });
});

test('`GET /` tells the address nginx saw, on 8080 and on 443', async () => {
  const all = await openFront();
  const forged = { 'x-forwarded-for': '203.0.113.1', 'x-real-ip': '203.0.113.2' };
  expect(await (await ask(all, '/', undefined, forged)).json()).toMatchObject({ your_address: '127.0.0.1' });
  const { body } = await askTls(all, { host: 'localhost', path: '/' });
  expect(JSON.parse(body)).toMatchObject({ your_address: '127.0.0.1' });
});

/** A request over a TLS connection of its own, HTTP/1.1 with a Host or HTTP/1.0 without one. */
async function askTls({ tls, ca }: Front, { sni, host, path = '/v1/models', tls: more = {} }: Asked) {
  const socket = connectTls({
    port: Number(new URL(tls).port),
    host: '127.0.0.1',
    ca,
    ...(sni === undefined ? {} : { servername: sni }),
    // The certificate is one of our names whichever was asked for.
    checkServerIdentity: () => undefined,
    ...more,
  });
  onTestFinished(() => void socket.destroy());
  await once(socket, 'secureConnect');
  const ticket = socket.getTLSTicket();
  const version = host === undefined ? 'HTTP/1.0' : `HTTP/1.1\r\nHost: ${host}`;
  socket.write(`GET ${path} ${version}\r\nAuthorization: ${HEADERS.authorization}\r\nConnection: close\r\n\r\n`);
  const text = await readUntil(partsOf(socket));
  const [headers = '', body = ''] = text.split('\r\n\r\n');
  // Node's server sends pages of a known length through nginx unchunked.
  return { status: Number(/^HTTP\/1.1 (\d{3}) /.exec(headers)?.[1]), headers, body, ticket };
}

async function askHttp2(session: ClientHttp2Session, authority: string): Promise<{ status: number; body: string }> {
  const stream = session.request({ ':path': '/v1/models', ':authority': authority, ...HEADERS });
  const [headers] = (await once(stream, 'response')) as [{ ':status': number }];
  const body = await readUntil(partsOf(stream));
  return { status: headers[':status'], body };
}
