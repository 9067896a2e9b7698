// nginx.conf in front of a real gateway: what callers see through it.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { CONF, openFront, type Front } from '../stage/front.ts';
import { KEY } from '../stage/gateway.ts';
import { findProgram } from '../stage/program.ts';

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The body as it comes in. */
  readonly parts: AsyncIterator<Buffer>;
}

const HEADERS = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };
const CHAT = { model: 'coder', messages: [{ role: 'user', content: 'Hi' }] };

/** A chat through one of the doors. */
type Door = (front: Front, body: object) => Promise<Answer>;

const overHttp =
  (pick: (front: Front) => string): Door =>
  async (front, body) => {
    const url = pick(front);
    const make = url.startsWith('https:') ? httpsRequest : httpRequest;
    const request = make(`${url}/v1/chat/completions`, { method: 'POST', headers: HEADERS, ca: front.ca });
    request.end(JSON.stringify(body));
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      parts: response[Symbol.asyncIterator]() as AsyncIterator<Buffer>,
    };
  };

const overHttp2: Door = async ({ tls, ca }, body) => {
  const session = connectHttp2(tls, { ca });
  onTestFinished(() => session.close());
  const stream = session.request({ ':method': 'POST', ':path': '/v1/chat/completions', ...HEADERS });
  stream.end(JSON.stringify(body));
  const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders & { ':status': number }];
  expect(session.alpnProtocol).toBe('h2');
  return { status: headers[':status'], headers, parts: stream[Symbol.asyncIterator]() as AsyncIterator<Buffer> };
};

const DOORS: readonly { name: string; open: Door; secure: boolean }[] = [
  { name: 'HTTP/1.1 on the LAN port', open: overHttp(({ lan }) => lan), secure: false },
  { name: 'HTTP/1.1 over TLS', open: overHttp(({ tls }) => tls), secure: true },
  { name: 'HTTP/2 over TLS', open: overHttp2, secure: true },
];

/** Reads on until the text holds what is waited for, or has ended. */
async function readUntil(parts: AsyncIterator<Buffer>, wanted?: string): Promise<string> {
  const read: Buffer[] = [];
  const text = (): string => Buffer.concat(read).toString();
  for (;;) {
    const next = await parts.next();
    if (next.done === true) return text();
    read.push(next.value);
    if (wanted !== undefined && text().includes(wanted)) return text();
  }
}

interface Refusal {
  readonly error: { readonly message: string; readonly type: string; readonly param: null; readonly code: string };
}

/** One of nginx's own refusals, in the form OpenAI's clients read. */
async function expectRefusal(response: Response, status: number, code: string): Promise<void> {
  expect(response.status).toBe(status);
  expect(response.headers.get('content-type')).toBe('application/json');
  expect(response.headers.get('x-request-id')).toMatch(/^[0-9a-f]{32}$/);
  const { error } = (await response.json()) as Refusal;
  expect(error).toEqual({ message: expect.any(String), type: expect.any(String), param: null, code });
}

const ask = ({ lan }: Front, to: string, body?: object, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${lan}${to}`, {
    ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
    headers: { ...HEADERS, ...headers },
  });

test('the file stands, without a word of complaint', async () => {
  const {
    nginx: { folder },
  } = await openFront();
  const args = ['-t', '-q', '-p', folder, '-c', `${folder}/nginx.conf`, '-e', 'stderr'];
  expect(execFileSync(findProgram('nginx'), args, { encoding: 'utf8', stdio: 'pipe' })).toBe('');
  expect(readFileSync(`${folder}/error.log`, 'utf8')).not.toMatch(/\[(?:warn|error|crit|emerg)\]/);
});

test('headers are set in one place only, so that none is lost by inheritance', () => {
  // nginx takes add_header and proxy_set_header from an outer block only where the inner one has none of its own.
  let depth = 0;
  const inside: string[] = [];
  for (const line of CONF.replaceAll(/'[^']*'|#.*/g, '').split('\n')) {
    if (/\b(?:add_header|proxy_set_header)\b/.test(line) && depth !== 1) inside.push(line);
    depth += (line.match(/\{/g)?.length ?? 0) - (line.match(/\}/g)?.length ?? 0);
  }
  expect(depth).toBe(0);
  expect(inside).toEqual([]);
});

describe.for(DOORS)('through $name', ({ open, secure }) => {
  test('a stream arrives token by token', async () => {
    const all = await openFront();
    all.engine.next({ kind: 'hold_after', events: 3 });
    const { status, headers, parts } = await open(all, { ...CHAT, stream: true });
    expect(status).toBe(200);
    expect(headers['content-type']).toContain('text/event-stream');
    expect(headers['x-request-id']).toMatch(/^req_/);
    // The engine says no more until it is let go: what is read here was not collected on the way.
    await readUntil(parts, 'üß');
    expect(all.engine.in_flight).toBe(1);
    all.engine.release();
    expect(await readUntil(parts)).toMatch(/data: \[DONE\]\n\n$/);
  });

  test('a whole chat comes back, and https is insisted on where it was used', async () => {
    const all = await openFront();
    const { status, headers, parts } = await open(all, CHAT);
    expect(status).toBe(200);
    expect(JSON.parse(await readUntil(parts))).toMatchObject({ choices: [{ message: { content: all.engine.says } }] });
    expect(headers['strict-transport-security']).toBe(secure ? 'max-age=63072000' : undefined);
    expect(headers['x-lanyard-backend']).toBe('rack');
    expect(headers['retry-after']).toBeUndefined();
  });
});

test('a body as large as images make it goes through', async () => {
  const all = await openFront();
  const large = { ...CHAT, messages: [{ role: 'user', content: 'x'.repeat(5_000_000) }] };
  expect((await ask(all, '/v1/chat/completions', large)).status).toBe(200);
  expect(all.engine.asked[0]?.body.length).toBeGreaterThan(5_000_000);
});

test('a caller who leaves is seen by the engine', async () => {
  const all = await openFront();
  all.engine.next({ kind: 'hold_after', events: 3 });
  const leaving = new AbortController();
  const body = JSON.stringify({ ...CHAT, stream: true });
  const response = await fetch(`${all.lan}/v1/chat/completions`, {
    method: 'POST',
    headers: HEADERS,
    body,
    signal: leaving.signal,
  });
  await response.body?.getReader().read();
  leaving.abort();
  await all.engine.until(({ asked }) => asked[0]?.ended === 'aborted');
});

test('http is sent to https, with method and body', async () => {
  const { plain } = await openFront();
  const response = await fetch(`${plain}/v1/models/a%2Fb?x=1`, { method: 'POST', body: '{}', redirect: 'manual' });
  expect(response.status).toBe(308);
  expect(response.headers.get('location')).toBe('https://127.0.0.1/v1/models/a%2Fb?x=1');
});

test("a model's id keeps its slash, raw or encoded", async () => {
  const all = await openFront();
  for (const id of ['team%2Fcoder%3A7b', 'team/coder:7b']) {
    const response = await ask(all, `/v1/models/${id}`);
    expect(await response.json()).toMatchObject({ id: 'team/coder:7b' });
  }
});

describe('limits', () => {
  test('forty at once: twenty-one pass, the gateway refuses the rest, nginx none', async () => {
    const all = await openFront('ip: { requests: 10/s, burst: 20, parallel: 100 }');
    const started = performance.now();
    const responses = await Promise.all(Array.from({ length: 40 }, () => ask(all, '/v1/chat/completions', CHAT)));
    // A machine so slow that they were not at once lets one more in each tenth of a second.
    const late = Math.floor((performance.now() - started) / 100);
    const refused = responses.filter(({ status }) => status === 429);
    expect(responses.filter(({ status }) => status === 200).length + refused.length).toBe(40);
    expect(refused.length).toBeLessThanOrEqual(19);
    expect(refused.length).toBeGreaterThanOrEqual(19 - late);
    for (const response of refused) {
      expect(response.headers.get('x-request-id')).toMatch(/^req_/);
      expect(response.headers.get('retry-after')).toMatch(/^[1-9]\d*$/);
      expect(response.headers.get('content-type')).toBe('application/json');
      expect(((await response.json()) as Refusal).error.code).toBe('rate_limit_exceeded');
    }
  });

  test('a forged address does not make another caller', async () => {
    const all = await openFront('ip: { requests: 1/min, burst: 2, parallel: 100 }');
    const statuses = [];
    for (let at = 1; at <= 6; at += 1) {
      const forged = `203.0.113.${at}`;
      const headers = { 'x-forwarded-for': forged, 'x-real-ip': forged, forwarded: `for=${forged}` };
      statuses.push((await ask(all, '/v1/chat/completions', CHAT, headers)).status);
    }
    expect(statuses).toEqual([200, 200, 200, 429, 429, 429]);
  });

  test("over nginx's own, looser limit the refusal is 429 in JSON too; /health has none", async () => {
    const all = await openFront();
    const responses = await Promise.all(Array.from({ length: 80 }, () => ask(all, '/v1/models')));
    const refused = responses.filter(({ status }) => status !== 200);
    expect(refused.length).toBeGreaterThan(0);
    expect(responses.length - refused.length).toBeGreaterThanOrEqual(41);
    for (const response of refused) {
      expect(response.headers.get('retry-after')).toBe('1');
      await expectRefusal(response, 429, 'rate_limit_exceeded');
    }
    const health = await Promise.all(Array.from({ length: 80 }, () => ask(all, '/health')));
    expect(new Set(health.map(({ status }) => status))).toEqual(new Set([200]));
  });
});

describe("nginx's own refusals are OpenAI's error object:", () => {
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

  test('a body above the limit; one that only the gateway refuses is refused by the gateway', async () => {
    const all = await openFront('ip: off, body_bytes_max: 1KiB');
    const large = { ...CHAT, messages: [{ role: 'user', content: 'x'.repeat(2_000) }] };
    const ours = await ask(all, '/v1/chat/completions', large);
    expect(ours.status).toBe(413);
    expect(ours.headers.get('x-request-id')).toMatch(/^req_/);

    const head = { ...HEADERS, 'content-length': String(65 * 1024 * 1024) };
    const request = httpRequest(`${all.lan}/v1/chat/completions`, { method: 'POST', headers: head });
    request.on('error', () => {});
    onTestFinished(() => void request.destroy());
    request.flushHeaders();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    expect(response.statusCode).toBe(413);
    const body = await readUntil(response[Symbol.asyncIterator]() as AsyncIterator<Buffer>);
    expect((JSON.parse(body) as Refusal).error.code).toBe('request_too_large');
  });

  test.for(['/metrics', '/metrics/', '//metrics', '/%6Detrics', '/health/ready', '/.refused'])(
    '%s is not passed on',
    async (to) => {
      const all = await openFront();
      await expectRefusal(await ask(all, to), 404, 'unknown_url');
    },
  );

  test('an address that is not of the LAN', async () => {
    const all = await openFront('ip: off', [['allow 127.0.0.0/8;', '']]);
    await expectRefusal(await ask(all, '/v1/models'), 403, 'forbidden');
  });

  test.for([
    ['what is not HTTP', 'GARBAGE\r\n\r\n', 400],
    ['headers that are too large', `GET / HTTP/1.1\r\nHost: a\r\nX-Large: ${'x'.repeat(40_000)}\r\n\r\n`, 431],
    ['two lengths', 'POST /v1/models HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', 400],
    ['TRACE', 'TRACE / HTTP/1.1\r\nHost: a\r\n\r\n', 405],
  ] as const)('%s', async ([, bytes, status]) => {
    const { lan } = await openFront();
    const socket = connectTcp(Number(new URL(lan).port), '127.0.0.1');
    socket.end(bytes);
    const text = await readUntil(socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>);
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(text).toContain('Content-Type: application/json');
    expect(JSON.parse(text.slice(text.indexOf('\r\n\r\n')))).toHaveProperty('error.code');
  });

  test('http on the https port', async () => {
    const { tls } = await openFront();
    await expectRefusal(await fetch(`${tls.replace('https', 'http')}/v1/models`), 400, 'bad_request');
  });
});
