// Redis killed, frozen, slow, absent, read-only, out of memory or behind another password: nobody hangs, nobody waits once
// it is known, the limits are this process' share, and all is as before when it is back. Redis is real. That nothing is
// waited for is shown by a decision that is no promise; that nothing is sent, by the wire itself.
import { afterEach, describe, expect, test } from 'vitest';
import type { RedisEvent } from '../../src/store/fault.ts';
import type { Verdict } from '../../src/store/limits.ts';
import { freePort } from '../stage/ports.ts';
import { startRedis, type RedisServer } from '../stage/redis.ts';
import { demand, limit, takeTogether } from './behaviours.ts';
import { openGateway, until, type Gateway } from './gateway.ts';
import { slowWire } from './slow.ts';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

interface Options {
  password?: string;
  fail?: 'local' | 'closed';
  reply_ms?: number;
}

async function stage(options: Options = {}): Promise<{ server: RedisServer; gateway: Gateway }> {
  const { password, ...rest } = options;
  const server = await startRedis(password === undefined ? {} : { password });
  ends.push(() => server.stop());
  return { server, gateway: await gatewayOf(server.url, rest) };
}

/** Waits four times as long for a reply as a real gateway does, or a busy machine would look like an outage. */
async function gatewayOf(url: string, options: Omit<Options, 'password'> = {}, up = true): Promise<Gateway> {
  const gateway = openGateway(url, { reply_ms: 400, ...options });
  ends.push(() => gateway.close());
  if (up) await gateway.up();
  return gateway;
}

const asked = demand('a', limit(1, 20, 10), 'b', limit(1, 100, 100));
const kinds = (events: readonly RedisEvent[]): string[] =>
  events.map((event) => (event.type === 'up' ? 'up' : `${event.type} ${event.fault}`));
const places = (gateway: Gateway, id = 'ip:a'): Promise<number> =>
  gateway.connection.redis.zcard(`lanyard:places:${id}`);

/** How long it took, asserted to be far from hanging (the failure these tests are for); printed nowhere, tight nowhere. */
async function soon<T>(work: T | Promise<T>): Promise<T> {
  const from = performance.now();
  const result = await work;
  expect(performance.now() - from).toBeLessThan(1000);
  return result;
}

describe('Redis away', () => {
  test('killed: the next decision is this process’ share, at once; restarted: it is told what is held', async () => {
    const { server, gateway } = await stage();
    const held = await gateway.limits.take(asked);
    const ended = await gateway.limits.take(asked);
    await server.kill();
    await gateway.away();
    const verdict = gateway.limits.take(asked);
    expect(verdict).not.toBeInstanceOf(Promise);
    expect(verdict).toMatchObject({ admitted: true, source: 'share' });
    ended.release();
    expect(gateway.limits.state()).toMatchObject({ source: 'share', places: 2 });

    await server.restart();
    await gateway.up();
    expect(await gateway.limits.take(demand('other', limit(1, 1)))).toMatchObject({ source: 'redis' });
    // The one it granted before, and the one this process granted meanwhile.
    expect(await places(gateway)).toBe(2);
    expect(await places(gateway, 'key:b')).toBe(2);
    held.release();
    (verdict as Verdict).release();
    await until(async () => (await places(gateway)) === 0);
    expect(kinds(gateway.events)).toEqual(['up', 'away connect', 'up']);
  });

  test('the share: limit ÷ gateways, running streams counted', async () => {
    const { server, gateway } = await stage();
    const before = await takeTogether([gateway.limits], asked, 3);
    await server.kill();
    await gateway.away();
    const meanwhile = Array.from({ length: 20 }, () => gateway.limits.take(asked) as Verdict);
    // 10 places between two gateways: 5, of which 3 are held by what Redis granted.
    expect(meanwhile.filter(({ admitted }) => admitted)).toHaveLength(2);
    expect(meanwhile[19]?.refused_by).toMatchObject({ scope: 'ip', what: 'parallel' });
    for (const verdict of [...before, ...meanwhile]) verdict.release();
    const rated = Array.from({ length: 20 }, () => gateway.limits.take(demand('r', limit(1, 20))) as Verdict);
    expect(rated.filter(({ admitted }) => admitted)).toHaveLength(10);
  });

  test('frozen: nobody hangs, late replies go to nobody, and after the thaw the count is right', async () => {
    // With the wait that a real gateway allows.
    const { server, gateway } = await stage({ reply_ms: 80 });
    // Bucket n has been asked n times, so that a reply given to another's question would show.
    const bucket = (n: number) => demand(`bucket ${n}`, limit(1, 50, 100));
    for (let n = 0; n < 10; n += 1) for (let i = 0; i < n; i += 1) (await gateway.limits.take(bucket(n))).release();

    server.freeze();
    const waiting = Array.from({ length: 10 }, (_, n) => gateway.limits.take(bucket(n)));
    expect(waiting[0]).toBeInstanceOf(Promise);
    const verdicts = await soon(Promise.all(waiting.map(async (verdict) => verdict)));
    expect(verdicts.every(({ admitted, source }) => admitted && source === 'share')).toBe(true);
    expect(gateway.connection.up).toBe(false);
    expect(gateway.limits.take(bucket(0))).toMatchObject({ source: 'share' });
    for (const verdict of verdicts.slice(5)) verdict.release();

    server.thaw();
    await gateway.up();
    const after = await Promise.all(Array.from({ length: 10 }, async (_, n) => gateway.limits.take(bucket(n))));
    expect(after.every(({ source }) => source === 'redis')).toBe(true);
    for (const [n, { rate }] of after.entries()) {
      // Asked n times before; the one from the frozen time may have been run after the thaw, or lost with the connection.
      expect([50 - n, 50 - n - 1]).toContain(rate?.remaining);
      expect(await places(gateway, `ip:bucket ${n}`)).toBe(n === 0 ? 3 : n < 5 ? 2 : 1);
    }
    expect(kinds(gateway.events).slice(-2)).toEqual(['away timeout', 'up']);
  });

  test('slow: one wait opens the breaker, then nothing is asked until a trial is answered in time', async () => {
    const server = await startRedis();
    ends.push(() => server.stop());
    const wire = await slowWire(server.port);
    ends.push(() => wire.close());
    const gateway = await gatewayOf(wire.url);
    await gateway.limits.take(asked);
    wire.delay_ms = 1000;
    expect(await soon(gateway.limits.take(asked))).toMatchObject({ source: 'share' });
    const seen = wire.asked().length;
    for (let n = 0; n < 50; n += 1) expect(gateway.limits.take(demand('a', limit(1, 99)))).not.toBeInstanceOf(Promise);
    await until(() => gateway.connection.faults.timeout >= 2);
    expect(wire.asked().slice(seen)).toContain('lanyard:trial');
    expect(wire.asked().slice(seen)).not.toContain('lanyard:rate');
    wire.delay_ms = 0;
    await gateway.up();
    expect(await gateway.limits.take(demand('c', limit(1, 99)))).toMatchObject({ source: 'redis' });
    expect(kinds(gateway.events)).toEqual(['up', 'away timeout', 'up']);
  });

  test('dead at the start: nobody waits, and it is used as soon as it is there', async () => {
    const port = await freePort();
    const gateway = await gatewayOf(`redis://127.0.0.1:${port}`, {}, false);
    const verdict = gateway.limits.take(asked);
    expect(verdict).toMatchObject({ admitted: true, source: 'share' });
    await until(() => gateway.connection.faults.connect >= 3);
    const server = await startRedis({ port });
    ends.push(() => server.stop());
    await gateway.up();
    expect(await places(gateway)).toBe(1);
    expect(kinds(gateway.events)).toEqual(['away connect', 'up']);
  });

  test('frozen at the start, and for longer than a silent connection is kept: the same', async () => {
    const server = await startRedis();
    ends.push(() => server.stop());
    server.freeze();
    const gateway = await gatewayOf(server.url, {}, false);
    const verdict = gateway.limits.take(asked);
    expect(verdict).toMatchObject({ admitted: true, source: 'share' });
    await until(() => gateway.connection.faults.timeout >= 1);
    server.thaw();
    await gateway.up();
    expect(await places(gateway)).toBe(1);
    expect(kinds(gateway.events)).toEqual(['away timeout', 'up']);
  });

  test('a wrong password is a kind of away, told without the password, and heals', async () => {
    const { server, gateway: admin } = await stage({ password: 'the-right-one' });
    const gateway = await gatewayOf(server.url.replace('the-right-one', 'the-wrong-one'), {}, false);
    expect(gateway.limits.take(asked)).toMatchObject({ source: 'share' });
    await until(() => gateway.connection.faults.auth >= 2);
    expect(gateway.events).toEqual([{ type: 'away', fault: 'auth', cause: 'WRONGPASS' }]);
    await admin.connection.redis.config('SET', 'requirepass', 'the-wrong-one');
    await gateway.up();
    expect(await gateway.limits.take(asked)).toMatchObject({ source: 'redis' });
  });

  test('a password where none was given is the same', async () => {
    const { server } = await stage({ password: 'secret' });
    const gateway = await gatewayOf(server.url.replace(':secret@', ''), {}, false);
    await until(() => gateway.connection.faults.auth >= 1);
    expect(gateway.events).toEqual([{ type: 'away', fault: 'auth', cause: 'NOAUTH' }]);
  });

  const states = [
    {
      name: 'read-only (a failover)',
      fault: 'readonly',
      on: ['REPLICAOF', '127.0.0.1', '1'],
      off: ['REPLICAOF', 'NO', 'ONE'],
    },
    {
      name: 'out of memory',
      fault: 'oom',
      on: ['CONFIG', 'SET', 'maxmemory', '1'],
      off: ['CONFIG', 'SET', 'maxmemory', '0'],
    },
  ];
  test.each(states)('$name: the share, until a write succeeds again', async ({ fault, on, off }) => {
    const { server, gateway } = await stage();
    const admin = await gatewayOf(server.url);
    const held = await gateway.limits.take(asked);
    await admin.connection.redis.call(on[0] as string, ...on.slice(1));
    expect(await soon(gateway.limits.take(asked))).toMatchObject({ admitted: true, source: 'share' });
    expect(gateway.limits.take(asked)).toMatchObject({ source: 'share' });
    held.release();
    await until(() => (gateway.connection.faults as Record<string, number>)[fault] === 2);
    expect(gateway.connection.up).toBe(false);
    await admin.connection.redis.call(off[0] as string, ...off.slice(1));
    await gateway.up();
    await until(async () => (await places(gateway)) === 2);
    expect(kinds(gateway.events)).toEqual(['up', `away ${fault}`, 'up']);
  });

  test('a key of a wrong type opens nothing until it has happened often', async () => {
    const { gateway } = await stage();
    await gateway.connection.redis.set('lanyard:places:ip:a', 'not a set of places');
    expect(await gateway.limits.take(asked)).toMatchObject({ source: 'share' });
    expect(gateway.connection.up).toBe(true);
    expect(await gateway.limits.take(demand('c', limit(1, 1)))).toMatchObject({ source: 'redis' });
    expect(gateway.events.at(-1)).toMatchObject({ type: 'fault', fault: 'other', count: 1 });
    for (let n = 0; n < 5; n += 1) await gateway.limits.take(asked);
    expect(gateway.connection.up).toBe(false);
  });

  test('fail closed: refused with 503 and when to ask again, until Redis is back', async () => {
    const { server, gateway } = await stage({ fail: 'closed' });
    server.freeze();
    const refusal = { code: 'limits_unavailable', status: 503, details: { retry_ms: 1000 } };
    await soon(expect(gateway.limits.take(asked)).rejects.toMatchObject(refusal));
    await expect(gateway.limits.take(asked)).rejects.toMatchObject(refusal);
    expect(await gateway.limits.take({ ip: undefined, key: undefined })).toMatchObject({ admitted: true });
    server.thaw();
    await gateway.up();
    // What was asked in the frozen time may have been run after the thaw: its place is given back.
    await until(async () => (await places(gateway)) === 0);
    expect(await gateway.limits.take(asked)).toMatchObject({ admitted: true, source: 'redis' });
  });
});

test('a fail-over: the name is looked up again, and the new primary takes over', async () => {
  const [old, next] = [await startRedis(), await startRedis()];
  const wire = await slowWire(old.port);
  ends.push(
    () => Promise.all([old.stop(), next.stop()]),
    () => wire.close(),
  );
  const gateway = await gatewayOf(wire.url);
  const held = await gateway.limits.take(asked);
  await gateway.connection.redis.call('REPLICAOF', '127.0.0.1', String(next.port));
  wire.port = next.port;
  await gateway.limits.take(asked);
  await gateway.away();
  await gateway.up();
  await until(async () => (await places(gateway)) === 2);
  held.release();
  await until(async () => (await places(gateway)) === 1);
});
