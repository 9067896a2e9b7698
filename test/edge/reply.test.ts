// One exchange's own bookkeeping, on a real socket.
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { Outbox } from '../../src/ops/outbox.ts';
import { Reply } from '../../src/edge/reply.ts';

test('a stream opened for a caller who has just left waits for nothing and writes nothing', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const asked = once(server, 'request') as Promise<[unknown, ServerResponse]>;
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  const [, response] = await asked;
  const reply = new Reply(response, { keep_alive_ms: 5, reader_idle_ms: 1_000 }, new Outbox());
  socket.resetAndDestroy();
  await reply.closed;
  reply.openStream();
  await pause(50);
  expect(reply.committed).toBe(false);
});
