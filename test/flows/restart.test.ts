// The gateway is started anew on a socket that outlives it, as deploy/lanyard.socket has it: whoever calls in the meantime
// waits instead of being refused.
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { startEngine } from '../engines/engine.ts';
import { call, type Caller } from '../stage/caller.ts';
import { openFront } from '../stage/front.ts';
import { KEY } from '../stage/gateway.ts';
import { newDir, runLanyard, startLanyard } from '../stage/lanyard.ts';
import { freePort } from '../stage/ports.ts';
import { dial } from '../stage/raw.ts';
import { holdSocket } from '../stage/socket.ts';

const CHAT = '/v1/chat/completions';
const HEALTH = 'GET /health HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n';
const LLAMA = { kind: 'vllm', models: ['llama'] } as const;
const WHOLE = { model: 'coder', messages: [] };
const STREAM = { model: 'held', messages: [], stream: true };
const ENV = { LITELLM_MASTER_KEY: KEY };

async function stage() {
  const [engine, held] = await Promise.all([startEngine(LLAMA), startEngine(LLAMA)]);
  onTestFinished(async () => void (await Promise.all([engine.stop(), held.stop()])));
  held.always({ kind: 'hold_after', events: 2 });
  const socket = holdSocket();
  const yaml = (port = socket.port) => `
listen: [{ port: ${port} }]
limits: { ip: off }
backends: { rack: { engine: vllm, url: "${engine.url}" }, held: { engine: vllm, url: "${held.url}" } }
models: { coder: [rack/llama], held: [held/llama] }
`;
  const start = () => startLanyard({ yaml: yaml(), env: ENV, sockets: [socket.fd] });
  return { held, socket, yaml, start };
}

test('callers wait while none is there, and the streams of the old one finish', async () => {
  const { held, socket, start } = await stage();
  const old = await start();
  expect(old.port).toBe(socket.port);
  const stream = await call(socket.port, CHAT, STREAM);
  await stream.until('data: ');
  old.signal('SIGTERM');
  await expect.poll(() => old.log().map(({ msg }) => msg)).toContain('draining');
  // Taken by the system's queue: nobody accepts it yet.
  const early = await dial(socket.port, HEALTH);
  held.release();
  expect(await stream.whole()).toContain('[DONE]');
  expect(await old.exit).toBe(0);
  const late = await dial(socket.port, HEALTH);
  expect([early.text(), late.text()]).toEqual(['', '']);
  await start();
  for (const caller of [early, late]) expect((await caller.until(1))[0]).toMatchObject({ status: 200 });
});

test('behind nginx, two restarts under load lose no request and cut no stream', async () => {
  const { held, socket, start } = await stage();
  const front = await openFront('ip: off', [
    [' max_fails=0;', ` down; server 127.0.0.1:${socket.port} max_fails=0;`],
    // The load is one address's; what nginx limits by address is shown elsewhere.
    ['rate=20r/s', 'rate=9000r/s'],
  ]);
  let lanyard = await start();

  const statuses: number[] = [];
  const streams: Caller[] = [];
  const port = Number(new URL(front.lan).port);
  const over = new AbortController();
  const callOnAndOn = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const asked = await call(port, CHAT, WHOLE);
      statuses.push((await asked.head).status);
      await asked.whole();
    }
  };
  const load = Promise.all([callOnAndOn(), callOnAndOn(), callOnAndOn()]);
  for (let round = 1; round <= 2; round += 1) {
    const before = statuses.length;
    const stream = await call(port, CHAT, STREAM);
    streams.push(stream);
    await stream.until('data: ');
    lanyard.signal('SIGTERM');
    await expect.poll(() => lanyard.log().map(({ msg }) => msg)).toContain('draining');
    held.release();
    expect(await lanyard.exit).toBe(0);
    lanyard = await start();
    await expect.poll(() => statuses.length).toBeGreaterThan(before + 20);
  }
  over.abort();
  await load;
  for (const stream of streams) expect(await stream.whole()).toContain('[DONE]');
  expect(statuses.filter((status) => status !== 200)).toEqual([]);
});

test('a socket that is not where the configuration says is refused, with what to change', async () => {
  const { socket, yaml } = await stage();
  const port = await freePort();
  const lanyard = runLanyard({ yaml: yaml(port), env: ENV, sockets: [socket.fd] });
  expect(await lanyard.exit).toBe(1);
  expect(lanyard.stderr()).toContain(
    `the socket that was handed over is 127.0.0.1:${socket.port}, the configuration says 127.0.0.1:${port}. Make ListenStream=`,
  );
});

test('a reload that would leave the socket without anybody behind it is refused', async () => {
  const { yaml, start } = await stage();
  const lanyard = await start();
  lanyard.configure(yaml(await freePort()));
  lanyard.signal('SIGHUP');
  await expect
    .poll(() =>
      lanyard
        .log()
        .map(({ fault }) => fault)
        .join(''),
    )
    .toContain('"listen" no longer names');
  expect((await fetch(`${lanyard.url}/health`)).status).toBe(200);
});

test('more sockets than listeners are refused', async () => {
  const { socket, yaml } = await stage();
  const lanyard = runLanyard({ yaml: yaml(), env: ENV, sockets: [socket.fd, holdSocket().fd] });
  expect(await lanyard.exit).toBe(1);
  expect(lanyard.stderr()).toContain(
    '2 sockets were handed over (ListenStream= in lanyard.socket), but "listen" names 1',
  );
});

test("another process's sockets, told of by an inherited environment, are left alone", async () => {
  const { yaml } = await stage();
  const lanyard = await startLanyard({ yaml: yaml(0), env: { ...ENV, LISTEN_FDS: '1', LISTEN_PID: '1' } });
  expect((await fetch(`${lanyard.url}/health`)).status).toBe(200);
});

const ACTIVATE = '/usr/bin/systemd-socket-activate';
test.skipIf(!existsSync(ACTIVATE))("systemd's own socket activation hands over what is understood", async () => {
  const { yaml } = await stage();
  const [port, dir] = [await freePort(), newDir()];
  writeFileSync(`${dir}/lanyard.yaml`, yaml(port));
  const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
  const env = { PATH: process.env['PATH'] ?? '', LANYARD_CONFIG: 'lanyard.yaml', ...ENV };
  // It hands on only the variables it is told to.
  const hand_on = Object.keys(env).map((name) => `--setenv=${name}`);
  const listen = `--listen=127.0.0.1:${port}`;
  const child = spawn(ACTIVATE, [listen, ...hand_on, process.execPath, main, 'serve'], {
    cwd: dir,
    env,
    stdio: 'pipe',
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (said += bytes.toString()));
  await expect.poll(() => said).toContain('Listening on');
  const caller = await dial(port, HEALTH);
  expect((await caller.until(1))[0]).toMatchObject({ status: 200 });
  await expect.poll(() => said).toContain(`listening  http://127.0.0.1:${port}`);
});
