// What is asked in one turn of the event loop goes to a real Redis in one command, and what can go wrong with one of them is not
// the others'. That the script rules over many as over one after another is in alike.test.ts.
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Demand, Verdict } from '../../src/store/limits.ts';
import { startRedis, type RedisServer } from '../stage/redis.ts';
import { demand, limit, passed, takeTogether } from './behaviours.ts';
import { openGateway, until, type Gateway } from './gateway.ts';
import { slowWire, type SlowWire } from './slow.ts';

let server: RedisServer;
let wire: SlowWire;
let gateway: Gateway;

beforeEach(async () => {
  server = await startRedis();
  wire = await slowWire(server.port);
  gateway = openGateway(wire.url, { reply_ms: 5000 });
  await gateway.up();
});
afterEach(async () => {
  await gateway.close();
  wire.close();
  await server.stop();
});

const places = (id: string): Promise<number> => gateway.connection.redis.zcard(`lanyard:places:${id}`);
const commands = (): number => [...wire.asked().matchAll(/^\*\d+\r\n\$\d+\r\neval/gim)].length;
const one = (bucket: string): Demand => demand(bucket, limit(undefined, 0, 1));

test('takes and give-backs of one turn are one command, and the takes are decided in their order', async () => {
  const before = await takeTogether([gateway.limits], demand('a', limit(1, 99, 99)), 5);
  const from = commands();
  for (const verdict of before) verdict.release();
  const verdicts = await takeTogether([gateway.limits], demand('b', limit(1, 20, 9), 'c', limit(1, 6)), 12);
  expect(verdicts.map(({ admitted }) => admitted)).toEqual(Array.from({ length: 12 }, (_, n) => n < 7));
  expect(commands() - from).toBe(1);
  expect(await places('ip:a')).toBe(0);
});

test('a turn of more than one command’s worth is decided in order too, and every give-back comes before any take', async () => {
  const asked = demand('a', limit(1, 999, 300));
  const before = await takeTogether([gateway.limits], asked, 300);
  expect(passed(before)).toBe(300);
  const from = commands();
  for (const verdict of before) verdict.release();
  const verdicts = await takeTogether([gateway.limits], asked, 310);
  expect(verdicts.map(({ admitted }) => admitted)).toEqual(Array.from({ length: 310 }, (_, n) => n < 300));
  expect(commands() - from).toBe(5);
  expect(await places('ip:a')).toBe(300);
});

test.each([
  ['before', (held: Verdict, asked: () => Promise<Verdict>) => (held.release(), asked())],
  ['after', (held: Verdict, asked: () => Promise<Verdict>) => [asked(), held.release()][0] as Promise<Verdict>],
])('a place given back %s it is asked for in the same turn is there to be taken', async (_when, both) => {
  const held = await gateway.limits.take(one('a'));
  expect(await gateway.limits.take(one('a'))).toMatchObject({ admitted: false });
  const verdict = await both(held, async () => gateway.limits.take(one('a')));
  expect(verdict).toMatchObject({ admitted: true, source: 'redis' });
  expect(await places('ip:a')).toBe(1);
});

test('a key of a wrong type harms nobody else in the same turn', async () => {
  const { redis } = gateway.connection;
  const held = await gateway.limits.take(one('was a place'));
  await redis.set('lanyard:places:ip:places', 'not a set of places');
  await redis.set('lanyard:places:ip:was a place', 'not a set of places');
  await redis.lpush('lanyard:rate:key:rate', 'not a rate');
  const limited = limit(1, 0, 1);
  // Its key holds no lease any more, so there is nothing to give back.
  held.release();
  const verdicts = await Promise.all(
    [
      demand('a', limited, 'b', limited),
      demand('places', limited, 'e', limited),
      demand('c', limited, 'rate', limited),
      demand('c', limited, 'd', limited),
      demand('a', limited, 'd', limited),
    ].map(async (asked) => gateway.limits.take(asked)),
  );
  expect(verdicts.map(({ admitted, source }) => [admitted, source])).toEqual([
    [true, 'redis'],
    [true, 'share'],
    [true, 'share'],
    [true, 'redis'],
    [false, 'redis'],
  ]);
  expect(gateway.connection.up).toBe(true);
  expect(gateway.events.slice(1)).toEqual([{ type: 'fault', fault: 'other', cause: 'WRONGTYPE', count: 1 }]);
});

test('nothing is lost when the connection goes between the collecting and the sending', async () => {
  const held = await gateway.limits.take(one('held'));
  const asked = gateway.limits.take(demand('a', limit(1, 20, 10)));
  held.release();
  expect(gateway.connection.up).toBe(true);
  // What ioredis says when the socket closes, in the turn that has collected both.
  gateway.connection.redis.emit('close');
  expect(await asked).toMatchObject({ admitted: true, source: 'share' });
  expect(await places('ip:held')).toBe(1);
  await gateway.up();
  await until(async () => (await places('ip:held')) === 0);
  // The share's place is told to Redis, and then given back to it.
  await until(async () => (await places('ip:a')) === 1);
  (await asked).release();
  await until(async () => (await places('ip:a')) === 0);
});

test('what the turn has collected is given back before the connection closes', async () => {
  const other = openGateway(server.url, { reply_ms: 5000 });
  await other.up();
  const [released] = await takeTogether([other.limits], demand('a', limit(undefined, 0, 3)), 3);
  expect(await places('ip:a')).toBe(3);
  released?.release();
  await other.close();
  expect(await places('ip:a')).toBe(0);
});

test('a renewal on its way does not bring back what is given back behind it, even to a Redis that forgot the scripts', async () => {
  // Its replies are late, so that it learns of a forgotten script after it has given back.
  const short = openGateway(wire.url, { reply_ms: 5000, lease_ms: 900 });
  const other = openGateway(server.url, { reply_ms: 5000 });
  await Promise.all([short.up(), other.up()]);
  // Renewed once: from now on it would go by a hash, if it did.
  const verdict = await short.limits.take(one('a'));
  await pause(400);
  wire.delay_ms = 100;
  await other.connection.redis.script('FLUSH');
  // The turn's script is known again, by somebody else.
  for (let n = 0; n < 2; n += 1) await other.limits.take(one(`b${n}`));
  const from = commands();
  await until(() => commands() > from);
  verdict.release();
  await pause(400);
  expect(await other.connection.redis.zcard('lanyard:places:ip:a')).toBe(0);
  wire.delay_ms = 0;
  await Promise.all([short.close(), other.close()]);
});
