// `lanyard batch`: over real sockets, against a server with the gateway's shapes.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { clock } from '../../src/cli/batch/words.ts';
import { freePort } from '../stage/ports.ts';
import { KEY, newFolder, ran, requests, run } from './batch-ran.ts';
import { fault, makeBatch, startStub, type Stub } from './batch-stub.ts';

describe('the command line', () => {
  test.each([
    [[], 'what to do? submit, status, list, cancel, report, results'],
    [['sumbit'], 'cannot do that; did you mean "submit"?'],
    [['submit'], 'which? FILE is missing'],
    [['submit', 'a', 'b'], 'one thing at a time: only one FILE is wanted'],
    [['submit', 'a', '--out', 'b'], '--out needs --wait'],
    [['submit', 'a', '--metadata', 'plain'], '--metadata wants KEY=VALUE'],
    [['submit', 'a', '--metadata', 'k=1', '--metadata', 'k=2'], '--metadata names a key twice'],
    [['submit', 'a', '--watch'], "Unknown option '--watch'"],
    [['status'], 'which? ID is missing'],
    [['list', 'more'], 'one thing at a time: no argument is wanted'],
    [['list', '--status', 'complete'], '--status wants one of validating, in_progress'],
    [['list', '--limit', '0'], '--limit wants a whole number from 1 to 999999'],
    [['results', 'x', '--json'], 'results are JSON lines as they are; there is no --json'],
  ])('does not understand %j: status 2, the usage on standard error', async (args, why) => {
    const { code, lines, failed } = await ran(args);
    expect({ code, lines }).toEqual({ code: 2, lines: [] });
    expect(failed.join('\n')).toContain(`lanyard batch: ${why}`);
    expect(failed.join('\n')).toContain('usage: lanyard batch submit');
  });

  test.each([
    [['list', '--url', 'gateway'], {}, '--url wants http://… or https://…'],
    [['list', '--url', 'http://me:secret@gateway'], {}, '--url holds no user and no password'],
    [['list'], { LANYARD_URL: 'ftp://gateway' }, 'LANYARD_URL wants http://… or https://…'],
    [['list', '--key-env', 'NOWHERE'], {}, 'the variable that --key-env names is not set'],
    [['list'], { LANYARD_KEY: 'sk-secret\n' }, 'the key in LANYARD_KEY holds characters that no key has'],
    [['list', '--ca', '/nowhere.pem'], {}, 'the file of --ca cannot be read'],
    [['list', '--ca', '/etc/hosts'], {}, 'the file of --ca holds no certificate (PEM)'],
  ])('cannot use %j with %j', async (args, env, why) => {
    const { code, lines, failed } = await ran(args, { env });
    expect({ code, lines, failed }).toEqual({ code: 2, lines: [], failed: [`lanyard batch: ${why}`] });
  });

  test.each([['--help'], ['submit', '--help'], ['results', '-h']])('explains itself: %s %s', async (...args) => {
    const { code, lines, failed } = await ran(args);
    expect([code, failed]).toEqual([0, []]);
    for (const word of ['--wait', '--errors', '--watch', '--all', '--key-env', '--ca', 'exit status'])
      expect(lines.join('\n')).toContain(word);
  });
});

describe('where the gateway is, and the key', () => {
  test('url and key come from options before variables before .env, and /v1 behind an address is no mistake', async () => {
    const stub = await startStub();
    const dir = newFolder();
    writeFileSync(join(dir, '.env'), `LANYARD_URL=${stub.url}/v1/\nLITELLM_MASTER_KEY=sk-of-the-file\nMINE=sk-mine\n`);
    const key = async (env: Record<string, string>, ...args: string[]): Promise<string | undefined> => {
      expect((await ran(['list', ...args], { env, dir })).code).toBe(0);
      return stub.asked.at(-1)?.key;
    };
    expect(await key({})).toBe('sk-of-the-file');
    expect(await key({ LITELLM_MASTER_KEY: 'sk-of-the-shell' })).toBe('sk-of-the-shell');
    expect(await key({ LITELLM_MASTER_KEY: 'sk-a', LANYARD_KEY: 'sk-b' })).toBe('sk-b');
    expect(await key({ LANYARD_KEY: '' })).toBe('sk-of-the-file');
    expect(await key({ LANYARD_KEY: 'sk-b' }, '--key-env', 'MINE')).toBe('sk-mine');
    expect(await key({ LANYARD_URL: 'http://127.0.0.1:2' }, '--url', `${stub.url}/v1`)).toBe('sk-of-the-file');
    expect(stub.asked.map(({ what }) => what)).toEqual(Array.from({ length: 6 }, () => 'GET /v1/batches?limit=100'));
  });

  test('without a key none is sent; where one is wanted, it says so', async () => {
    const open = await startStub();
    expect((await ran(['list', '--url', open.url], { env: {} })).code).toBe(0);
    expect(open.asked[0]?.headers.authorization).toBeUndefined();
    const closed = await startStub({ key: KEY });
    const { code, failed } = await ran(['list', '--url', closed.url], { env: {} });
    expect(code).toBe(1);
    expect(failed).toEqual([
      'lanyard batch: The API key is not valid. (invalid_api_key)',
      'No key was sent: set LANYARD_KEY, or name the variable that holds one with --key-env NAME.',
    ]);
  });

  test('nobody listens: it says where, and what to do', async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    const { code, failed } = await ran(['status', 'batch_1', '--url', url]);
    expect(code).toBe(1);
    expect(failed[0]).toBe(`lanyard batch: ${url}: nothing listens there (ECONNREFUSED)`);
    expect(failed[1]).toContain('npm start');
  });

  test('an authority of your own is named with --ca; another is not believed, and nothing is sent', async () => {
    const stub = await startStub();
    const folder = newFolder();
    const script = fileURLToPath(new URL('../../deploy/certs.sh', import.meta.url));
    expect(spawnSync('sh', [script, folder, 'localhost', '127.0.0.1']).status).toBe(0);
    const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
    const front = createServer({ cert: read('fullchain.pem'), key: read('privkey.pem') }, (client) => {
      const gateway = connect(Number(new URL(stub.url).port), '127.0.0.1');
      for (const socket of [client, gateway]) socket.on('error', () => undefined);
      client.pipe(gateway).pipe(client);
    });
    front.on('tlsClientError', () => undefined).listen(0, '127.0.0.1');
    await once(front, 'listening');
    onTestFinished(() => void front.close());
    const args = ['batch', 'list', '--url', `https://localhost:${(front.address() as AddressInfo).port}/v1`];
    expect(await run([...args, '--ca', join(folder, 'ca.pem')])).toMatchObject({ code: 0 });
    const refused = await run(args);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('its certificate is not accepted (');
    expect(refused.stderr).toContain('Its authority can be named with --ca FILE.');
    expect(stub.asked).toHaveLength(1);
  });

  test.each([
    [{ status: 502, body: '<html>Bad Gateway</html>' }, 'answers with status 502 and not as a Lanyard does (http_502)'],
    [{ status: 301, headers: { location: 'https://gateway.test/v1/batches' } }, 'only points to https://gateway.test'],
    [{ status: 200, body: '<html>Welcome</html>' }, 'does not answer as a Lanyard with batches does (strange_answer)'],
    [{ status: 400, body: fault('bad\u001B[2J', 'go\u001B[2J away\n') }, 'lanyard batch: go [2J away (bad [2J)'],
  ])('what is no gateway, or strange, is told and moves no cursor: %j', async (trouble, told) => {
    const stub = await startStub();
    stub.trouble(/batches/, trouble);
    const { code, failed } = await ran(['list', '--url', stub.url]);
    expect(code).toBe(1);
    expect(failed[0]).toContain(told);
  });
});

describe('status, list, cancel', () => {
  test('status tells all there is, and what a gateway adds', async () => {
    const stub = await startStub();
    stub.batches.push(
      makeBatch('batch_1', 'in_progress', {
        request_counts: { total: 10, completed: 4, failed: 1 },
        usage: { input_tokens: 5, output_tokens: 7, total_tokens: 12 },
        metadata: { run: 'night\u001B[2J' },
        collation: { window_ms: 5000, closes_at: 1_790_000_005 },
      }),
    );
    const { code, lines } = await ran(['status', 'batch_1', '--url', stub.url]);
    expect(code).toBe(0);
    expect(lines).toEqual([
      'id           batch_1',
      'status       in_progress',
      'model        qwen-coder',
      'endpoint     /v1/chat/completions',
      'requests     10: 4 completed, 1 failed',
      'tokens       5 in, 7 out, 12 together',
      `created      ${clock(1_790_000_000)} (1m 0s ago)`,
      `in progress  ${clock(1_790_000_005)} (55s ago)`,
      `expires      ${clock(1_790_086_400)} (in 23h 59m)`,
      'window       24h',
      `gathers      requests for 5 s, closed ${clock(1_790_000_005)}`,
      'input file   file-in',
      'metadata     run = night [2J',
    ]);
    const json = await ran(['status', 'batch_1', '--url', stub.url, '--json']);
    expect(JSON.parse(json.lines.join('\n'))).toEqual(stub.batches[0]);
  });

  test('an id is one, whatever stands in it', async () => {
    const stub = await startStub();
    expect((await ran(['status', '../files?x', '--url', stub.url])).failed[0]).toContain('batch_not_found');
    expect(stub.asked[0]?.what).toBe('GET /v1/batches/..%2Ffiles%3Fx');
  });

  /** 250 batches, of which every fifth failed. */
  function many(stub: Stub): void {
    for (let at = 250; at > 0; at -= 1) {
      const counts = { total: 10, completed: 10, failed: 0 };
      const status = at % 5 === 0 ? 'failed' : 'completed';
      stub.batches.push(makeBatch(`batch_${at}`, status, { request_counts: counts, owner: 'alice' }));
    }
  }

  test('list goes through all pages up to the limit, in columns', async () => {
    const stub = await startStub();
    many(stub);
    const all = await ran(['list', '--url', stub.url, '--limit', '1000', '--json']);
    expect((JSON.parse(all.lines.join('\n')) as { batches: unknown[] }).batches).toHaveLength(250);
    expect(stub.asked.map(({ what }) => what)).toEqual([
      'GET /v1/batches?limit=100',
      'GET /v1/batches?limit=100&after=batch_151',
      'GET /v1/batches?limit=100&after=batch_51',
    ]);
    const some = await ran(['list', '--url', stub.url, '--limit', '120', '--status', 'completed', '--all']);
    expect(some.lines).toHaveLength(121);
    const created = clock(1_790_000_000);
    expect(some.lines.slice(0, 2)).toEqual([
      `ID         STATUS      DONE  FAILED  CREATED              MODEL       ENDPOINT              OWNER`,
      `batch_249  completed  10/10       0  ${created}  qwen-coder  /v1/chat/completions  alice`,
    ]);
    expect(some.failed).toEqual(['There are more than 120: --limit says how many are shown.']);
    expect(stub.asked.at(-1)?.what).toBe('GET /v1/batches?status=completed&all=true&limit=20&after=batch_126');
  });

  test('list ends even where a server sends the same page for ever', async () => {
    const stub = await startStub();
    const body = { object: 'list', data: [makeBatch('batch_1', 'completed')], has_more: true };
    stub.trouble(/batches/, { status: 200, body }, { status: 200, body });
    expect((await ran(['list', '--url', stub.url])).lines).toHaveLength(2);
    expect(stub.asked).toHaveLength(2);
  });

  test('list says when there is nothing', async () => {
    const stub = await startStub();
    expect(await ran(['list', '--url', stub.url])).toMatchObject({
      code: 0,
      lines: [],
      failed: ['There are no such batches.'],
    });
  });

  test('cancel says what has become of it', async () => {
    const stub = await startStub();
    stub.batches.push(makeBatch('batch_1', 'in_progress'));
    expect(await ran(['cancel', 'batch_1', '--url', stub.url])).toMatchObject({
      code: 0,
      lines: ['batch_1 cancelling 0/10'],
    });
    const json = await ran(['cancel', 'batch_1', '--url', stub.url, '--json']);
    expect(JSON.parse(json.lines.join('\n'))).toMatchObject({ status: 'cancelling' });
    expect(await ran(['cancel', 'no', '--url', stub.url])).toMatchObject({
      code: 1,
      failed: ['lanyard batch: No such batch: no (batch_not_found)'],
    });
  });
});

test('the key is shown nowhere, whatever goes wrong', async () => {
  const stub = await startStub({ key: 'sk-another' });
  stub.trouble(/./, 'reset', { status: 500, body: '' }, { status: 200, body: '[' });
  for (const args of [
    ['list'],
    ['status', 'x'],
    ['list'],
    ['submit', requests(1)],
    ['results', 'x'],
    ['cancel', 'x'],
  ]) {
    const { code, lines, failed, drawn } = await ran([...args, '--url', stub.url], { columns: 80 });
    expect(code).toBe(1);
    expect([...lines, ...failed, ...drawn].join('\n')).not.toContain(KEY);
  }
});
