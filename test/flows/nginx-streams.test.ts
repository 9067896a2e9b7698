// nginx.conf in front of a real gateway: what is passed on arrives as it was sent, when it was sent.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ask, CHAT, DOORS, HEADERS, readUntil } from '../stage/doors.ts';
import { openFront, type Front } from '../stage/front.ts';
import { findProgram } from '../stage/program.ts';

test('the file stands, without a word of complaint', async () => {
  const {
    nginx: { folder },
  } = await openFront();
  const args = ['-t', '-q', '-p', folder, '-c', `${folder}/nginx.conf`, '-e', 'stderr'];
  expect(execFileSync(findProgram('nginx'), args, { encoding: 'utf8', stdio: 'pipe' })).toBe('');
  expect(readFileSync(`${folder}/error.log`, 'utf8')).not.toMatch(/\[(?:warn|error|crit|emerg)\]/);
});

describe.for(DOORS)('through $name', ({ open, secure }) => {
  test('each token arrives before the next is said', async () => {
    // By the file alone, without the header by which the gateway asks for the same.
    const all = await openFront('ip: off', [['gzip off;', 'gzip off; proxy_ignore_headers X-Accel-Buffering;']]);
    const steps = [1, 2, 3, 4, 5];
    all.engine.next({ kind: 'all', faults: steps.map((events) => ({ kind: 'hold_after', events })) });
    const { status, headers, parts } = await open(all, { ...CHAT, stream: true });
    expect(status).toBe(200);
    expect(headers['content-type']).toContain('text/event-stream');
    expect(headers['x-request-id']).toMatch(/^req_/);
    let text = '';
    for (const step of steps) {
      await all.engine.until(({ held }) => held === 1);
      // The engine says no more until it is let go: what is read here was not collected on the way.
      while (countEvents(text) < step) text += String((await parts.next()).value);
      expect(countEvents(text)).toBe(step);
      expect(all.engine.asked[0]?.events_sent).toBe(step);
      all.engine.release();
      await all.engine.until(({ asked }) => asked[0]?.events_sent !== step);
    }
    expect(text + (await readUntil(parts))).toMatch(/data: \[DONE\]\n\n$/);
  });

  test('a whole chat comes back, and https is insisted on where it was used', async () => {
    const all = await openFront();
    const { status, headers, parts } = await open(all, CHAT);
    expect(status).toBe(200);
    expect(JSON.parse(await readUntil(parts))).toMatchObject({ choices: [{ message: { content: all.engine.says } }] });
    // Not for localhost, where a browser would then find no http server of any port.
    expect(headers['strict-transport-security']).toBeUndefined();
    const named = await open({ ...all, tls: all.tls.replace('localhost', '127.0.0.1') }, CHAT);
    expect(named.headers['strict-transport-security']).toBe(secure ? 'max-age=63072000' : undefined);
    expect(headers['x-lanyard-backend']).toBe('rack');
    expect(headers['retry-after']).toBeUndefined();
  });
});

test('a body as large as images make it goes through', async () => {
  const all = await openFront();
  const large = { ...CHAT, messages: [{ role: 'user', content: `data:;base64,${'x'.repeat(5_000_000)}` }] };
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

test("a model's id keeps its slash, raw or encoded", async () => {
  const all = await openFront();
  for (const id of ['team%2Fcoder%3A7b', 'team/coder:7b']) {
    const response = await ask(all, `/v1/models/${id}`);
    expect(await response.json()).toMatchObject({ id: 'team/coder:7b' });
  }
});

describe('an upload', () => {
  test.for(['/v1/files', '/v3/files', '/files'])('to %s reaches the gateway as it is sent', async (to) => {
    const { front, upload } = await openUpload(to, 200 * 1024 * 1024);
    upload.write('first');
    expect(await front.arrived('first')).toMatchObject({ url: to, length: String(200 * 1024 * 1024) });
    upload.write('second');
    await front.arrived('second');
  });

  test('is refused above 220 MB, and the gateway does not hear of it', async () => {
    const { upload } = await openUpload('/v1/files', 221 * 1024 * 1024);
    const [response] = (await once(upload, 'response')) as [IncomingMessage];
    expect(response.statusCode).toBe(413);
  });

  test('is answered by the gateway, which has no files yet', async () => {
    const all = await openFront();
    const response = await ask(all, '/v1/files', {});
    expect(response.status).toBe(404);
    expect(response.headers.get('x-request-id')).toMatch(/^req_/);
  });

  test('to any other path is taken in whole before the gateway hears of it', async () => {
    const { front, upload } = await openUpload('/v1/chat/completions', 11);
    upload.write('first');
    // Asked on another connection, after the part above: had that been passed on, it would be there by now.
    await ask(front.all, '/v1/models');
    expect(front.seen().map(({ url }) => url)).toEqual(['/v1/models']);
    upload.end('second');
    await front.arrived('firstsecond');
  });
});

interface Arrived {
  readonly url: string | undefined;
  readonly length: string | undefined;
  text: string;
}

interface Behind {
  readonly all: Front;
  /** What came, in the order of its heads. */
  seen(): readonly Arrived[];
  /** Resolves once a body holds this. */
  arrived(text: string): Promise<Arrived>;
}

/** An upload of so many bytes on its way through nginx to a server that only listens. */
async function openUpload(to: string, bytes: number) {
  const seen: Arrived[] = [];
  const waiting = new Set<() => void>();
  const server = createServer((request, response) => {
    const { url, headers } = request;
    const one: Arrived = { url, length: headers['content-length'], text: '' };
    seen.push(one);
    request.on('error', () => undefined);
    request.on('data', (part: Buffer) => {
      one.text += part.toString();
      for (const look of waiting) look();
    });
    request.once('end', () => response.end('{}'));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const all = await openFront('ip: off', [['proxy_pass http://gateway;', `proxy_pass http://127.0.0.1:${port};`]]);
  const upload = httpRequest(`${all.lan}${to}`, {
    method: 'POST',
    headers: { ...HEADERS, 'content-length': String(bytes) },
  });
  upload.on('error', () => undefined);
  onTestFinished(() => void upload.destroy());
  upload.flushHeaders();
  const front: Behind = {
    all,
    seen: () => seen,
    arrived: (text) =>
      new Promise((resolve) => {
        const look = (): void => {
          const one = seen.find((each) => each.text.includes(text));
          if (one === undefined) return;
          waiting.delete(look);
          resolve(one);
        };
        waiting.add(look);
        look();
      }),
  };
  return { front, upload };
}

function countEvents(text: string): number {
  return text.split('\n\n').length - 1;
}
