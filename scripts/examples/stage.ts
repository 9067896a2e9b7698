// What the examples run against: a fake engine in this process, so that its faults can be scripted, a gateway as users start
// it, in a folder of its own, and TLS in front of it by a certificate of a team's own authority.
import { spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createServer } from 'node:tls';
import { default_tokens } from '../../test/engines/answers.ts';
import { startEngine, type FakeEngine } from '../../test/engines/engine.ts';
import { freePort } from '../../test/stage/ports.ts';
import { ROOT } from './toolchains.ts';

const READY_MS = 15_000;
/** Tokens a second: so that a longer answer takes longer. */
const PACE = 200;
/** The first of the list, so the one that examples take when they are told of none. */
export const MODEL = 'team/coder:7b';
export const EMBEDDING_MODEL = 'vectors';

export interface Stage extends AsyncDisposable {
  readonly url: string;
  /** The same gateway by https. */
  readonly tls_url: string;
  /** Its authority's certificate: a file. */
  readonly ca: string;
  readonly engine: FakeEngine;
  readonly master_key: string;
  /** May have one request under way at a time. */
  readonly narrow_key: string;
}

export async function openStage(): Promise<Stage> {
  await using parts = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-examples-'));
  parts.defer(() => rmSync(folder, { recursive: true, force: true }));
  const models = ['there', { name: 'vectors', embeds: true }];
  const engine = await startEngine({ kind: 'vllm', models, tps: PACE, reply });
  parts.defer(() => engine.stop());

  const [master_key, narrow_key] = [newKey(), newKey()];
  const port = await freePort();
  writeFileSync(join(folder, '.env'), `LITELLM_MASTER_KEY=${master_key}\n`, { mode: 0o600 });
  writeFileSync(
    join(folder, 'lanyard.yaml'),
    `listen: [{ port: ${port} }]
auth:
  failures: 1000/min
  keys:
    - { name: narrow, hash: "sha256:${sha256(narrow_key)}", limits: { parallel: 1 } }
limits: { ip: off }
batch: { data: "${join(folder, 'data')}", disk_free_bytes_min: 1, collate: { window_ms: 100ms } }
backends:
  rack: { engine: vllm, url: "${engine.url}" }
models:
  ${MODEL}: [rack/there]
  ${EMBEDDING_MODEL}: [rack/vectors]
`,
  );
  await startGateway(folder, parts);
  const { tls_port, ca } = await startTls(join(folder, 'certs'), port, parts);
  const opened = parts.move();
  return {
    url: `http://127.0.0.1:${port}`,
    tls_url: `https://localhost:${tls_port}`,
    ca,
    engine,
    master_key,
    narrow_key,
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

/** A tool's result is repeated; `long`, `short`, … are answered by a number of words; anything else as the engine does. */
function reply(body: unknown): string[] {
  const { messages } = body as { messages?: readonly { role: string; content: string }[] };
  const last = messages?.at(-1);
  if (last?.role === 'tool') return ['It says: ', last.content];
  const words = { long: 60, middling: 20, short: 2 }[last?.content ?? ''];
  return words === undefined ? default_tokens() : Array.from({ length: words }, () => `${last?.content} `);
}

async function startGateway(folder: string, parts: AsyncDisposableStack): Promise<void> {
  // Of this environment only what a program needs: a key or a configuration of the user's must not get in.
  const env = { PATH: process.env['PATH'], HOME: process.env['HOME'] };
  const main = join(ROOT, 'src', 'main.ts');
  const child = spawn(process.execPath, [main, 'serve', '--config', 'lanyard.yaml'], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close');
  parts.defer(async () => {
    child.kill('SIGTERM');
    await closed;
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (said += bytes.toString()));
  const deadline = performance.now() + READY_MS;
  while (!said.includes('listening')) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`the gateway did not start:\n${said}`);
    await pause(20);
  }
}

/** TLS and nothing else, byte for byte. */
async function startTls(
  folder: string,
  port: number,
  parts: AsyncDisposableStack,
): Promise<{ tls_port: number; ca: string }> {
  const made = spawnSync('sh', ['deploy/certs.sh', folder, 'localhost', '127.0.0.1'], { cwd: ROOT, encoding: 'utf8' });
  if (made.status !== 0) throw new Error(`deploy/certs.sh: ${made.stdout}${made.stderr}`);
  const read = (name: string): Buffer => readFileSync(join(folder, name));
  const sockets = new Set<Socket>();
  const server = createServer({ cert: read('fullchain.pem'), key: read('privkey.pem') }, (client) => {
    const gateway = connect(port, '127.0.0.1');
    for (const [one, other] of [[client, gateway] as const, [gateway, client] as const]) {
      sockets.add(one);
      one.on('error', () => undefined).once('close', () => (sockets.delete(one), other.destroy()));
      one.pipe(other);
    }
  });
  // A client that does not trust the certificate says so by hanging up.
  server.on('tlsClientError', () => undefined).listen(0, '127.0.0.1');
  await once(server, 'listening');
  parts.defer(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { tls_port: (server.address() as AddressInfo).port, ca: join(folder, 'ca.pem') };
}

function newKey(): string {
  return `sk-${randomBytes(24).toString('hex')}`;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
