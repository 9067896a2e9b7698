// TLS to a backend: verified unless said, by an authority of its own where one is named, and not at all for that one backend
// where the operator says so, and then loudly.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished, expect, test } from 'vitest';
import { startExchange } from '../engines/exchange.ts';
import { openGateway, type Stage } from '../stage/gateway.ts';
import { findProgram } from '../stage/program.ts';

const CHAT = '/v1/chat/completions';
const chat = { model: 'coder', messages: [{ role: 'user', content: 'Hi' }] };

interface Certified {
  /** The path of the authority's certificate. */
  readonly ca: string;
  readonly key: string;
  readonly cert: string;
}

/** An authority, and a certificate of 127.0.0.1 signed by it. */
function certified(): Certified {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-tls-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const openssl = (...args: string[]): void =>
    void execFileSync(findProgram('openssl'), args, { cwd: dir, stdio: 'pipe' });
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', '-x509', ...ec, '-days', '2', '-subj', '/CN=our own', '-keyout', 'ca.key', '-out', 'ca.pem');
  openssl(
    'req',
    '-x509',
    ...ec,
    '-days',
    '2',
    '-subj',
    '/CN=engine',
    '-addext',
    'subjectAltName=IP:127.0.0.1',
    '-addext',
    'basicConstraints=CA:FALSE',
    '-CA',
    'ca.pem',
    '-CAkey',
    'ca.key',
    '-keyout',
    'engine.key',
    '-out',
    'engine.pem',
  );
  const read = (name: string): string => readFileSync(join(dir, name), 'utf8');
  return { ca: join(dir, 'ca.pem'), key: read('engine.key'), cert: read('engine.pem') };
}

async function before(url: string, tls: string): Promise<Stage> {
  return await openGateway(`
backends:
  rack:
    engine: token-exchange
    exchange: { chat_url: "${url}/chat", token_url: "${url}/token", code: the-code }
${tls}
models: { coder: [rack/m] }
`);
}

test('a certificate that nobody known has signed is refused', async () => {
  const tls = certified();
  const { url, codes } = await startExchange({ tls });
  const gateway = await before(url, '');
  const answer = await gateway.ask(CHAT, chat);
  expect([answer.status, await answer.json()]).toMatchObject([502, { error: { code: 'upstream_unreachable' } }]);
  expect(codes).toHaveLength(0);
});

test('one that the named authority has signed is taken, and any other is not', async () => {
  const tls = certified();
  const { url } = await startExchange({ tls });
  const gateway = await before(url, `    tls: { ca: "${tls.ca}" }`);
  expect((await gateway.ask(CHAT, chat)).status).toBe(200);
  const other = await before(url, `    tls: { ca: "${certified().ca}" }`);
  expect((await other.ask(CHAT, chat)).status).toBe(502);
});

test('verify: false takes any for that backend alone, and says so with every start', async () => {
  const tls = certified();
  const [loose, strict] = [await startExchange({ tls }), await startExchange({ tls })];
  const gateway = await openGateway(`
backends:
  loose:
    engine: token-exchange
    exchange: { chat_url: "${loose.url}/chat", token_url: "${loose.url}/token", code: the-code }
    tls: { verify: false }
  strict:
    engine: token-exchange
    exchange: { chat_url: "${strict.url}/chat", token_url: "${strict.url}/token", code: the-code }
models: { coder: [loose/m], other: [strict/m] }
`);
  expect((await gateway.ask(CHAT, chat)).status).toBe(200);
  expect((await gateway.ask(CHAT, { ...chat, model: 'other' })).status).toBe(502);
  const warned = gateway
    .logged()
    .split('\n')
    .filter((line) => line.includes('is not verified'));
  expect(warned).toHaveLength(1);
  expect(warned[0]).toContain('"backend":"loose"');
  expect(warned[0]).toContain('"level":"warn"');
});

test.each([
  ['a file that is not there', '/nowhere/ca.pem', 'names a file that is not there'],
  ['a file without a certificate', '/dev/null', 'is a file without a certificate in PEM form'],
])('%s is told when the configuration is read', async (_name, ca, message) => {
  await expect(before('https://127.0.0.1:1', `    tls: { ca: "${ca}" }`)).rejects.toThrow(message);
});
