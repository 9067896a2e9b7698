// The door to backends, against servers made of bytes: what is reused, and that whatever ends a request ends it once and
// closes its socket.
import { describe, expect, test } from 'vitest';
import type { HttpFault } from '../../src/fleet/fault.ts';
import { readAll } from '../../src/fleet/http.ts';
import { ASK, CHUNK, HEAD, OK, WAITS, connect, faultOf, serve, text } from './bytes.ts';

describe('a socket', () => {
  test('carries one request after another', async () => {
    const server = await serve(() => OK);
    const connection = connect(server.port);
    for (let n = 0; n < 3; n += 1) expect(await text(await connection.send(ASK, WAITS, undefined))).toBe('ok');
    expect(server.asked).toEqual([0, 0, 0]);
  });

  test('that is busy is left alone: requests at once have one each', async () => {
    const server = await serve(() => OK);
    const connection = connect(server.port);
    await Promise.all([1, 2, 3].map(async () => text(await connection.send(ASK, WAITS, undefined))));
    expect(new Set(server.asked)).toEqual(new Set([0, 1, 2]));
  });

  test('is closed when it has been idle for as long as was said', async () => {
    const server = await serve(() => OK);
    const connection = connect(server.port, 1_000, 50);
    await text(await connection.send(ASK, WAITS, undefined));
    await expect.poll(() => server.sockets[0]?.closed, { timeout: 3_000 }).toBe(true);
  });

  test('carries no answer that nobody asked for', async () => {
    const server = await serve((n) => OK.replace('ok', String(10 + n)) + OK.replace('ok', 'xx'));
    const connection = connect(server.port);
    for (let n = 0; n < 20; n += 1) {
      expect(await text(await connection.send(ASK, WAITS, undefined))).toBe(String(10 + n));
    }
  });

  test('of its own is made for a fresh request, and closed after it', async () => {
    const server = await serve(() => OK);
    const connection = connect(server.port);
    await text(await connection.send(ASK, WAITS, undefined));
    expect(await text(await connection.send(ASK, WAITS, undefined, true))).toBe('ok');
    expect(server.asked).toEqual([0, 1]);
    await expect.poll(() => server.sockets[1]?.closed).toBe(true);
    expect(server.sockets[0]?.closed).toBe(false);
  });
});

describe('what ends a request ends it once', () => {
  test('an abort that came before it: nothing connects', async () => {
    const server = await serve(() => OK);
    expect(await faultOf(connect(server.port).send(ASK, WAITS, AbortSignal.abort()))).toMatchObject({
      kind: 'aborted',
    });
    expect(server.sockets).toHaveLength(0);
  });

  test.for([false, true])('an abort while it connects: at once, and nothing is sent (fresh: %s)', async (fresh) => {
    const server = await serve(() => () => {});
    const abort = new AbortController();
    const sent = connect(`https://127.0.0.1:${server.port}`, 300).send(ASK, WAITS, abort.signal, fresh);
    await expect.poll(() => server.sockets.length).toBe(1);
    const since = performance.now();
    abort.abort();
    expect(await faultOf(sent)).toMatchObject({ kind: 'aborted' });
    expect(performance.now() - since).toBeLessThan(100);
    await expect.poll(() => server.sockets[0]?.closed).toBe(true);
  });

  test('an abort while it waits for the head', async () => {
    const server = await serve(() => '');
    const abort = new AbortController();
    const sent = connect(server.port).send(ASK, WAITS, abort.signal);
    await expect.poll(() => server.asked.length).toBe(1);
    abort.abort();
    expect(await faultOf(sent)).toMatchObject({ kind: 'aborted' });
    await expect.poll(() => server.sockets[0]?.closed).toBe(true);
  });

  const moments = ['before it is read', 'while it is read', 'while it is left alone'] as const;
  const means = ['the signal', 'destroy'] as const;
  test.for(moments.flatMap((moment) => means.map((by) => [moment, by] as const)))(
    'a body given up %s, by %s',
    async ([moment, by]) => {
      const server = await serve(() => HEAD + CHUNK);
      const abort = new AbortController();
      const answer = await connect(server.port).send(ASK, WAITS, abort.signal);
      const heard: string[] = [];
      const sink = {
        data: (chunk: Buffer): boolean => {
          heard.push(chunk.toString());
          return moment === 'while it is read';
        },
        end: (): void => void heard.push('end'),
        fail: (fault: HttpFault): void => void heard.push(fault.kind),
      };
      if (moment !== 'before it is read') {
        answer.body.attach(sink);
        await expect.poll(() => heard).toEqual(['ok']);
      }
      if (by === 'destroy') answer.body.destroy();
      else abort.abort();
      await expect.poll(() => server.sockets[0]?.closed).toBe(true);
      if (moment === 'before it is read') answer.body.attach(sink);
      abort.abort();
      answer.body.destroy();
      answer.body.resume();
      const before = moment === 'before it is read' ? [] : ['ok'];
      // Whoever destroys a body knows that it has ended, and is told only if they ask afterwards.
      expect(heard).toEqual(by === 'destroy' && moment !== 'before it is read' ? before : [...before, 'aborted']);
      expect(answer.body.ended).toBe(true);
    },
  );

  test('a body longer than it may be is cut, and its socket closed', async () => {
    const server = await serve(() => HEAD + CHUNK.repeat(100));
    const answer = await connect(server.port).send(ASK, WAITS, undefined);
    expect(await faultOf(readAll(answer, 50))).toMatchObject({ kind: 'garbage', code: 'answer_bytes_max' });
    await expect.poll(() => server.sockets[0]?.closed).toBe(true);
  });
});

describe('a body that is left alone', () => {
  test('holds its backend back, is not called silent, and goes on where it stopped', async () => {
    let written = 0;
    const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`;
    const server = await serve(() => (socket) => {
      socket.write(HEAD);
      const more = (): void => {
        while (written < 2_000) {
          written += 1;
          if (!socket.write(chunk)) return void socket.once('drain', more);
        }
        socket.end('0\r\n\r\n');
      };
      more();
    });
    const answer = await connect(server.port).send(ASK, { first_byte_ms: 2_000, idle_ms: 100 }, undefined);
    let heard = 0;
    let reading = false;
    let ended: string | undefined;
    answer.body.attach({
      data: (bytes) => {
        heard += bytes.length;
        return reading;
      },
      end: () => (ended = 'end'),
      fail: (fault) => (ended = fault.kind),
    });
    await expect.poll(() => server.sockets[0]?.writableNeedDrain).toBe(true);
    const stuck = written;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(written).toBe(stuck);
    expect(ended).toBeUndefined();
    reading = true;
    answer.body.resume();
    await expect.poll(() => ended).toBe('end');
    expect(heard).toBe(2_000 * 0x4000);
  });

  test('is still told to its end when the backend has closed meanwhile', async () => {
    const server = await serve(
      () => (socket) => socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n${'x'.repeat(100_000)}`),
    );
    const answer = await connect(server.port).send(ASK, WAITS, undefined);
    const heard: Buffer[] = [];
    let ended: string | undefined;
    answer.body.attach({
      data: (chunk) => {
        heard.push(Buffer.from(chunk));
        setImmediate(() => answer.body.resume());
        return false;
      },
      end: () => (ended = 'end'),
      fail: (fault) => (ended = fault.kind),
    });
    await expect.poll(() => ended).toBe('end');
    expect(Buffer.concat(heard)).toHaveLength(100_000);
  });
});
