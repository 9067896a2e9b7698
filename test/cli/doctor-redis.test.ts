// What `lanyard doctor` finds out about Redis: a real one, up, down, frozen, guarded, a replica, full.
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { describe, expect, onTestFinished, test } from 'vitest';
import { freePort } from '../stage/ports.ts';
import { startRedis, type RedisServer } from '../stage/redis.ts';
import { examined, type Examined } from './examined.ts';

async function redisOf(password?: string): Promise<RedisServer> {
  const redis = await startRedis(password === undefined ? {} : { password });
  onTestFinished(() => redis.stop());
  return redis;
}

/** A client to set things with. */
function operator(redis: RedisServer): Redis {
  const client = new Redis(redis.url);
  onTestFinished(() => client.disconnect());
  return client;
}

async function looked(redis: string): Promise<Examined> {
  return await examined(`listen: [{ port: ${await freePort()} }]\nredis: ${redis}\n`);
}

describe('a Redis', () => {
  test('that is well is told so in every point', async () => {
    const redis = await redisOf('a-password-of-redis');
    const { wrong, of, findings } = await looked(redis.url);
    const subject = `127.0.0.1:${redis.port}`;
    expect(of('redis.reachable')).toEqual([expect.stringMatching(`^${subject}: ok answers and runs our scripts`)]);
    expect(of('redis.latency')).toEqual([expect.stringMatching(`^${subject}: ok 20 of 20 pings: `)]);
    expect(of('redis.version')).toEqual([expect.stringMatching(`^${subject}: ok .+ \\d+\\.`)]);
    expect(of('redis.memory')).toEqual([`${subject}: ok no maxmemory: no key is dropped`]);
    expect(of('host.clock')).toEqual([': ok within 5 s of 1 server']);
    expect(JSON.stringify(findings)).not.toContain('a-password');
    expect(wrong).toEqual(['gateway.running']); // there is none in these cases
  });

  test('that is not there', async () => {
    const { code, of } = await looked(`redis://127.0.0.1:${await freePort()}`);
    expect(of('redis.reachable')).toEqual([
      expect.stringMatching(
        /: fail cannot be reached; until it is back each gateway enforces its share, 1\/1 → Is it started/,
      ),
    ]);
    expect(code).toBe(1);
  });

  test('that is not there, with fail: closed', async () => {
    const { of } = await looked(`{ url: "redis://127.0.0.1:${await freePort()}", fail: closed }`);
    expect(of('redis.reachable')).toEqual([expect.stringContaining('every request is refused (fail: closed)')]);
  });

  test('that is frozen ends the wait', async () => {
    const redis = await redisOf();
    redis.freeze();
    const { of } = await looked(redis.url);
    expect(of('redis.reachable')).toEqual([expect.stringContaining('fail does not answer in time')]);
  });

  test('that wants another password, which is not repeated', async () => {
    const redis = await redisOf('the-right-password');
    const { of, findings } = await looked(redis.url.replace('the-right', 'the-wrong'));
    expect(of('redis.reachable')).toEqual([
      expect.stringMatching(/: fail refuses our password or user.* → Put the right password/),
    ]);
    expect(JSON.stringify(findings)).not.toMatch(/the-(?:right|wrong)-password/);
  });

  test('that only reads', async () => {
    const [primary, replica] = [await redisOf(), await redisOf()];
    await operator(replica).replicaof('127.0.0.1', primary.port);
    await expect.poll(async () => (await operator(replica).info('replication')).includes('role:slave')).toBe(true);
    const { of } = await looked(replica.url);
    expect(of('redis.reachable')).toEqual([
      expect.stringMatching(/: fail only reads.* → It is a replica: name the primary/),
    ]);
  });

  test('that drops keys when it is full, and one that says so', async () => {
    const redis = await redisOf();
    await operator(redis).config('SET', 'maxmemory', '64mb', 'maxmemory-policy', 'allkeys-lru');
    const evicting = await looked(redis.url);
    expect(evicting.of('redis.memory')).toEqual([
      expect.stringMatching(/: warn when its 64\.00M are full it drops keys \(allkeys-lru\).* → .*noeviction/),
    ]);
    await operator(redis).config('SET', 'maxmemory-policy', 'noeviction');
    expect((await looked(redis.url)).of('redis.memory')).toEqual([expect.stringContaining('ok noeviction')]);
  });

  test('as Compose starts it is well', async () => {
    const compose = readFileSync(new URL('../../docker-compose.yml', import.meta.url), 'utf8');
    const [, size = '', policy = ''] = /--maxmemory, (\w+), --maxmemory-policy, ([\w-]+)/.exec(compose) ?? [];
    const redis = await redisOf();
    await operator(redis).config('SET', 'maxmemory', size, 'maxmemory-policy', policy);
    expect((await looked(redis.url)).of('redis.memory')).toEqual([expect.stringContaining(': ok noeviction: ')]);
  });
});
