// Answers kept in a real Redis: for their time, within their room, and a miss where it is away.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { redisAnswers, type Answers } from '../../src/store/answers.ts';
import { startRedis, type RedisServer } from '../stage/redis.ts';
import { openGateway, until, type Gateway } from './gateway.ts';

let server: RedisServer;
let gateway: Gateway;
let answers: Answers;
const BYTES_MAX = 1000;

beforeAll(async () => {
  server = await startRedis();
  gateway = openGateway(server.url, { reply_ms: 5000 });
  await gateway.up();
  answers = redisAnswers(gateway.connection, () => BYTES_MAX);
});
beforeEach(() => gateway.connection.redis.flushall());
afterAll(async () => {
  await gateway.close();
  await server.stop();
});

const body = (bytes: number, filling = 'x'): Buffer => Buffer.alloc(bytes, filling);
const held = async (): Promise<number> => Number(await gateway.connection.redis.hget('lanyard:answers:bytes', ''));

test('an answer is given again, byte for byte', async () => {
  const bytes = Buffer.from([0, 255, 10, 13, 128]);
  await answers.put('a', bytes, 60_000);
  expect(await answers.get('a')).toEqual(bytes);
  expect(await answers.get('b')).toBeUndefined();
});

test('those that end first make room, and what is held is counted', async () => {
  await answers.put('long', body(400), 60_000);
  await answers.put('short', body(400), 30_000);
  await answers.put('new', body(400), 45_000);
  expect([await answers.get('long'), await answers.get('short'), await answers.get('new')].map(Boolean)).toEqual([
    true,
    false,
    true,
  ]);
  expect(await held()).toBe(800);
  // In an old one's place, and not beside it.
  await answers.put('long', body(300), 60_000);
  expect(await held()).toBe(700);
});

test('one that is too large is not kept, nor is an older one under its name', async () => {
  await answers.put('a', body(100), 60_000);
  await answers.put('a', body(BYTES_MAX + 1), 60_000);
  expect([await answers.get('a'), await held()]).toEqual([undefined, 0]);
});

test('one whose time is over is gone, and its room is free', async () => {
  await answers.put('a', body(600), 1);
  await until(async () => (await answers.get('a')) === undefined);
  await answers.put('b', body(600), 60_000);
  expect([(await answers.get('b'))?.length, await held()]).toEqual([600, 600]);
});
