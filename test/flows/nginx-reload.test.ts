// `nginx -s reload` under load: no stream that was under way is cut, and no request is lost.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectTls } from 'node:tls';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { askHttp2, CHAT, DOORS, HEADERS, readUntil, type Answer } from '../stage/doors.ts';
import { openFront, type Front } from '../stage/front.ts';
import { keepAsking, keepAskingHttp2 } from '../stage/keep-asking.ts';

/** Far more than nginx lets through: what is tried here is the reload. */
const ANY_RATE = [
  ['rate=20r/s', 'rate=10000r/s'],
  ['burst=40 nodelay', 'burst=10000 nodelay'],
] as const satisfies [string, string][];

const RELOADS = 3;

test('streams under way end whole, and every request is answered', { timeout: 60_000 }, async () => {
  const all = await openFront('ip: off', [...ANY_RATE]);
  const streams = await hold(all);
  const asking = [
    ...[all.lan, all.lan, all.tls, all.tls].map((url) =>
      keepAsking(`${url}/v1/models`, { headers: HEADERS, ca: all.ca }),
    ),
    ...[1, 2].map(() => keepAskingHttp2(`${all.tls}/v1/models`, { headers: HEADERS, ca: all.ca })),
  ];
  const go_on = (): Promise<unknown> => Promise.all(asking.map((each) => each.more(10)));
  await go_on();
  for (let n = 0; n < RELOADS; n += 1) {
    await all.nginx.reload();
    await go_on();
    expect(all.engine.in_flight).toBe(streams.length);
  }
  // What began before each reload is still with the workers of then, and ends there.
  expect(all.nginx.errorLog()).toContain('gracefully shutting down');
  all.engine.always(undefined);
  all.engine.release();
  for (const { parts } of streams) expect(await readUntil(parts)).toMatch(/data: \[DONE\]\n\n$/);
  await Promise.all(asking.map((each) => each.stop()));
  // A kept connection is closed by its old worker once at most each time: more would not be its closing.
  for (const { answered, repeated } of asking) {
    expect(answered).toBeGreaterThanOrEqual(10 * (RELOADS + 1));
    expect(repeated).toBeLessThanOrEqual(RELOADS);
  }
});

test('it is worker_shutdown_timeout that lets them end: a short one cuts them', async () => {
  const all = await openFront('ip: off', [['worker_shutdown_timeout 2h', 'worker_shutdown_timeout 1ms']]);
  const streams = await hold(all);
  await all.nginx.reload();
  for (const { parts } of streams) expect(await readUntil(parts).catch(() => 'cut')).not.toContain('[DONE]');
});

test('an HTTP/2 connection that carries a stream is let finish it, and told to go on elsewhere', async () => {
  const all = await openFront('ip: off', [...ANY_RATE]);
  all.engine.next({ kind: 'hold_after', events: 2 });
  const session = connectHttp2(all.tls, { ca: all.ca });
  onTestFinished(() => session.destroy());
  const { parts } = await askHttp2(session, { ...CHAT, stream: true });
  await all.engine.until(({ held }) => held === 1);
  await all.nginx.reload();
  all.engine.release();
  expect(await readUntil(parts)).toMatch(/data: \[DONE\]\n\n$/);
  if (!session.closed) await once(session, 'close');
});

test('a configuration that nginx refuses changes nothing', async () => {
  const all = await openFront('ip: off', [...ANY_RATE]);
  await expect(all.nginx.reload('nonsense;')).rejects.toThrow('nonsense');
  expect((await fetch(`${all.lan}/v1/models`, { headers: HEADERS })).status).toBe(200);
});

test('a renewed certificate is shown from the reload on, and clients of the authority notice nothing', async () => {
  const all = await openFront();
  const before = await shown(all);
  const folder = `${all.nginx.folder}/certs`;
  const args = [new URL('../../deploy/certs.sh', import.meta.url).pathname, folder, 'new.example.com'];
  execFileSync('sh', args, { stdio: 'pipe' });
  expect(await shown(all)).toBe(before);
  await all.nginx.reload();
  await expect.poll(() => shown(all)).not.toBe(before);
  expect(readFileSync(all.ca_file)).toEqual(all.ca);
});

/** A stream on each door, three times, that the engine keeps after its second event. */
async function hold(all: Front): Promise<Answer[]> {
  const streams: Answer[] = [];
  all.engine.always({ kind: 'hold_after', events: 2 });
  for (let n = 0; n < 3; n += 1) for (const { open } of DOORS) streams.push(await open(all, { ...CHAT, stream: true }));
  await all.engine.until(({ held }) => held === streams.length);
  return streams;
}

/** The serial number of the certificate that nginx shows, trusted through the authority. */
async function shown({ tls, ca }: Front): Promise<string> {
  const socket = connectTls({ port: Number(new URL(tls).port), host: '127.0.0.1', servername: 'localhost', ca });
  onTestFinished(() => void socket.destroy());
  await once(socket, 'secureConnect');
  return socket.getPeerCertificate().serialNumber;
}
