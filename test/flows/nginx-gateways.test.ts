// Two gateways on one Redis behind one nginx, by the two lines that nginx.conf says: callers have one limit, whichever of
// the two answers.
import { connect as connectHttp2 } from 'node:http2';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { ask, askHttp2, CHAT, LAN, readUntil, type Answer, type Refusal } from '../stage/doors.ts';
import { openFront, type Front } from '../stage/front.ts';
import { startRedis } from '../stage/redis.ts';

async function openTwo(limits: string): Promise<Front> {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  return await openFront(limits, [], { two_on: redis.url });
}

/** How many chats each of the gateways answered. */
function shares({ gateways }: Front): number[] {
  return gateways.map((gateway) => gateway.outcomes().filter(({ status }) => status === 200).length);
}

test('forty at once over both: twenty-one pass, one from then on in each tenth of a second', async () => {
  const all = await openTwo('ip: { requests: 10/s, burst: 20, parallel: 100 }');
  const started = performance.now();
  const responses = await Promise.all(Array.from({ length: 40 }, () => ask(all, '/v1/chat/completions', CHAT)));
  const late = Math.floor((performance.now() - started) / 100);
  const served = responses.filter(({ status }) => status === 200).length;
  const refused = responses.filter(({ status }) => status === 429);
  expect(served + refused.length).toBe(40);
  expect(served).toBeGreaterThanOrEqual(21);
  expect(served).toBeLessThanOrEqual(21 + late);
  for (const response of refused) {
    expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    expect(((await response.json()) as Refusal).error.code).toBe('rate_limit_exceeded');
  }
  const instances = new Set(responses.map(({ headers }) => headers.get('x-lanyard-instance')));
  expect(instances.size).toBe(2);
});

test('a hundred streams may be open over both, and the next is refused by either', { timeout: 60_000 }, async () => {
  const all = await openTwo('ip: { requests: 1000/s, burst: 1000, parallel: 100 }');
  all.engine.always({ kind: 'hold_after', events: 1 });
  const session = connectHttp2(all.tls, { ca: all.ca });
  onTestFinished(() => session.destroy());
  const doors = [() => LAN(all, { ...CHAT, stream: true }), () => askHttp2(session, { ...CHAT, stream: true })];
  const streams: Answer[] = [];
  while (streams.length < 100) {
    const answer = await notByNginx(doors[streams.length % 2]!);
    expect(answer.status).toBe(200);
    streams.push(answer);
  }
  const held = new Set(streams.map(({ headers }) => headers['x-lanyard-instance']));
  expect(held.size).toBe(2);

  // Taken in turn: four more come by both gateways.
  const more = [];
  for (let n = 0; n < 4; n += 1) more.push(await notByNginx(doors[n % 2]!));
  for (const { status, parts } of more) {
    expect(status).toBe(429);
    expect((JSON.parse(await readUntil(parts)) as Refusal).error.code).toBe('parallel_limit_exceeded');
  }
  expect(new Set(more.map(({ headers }) => headers['x-lanyard-instance']))).toEqual(held);

  all.engine.always(undefined);
  all.engine.release();
  for (const { parts } of streams) expect(await readUntil(parts)).toMatch(/data: \[DONE\]\n\n$/);
  // Written down once the caller has had it all.
  await expect.poll(() => shares(all)).toEqual([50, 50]);
});

test('one of two that is away costs one request, and is passed over from then on', async () => {
  const all = await openTwo('ip: off');
  await all.gateways[1]!.stop();
  const statuses = [];
  for (let n = 0; n < 12; n += 1) statuses.push((await ask(all, '/v1/chat/completions', CHAT)).status);
  expect(statuses.filter((status) => status === 200)).toHaveLength(11);
  expect(statuses.filter((status) => status === 502)).toHaveLength(1);
});

/** Waits where nginx's own rate (20/s, burst 40) says so; the gateway's id is on what is the gateway's. */
async function notByNginx(open: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    const answer = await open();
    if (String(answer.headers['x-request-id']).startsWith('req_')) return answer;
    expect(answer.status).toBe(429);
    await pause(Number(answer.headers['retry-after']) * 1000);
  }
}
