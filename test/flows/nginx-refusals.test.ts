// What nginx.conf refuses itself is OpenAI's error object too, with the right status; and what is not passed on at all.
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { ask, CHAT, expectRefusal, HEADERS, partsOf, readUntil, type Refusal } from '../stage/doors.ts';
import { openFront, type Front } from '../stage/front.ts';

test('a gateway that is away', async () => {
  const all = await openFront();
  await all.gateway.stop();
  const response = await ask(all, '/v1/chat/completions', CHAT);
  expect(response.headers.get('retry-after')).toBe('2');
  await expectRefusal(response, 502, 'gateway_unreachable');
});

test('a gateway that is silent, which is not to be asked again', async () => {
  const all = await openFront('ip: off', [['proxy_read_timeout 3600s', 'proxy_read_timeout 200ms']]);
  all.engine.next({ kind: 'hang' });
  const response = await ask(all, '/v1/chat/completions', CHAT);
  expect(response.headers.get('x-should-retry')).toBe('false');
  await expectRefusal(response, 504, 'gateway_timeout');
});

test('nginx itself being unable', async () => {
  // The one way to make it say 503: a limit with nginx's own default status.
  const all = await openFront('ip: off', [
    ['limit_req_status 429', 'limit_req_status 503'],
    ['rate=20r/s', 'rate=1r/m'],
    ['burst=40 nodelay', 'burst=1 nodelay'],
  ]);
  const responses = [];
  for (let n = 0; n < 3; n += 1) responses.push(await ask(all, '/v1/models'));
  expect(responses.map(({ status }) => status)).toEqual([200, 200, 503]);
  expect(responses[2]?.headers.get('retry-after')).toBe('2');
  await expectRefusal(responses[2] as Response, 503, 'gateway_unavailable');
});

test('a body above the limit; one that only the gateway refuses is refused by the gateway', async () => {
  const all = await openFront('ip: off, body_bytes_max: 1KiB');
  const large = { ...CHAT, messages: [{ role: 'user', content: 'x'.repeat(2_000) }] };
  const ours = await ask(all, '/v1/chat/completions', large);
  expect(ours.status).toBe(413);
  expect(ours.headers.get('x-request-id')).toMatch(/^req_/);

  const { status, body } = await announce(all, '/v1/chat/completions', 65);
  expect(status).toBe(413);
  expect((JSON.parse(body) as Refusal).error.code).toBe('request_too_large');
});

test.for(['/metrics', '/metrics/', '//metrics', '/%6Detrics', '/v1/../metrics', '/health/ready', '/.refused'])(
  '%s is not passed on',
  async (to) => {
    const { lan } = await openFront();
    const { status, headers, body } = await raw(lan, `GET ${to} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    expect(status).toBe(404);
    expect(headers).toMatch(/^X-Request-Id: [0-9a-f]{32}$/im);
    expect((JSON.parse(body) as Refusal).error.code).toBe('unknown_url');
  },
);

test('an address that is not of the LAN', async () => {
  const all = await openFront('ip: off', [['allow 127.0.0.0/8;', '']]);
  await expectRefusal(await ask(all, '/v1/models'), 403, 'forbidden');
});

test.for([
  ['what is not HTTP', 'GARBAGE\r\n\r\n', 400],
  ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400],
  ['headers that are too large', `GET / HTTP/1.1\r\nHost: a\r\nX-Large: ${'x'.repeat(40_000)}\r\n\r\n`, 431],
  ['two lengths', 'POST /v1/models HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', 400],
  ['TRACE', 'TRACE / HTTP/1.1\r\nHost: a\r\n\r\n', 405],
] as const)('%s', async ([, bytes, expected]) => {
  const { lan } = await openFront();
  const { status, headers, body } = await raw(lan, bytes);
  expect(status).toBe(expected);
  expect(headers).toContain('Content-Type: application/json');
  expect(JSON.parse(body)).toHaveProperty('error.code');
});

test('http on the https port', async () => {
  const { tls } = await openFront();
  await expectRefusal(await fetch(`${tls.replace('https', 'http')}/v1/models`), 400, 'bad_request');
});

/** The head of a request with so many megabytes to come, and what is answered to it. */
async function announce({ lan }: Front, to: string, megabytes: number): Promise<{ status: number; body: string }> {
  const head = { ...HEADERS, 'content-length': String(megabytes * 1024 * 1024) };
  const request = httpRequest(`${lan}${to}`, { method: 'POST', headers: head });
  request.on('error', () => {});
  onTestFinished(() => void request.destroy());
  request.flushHeaders();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const body = await readUntil(partsOf(response));
  return { status: response.statusCode ?? 0, body };
}

async function raw(url: string, bytes: string): Promise<{ status: number; headers: string; body: string }> {
  const socket = connectTcp(Number(new URL(url).port), '127.0.0.1');
  socket.end(bytes);
  const text = await readUntil(partsOf(socket));
  const [headers = '', body = ''] = text.split('\r\n\r\n');
  return { status: Number(/^HTTP\/1.1 (\d{3}) /.exec(headers)?.[1]), headers, body };
}
