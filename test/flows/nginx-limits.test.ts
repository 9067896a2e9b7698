// The limits through nginx: the gateway's hold exactly on 443 and 8080, nginx's looser ones keep floods from it, and no
// caller chooses the address it is counted by.
import { connect as connectHttp2 } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  ask,
  askHttp2,
  CHAT,
  DOORS,
  expectRefusal,
  HEADERS,
  LAN,
  partsOf,
  readUntil,
  type Answer,
  type Refusal,
} from '../stage/doors.ts';
import { openFront, type Front } from '../stage/front.ts';

const AS_SHIPPED = 'ip: { requests: 10/s, burst: 20, parallel: 100 }';

describe.for(DOORS)('through $name', ({ open }) => {
  test('forty at once: twenty-one pass, the gateway refuses nineteen, nginx none', async () => {
    const all = await openFront(AS_SHIPPED);
    const started = performance.now();
    const answers = await Promise.all(Array.from({ length: 40 }, () => open(all, CHAT)));
    // A machine so slow that they were not at once lets one more in each tenth of a second.
    const late = Math.floor((performance.now() - started) / 100);
    const refused = answers.filter(({ status }) => status === 429);
    expect(answers.filter(({ status }) => status === 200).length + refused.length).toBe(40);
    expect(refused.length).toBeLessThanOrEqual(19);
    expect(refused.length).toBeGreaterThanOrEqual(19 - late);
    for (const { headers, parts } of refused) {
      expect(headers['x-request-id']).toMatch(/^req_/);
      expect(headers['retry-after']).toMatch(/^[1-9]\d*$/);
      expect(headers['content-type']).toBe('application/json');
      expect((JSON.parse(await readUntil(parts)) as Refusal).error.code).toBe('rate_limit_exceeded');
    }
  });
});

test(
  'a hundred slow streams may be open, over both doors together, and the next is refused',
  { timeout: 60_000 },
  async () => {
    // Everything as shipped: both rates are kept to by waiting as long as each refusal says.
    const all = await openFront(AS_SHIPPED);
    all.engine.always({ kind: 'hold_after', events: 1 });
    const session = connectHttp2(all.tls, { ca: all.ca });
    onTestFinished(() => session.destroy());
    const doors = [() => LAN(all, { ...CHAT, stream: true }), () => askHttp2(session, { ...CHAT, stream: true })];
    const streams: Answer[] = [];
    while (streams.length < 100) {
      const answer = await doors[streams.length % 2]!();
      if (answer.status === 200) {
        streams.push(answer);
        continue;
      }
      expect(answer.status).toBe(429);
      expect((JSON.parse(await readUntil(answer.parts)) as Refusal).error.code).toBe('rate_limit_exceeded');
      await pause(Number(answer.headers['retry-after']) * 1000);
    }
    expect(all.engine.in_flight).toBe(100);
    for (const door of doors) {
      const { code, id } = await untilNotTheRate(door);
      expect(code).toBe('parallel_limit_exceeded');
      expect(id).toMatch(/^req_/);
    }
    all.engine.always(undefined);
    all.engine.release();
    const texts = await Promise.all(streams.map(({ parts }) => readUntil(parts)));
    for (const text of texts) expect(text).toMatch(/data: \[DONE\]\n\n$/);
    // Places are free again.
    expect((await untilServed(() => LAN(all, CHAT))).status).toBe(200);
  },
);

/** Headers by which a caller might claim to be another, alone and as a chain. */
const FORGED: readonly ((at: number) => Record<string, string>)[] = [
  (at) => ({ 'x-forwarded-for': `203.0.113.${at}` }),
  (at) => ({ 'x-forwarded-for': `203.0.113.${at}, 127.0.0.1` }),
  (at) => ({ 'x-forwarded-for': `127.0.0.1, 203.0.113.${at}` }),
  (at) => ({ 'x-real-ip': `203.0.113.${at}` }),
  (at) => ({ forwarded: `for=203.0.113.${at};proto=https` }),
  (at) => ({ 'cf-connecting-ip': `203.0.113.${at}`, 'true-client-ip': `203.0.113.${at}` }),
  (at) => ({ 'x-client-ip': `203.0.113.${at}`, 'x-forwarded-host': `a${at}.example.com`, via: `1.1 a${at}` }),
];

test.for(['443', '8080'])('on %s a forged address does not make another caller', async (door) => {
  const all = await openFront(`ip: { requests: 1/min, burst: ${FORGED.length - 1}, parallel: 100 }`);
  const statuses = [];
  for (let at = 1; at <= 2 * FORGED.length; at += 1) {
    const headers = FORGED[at % FORGED.length]!(at);
    const answer = door === '8080' ? await ask(all, '/v1/chat/completions', CHAT, headers) : await secure(all, headers);
    statuses.push(answer.status);
  }
  expect(statuses).toEqual(Array.from({ length: 2 * FORGED.length }, (_, at) => (at < FORGED.length ? 200 : 429)));
});

test.for(['443', '8080'])('on %s X-Forwarded-For twice is no more believed', async (door) => {
  const all = await openFront();
  const { port } = new URL(door === '8080' ? all.lan : all.tls);
  const forged = ['X-Forwarded-For', '203.0.113.1', 'X-Forwarded-For', '203.0.113.2'];
  const options = { host: '127.0.0.1', port, path: '/', headers: ['Host', 'localhost', ...forged] };
  const asked = door === '8080' ? httpRequest(options) : httpsRequest({ ...options, ca: all.ca });
  asked.end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  expect(JSON.parse(await readUntil(partsOf(response)))).toMatchObject({ your_address: '127.0.0.1' });
});

test("over nginx's own, looser rate the refusal is 429 in JSON too; /health has none", async () => {
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

test('uploads have the same limits', async () => {
  const all = await openFront();
  const responses = await Promise.all(Array.from({ length: 80 }, () => ask(all, '/v1/files', {})));
  const refused = responses.filter(({ status }) => status === 429);
  expect(refused.length).toBeGreaterThan(0);
  expect(responses.filter(({ status }) => status === 404)).toHaveLength(80 - refused.length);
});

test("nginx's own limit of open requests is 429 in JSON too, on both doors together", async () => {
  // 200 in the file; three here, so that it can be reached below the rate.
  const all = await openFront('ip: off', [['limit_conn open_by_address 200', 'limit_conn open_by_address 3']]);
  all.engine.always({ kind: 'hold_after', events: 1 });
  const held = [];
  for (const { open } of DOORS) held.push(await open(all, { ...CHAT, stream: true }));
  expect(held.map(({ status }) => status)).toEqual([200, 200, 200]);
  for (const { open } of DOORS) {
    const { status, headers, parts } = await open(all, CHAT);
    expect(status).toBe(429);
    expect(headers['retry-after']).toBe('1');
    expect((JSON.parse(await readUntil(parts)) as Refusal).error.code).toBe('rate_limit_exceeded');
  }
  all.engine.release();
});

async function secure({ tls, ca }: Front, headers: Record<string, string>): Promise<{ status: number | undefined }> {
  const request = httpsRequest(`${tls}/v1/chat/completions`, {
    method: 'POST',
    headers: { ...HEADERS, ...headers },
    ca,
  });
  request.end(JSON.stringify(CHAT));
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.resume();
  return { status: response.statusCode };
}

async function untilNotTheRate(open: () => Promise<Answer>): Promise<{ code: string; id: unknown }> {
  for (;;) {
    const { status, headers, parts } = await open();
    expect(status).toBe(429);
    const { code } = (JSON.parse(await readUntil(parts)) as Refusal).error;
    if (code !== 'rate_limit_exceeded') return { code, id: headers['x-request-id'] };
    await pause(Number(headers['retry-after']) * 1000);
  }
}

async function untilServed(open: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    const answer = await open();
    if (answer.status !== 429) return answer;
    await pause(Number(answer.headers['retry-after']) * 1000);
  }
}
