// One request to another's Batch API, on real sockets: what is refused, what breaks off, and what is not followed.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openApi, type BatchApi } from '../../src/batch/upstream/api.ts';
import type { ApiFault } from '../../src/batch/upstream/http.ts';
import type { Tls } from '../../src/types.ts';
import { findProgram } from '../stage/program.ts';

type Listener = http.RequestListener;

interface Serving {
  readonly cert?: { readonly key: string; readonly cert: string };
  readonly checkContinue?: Listener;
}

async function served(listener: Listener, { cert, checkContinue }: Serving = {}): Promise<string> {
  const server = cert === undefined ? http.createServer(listener) : https.createServer(cert, listener);
  if (checkContinue !== undefined) server.on('checkContinue', checkContinue);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `${cert === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function apiOf(url: string, tls?: Tls): BatchApi {
  const service = { url: `${url}/v1`, key: 'sk-of-the-test', tls, connect_ms: 2000, secrets: ['sk-of-the-test'] };
  return openApi(service, new AbortController().signal);
}

async function faultOf(
  work: Promise<unknown>,
): Promise<Pick<ApiFault, 'kind' | 'status' | 'retry_ms'> & { told: string }> {
  const error = (await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )) as ApiFault;
  expect(error.name).toBe('ApiFault');
  return { kind: error.kind, status: error.status, retry_ms: error.retry_ms, told: error.told.message };
}

function temporary(name: string, bytes: Buffer): string {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-http-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, name), bytes);
  return join(dir, name);
}

const json =
  (status: number, body: object, headers: Record<string, string> = {}): Listener =>
  (req, res) => {
    req.resume().once('end', () => {
      res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
    });
  };
const said = (message: string): object => ({ error: { message, code: 'no' } });

test.each([
  { what: 'a wrong key', answer: json(401, said('wrong')), kind: 'auth', retry_ms: undefined },
  { what: 'a request that is wrong', answer: json(400, said('so')), kind: 'refused', retry_ms: undefined },
  { what: 'too many', answer: json(429, said('so'), { 'retry-after': '3' }), kind: 'busy', retry_ms: 3000 },
  { what: 'a failure', answer: json(503, said('so')), kind: 'busy', retry_ms: undefined },
  { what: 'no JSON', answer: (_, res) => res.end('hello'), kind: 'invalid', retry_ms: undefined },
  { what: 'a list', answer: (_, res) => res.end('[]'), kind: 'invalid', retry_ms: undefined },
  { what: 'another object', answer: json(200, { id: 7 }), kind: 'invalid', retry_ms: undefined },
  { what: 'too much', answer: (_, res) => res.end(Buffer.alloc(9 << 20, 32)), kind: 'invalid', retry_ms: undefined },
  { what: 'nothing', answer: (req) => req.socket.destroy(), kind: 'unreachable', retry_ms: undefined },
  {
    what: 'half an answer',
    answer: (req, res) => {
      res.writeHead(200, { 'content-length': 100 }).write('{"id":');
      setImmediate(() => req.socket.destroy());
    },
    kind: 'unreachable',
    retry_ms: undefined,
  },
] satisfies { what: string; answer: Listener; kind: string; retry_ms: number | undefined }[])(
  '$what is $kind',
  async ({ answer, kind, retry_ms }) => {
    const api = apiOf(await served(answer));
    expect(await faultOf(api.poll('batch_1'))).toMatchObject({ kind, retry_ms });
  },
);

test('a redirect is not followed, and the key goes nowhere', async () => {
  const asked: string[] = [];
  const elsewhere = await served((req, res) => {
    asked.push(req.headers.authorization ?? '');
    res.end('{}');
  });
  const api = apiOf(await served((_, res) => res.writeHead(307, { location: `${elsewhere}/v1/batches/x` }).end()));
  expect(await faultOf(api.poll('x'))).toMatchObject({ kind: 'refused', status: 307 });
  expect(asked).toEqual([]);
});

test('a message of the service has no key in it', async () => {
  const api = apiOf(await served(json(400, said('You sent sk-of-the-test, and \u0007 that.'))));
  expect((await faultOf(api.poll('x'))).told).toBe("The backend's Batch API refused it: You sent […], and   that.");
});

test('a large upload that is refused is not sent, and its refusal not lost', async () => {
  const path = temporary('large.jsonl', Buffer.alloc(8 << 20, 'x'));
  const url = await served(json(200, {}), {
    checkContinue: (_, res) => void res.writeHead(413, { connection: 'close' }).end('{}'),
  });
  expect(await faultOf(apiOf(url).upload(path, 8 << 20, 'large.jsonl'))).toMatchObject({
    kind: 'refused',
    status: 413,
  });
});

test.each([
  { what: 'says that it may come', checkContinue: undefined },
  { what: 'says nothing before it has come', checkContinue: json(200, { id: 'file-1' }) },
])('a large upload goes to a service that $what', async ({ checkContinue }) => {
  const path = temporary('large.jsonl', Buffer.alloc(8 << 20, 'x'));
  const url = await served(json(200, { id: 'file-1' }), checkContinue === undefined ? {} : { checkContinue });
  expect(await apiOf(url).upload(path, 8 << 20, 'large.jsonl')).toBe('file-1');
});

test('an id cannot lead to another route', async () => {
  const paths: string[] = [];
  const api = apiOf(
    await served((req, res) => {
      paths.push(req.url ?? '');
      json(200, { id: 'x', status: 'completed' })(req, res);
    }),
  );
  await api.poll('../files?x=1#');
  expect(paths).toEqual(['/v1/batches/..%2Ffiles%3Fx%3D1%23']);
});

test('a certificate is verified, by an authority of its own where one is named', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-http-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const names = ['-subj', '/CN=service', '-addext', 'subjectAltName=IP:127.0.0.1'];
  execFileSync(findProgram('openssl'), ['req', '-x509', ...ec, ...names, '-keyout', 'key', '-out', 'cert'], {
    cwd: dir,
    stdio: 'pipe',
  });
  const [key, cert] = ['key', 'cert'].map((name) => readFileSync(join(dir, name), 'utf8')) as [string, string];
  const url = await served(json(200, { id: 'x', status: 'completed' }), { cert: { key, cert } });
  expect(await faultOf(apiOf(url).poll('x'))).toMatchObject({ kind: 'unreachable' });
  expect(await apiOf(url, { ca: cert, verify: true }).poll('x')).toMatchObject({ status: 'completed' });
  expect(await apiOf(url, { ca: undefined, verify: false }).poll('x')).toMatchObject({ status: 'completed' });
});
