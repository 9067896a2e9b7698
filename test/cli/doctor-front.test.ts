// What `lanyard doctor` finds out about nginx in front: the real nginx.conf on a real nginx is well in every point, and each
// thing that people change to their harm is found, with what to do.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { execFileSync } from 'node:child_process';
import { describe, expect, onTestFinished, test } from 'vitest';
import { certificate } from '../../src/doctor/certificate.ts';
import { plain } from '../../src/doctor/front.ts';
import type { Config } from '../../src/types.ts';
import type { Fault } from '../engines/faults.ts';
import { openFront, type Front } from '../stage/front.ts';
import { KEY, stageConfig } from '../stage/gateway.ts';
import { freePort } from '../stage/ports.ts';
import { examined, type Examined } from './examined.ts';

interface Look {
  readonly door?: 'lan' | 'tls';
  readonly args?: readonly string[];
  /** What the file on the disk says of limits; the gateway's own are the stage's. */
  readonly limits?: string;
}

/** The doctor at one of nginx' doors, with the configuration of the gateway behind it, and nginx' own. */
async function looked(
  front: Front,
  { door = 'lan', args = [], limits = 'trusted_proxies: [127.0.0.1]' }: Look = {},
): Promise<Examined> {
  const yaml = `
listen: [{ port: ${front.gateway.port} }]
limits: { ${limits} }
backends: { rack: { engine: vllm, url: "${front.engine.url}" } }
models: { coder: [rack/there] }
`;
  const conf = `${front.nginx.folder}/nginx.conf`;
  const all = ['--url', front[door], '--ca', front.ca_file, '--nginx', conf, ...args];
  return await examined(yaml, { args: all, env: { LITELLM_MASTER_KEY: KEY } });
}

/** For the gateway behind nginx, on the port it has. */
function configOf(front: Front, limits: string): Config {
  return stageConfig(`
limits: { ip: off, ${limits} }
backends: { rack: { engine: vllm, url: "${front.engine.url}", slots: 200 } }
models: { coder: [rack/there] }
`);
}

function wrong({ findings }: Examined, ...areas: string[]): string[] {
  return findings
    .filter(({ check, status }) => status !== 'ok' && areas.some((area) => check.startsWith(`${area}.`)))
    .map(({ check, status, found, do: remedy }) => `${check}: ${status} ${found} → ${remedy}`);
}

describe('our own nginx.conf', () => {
  test.each(['lan', 'tls'] as const)('is well in every point (%s)', async (door) => {
    const front = await openFront();
    const seen = await looked(front, { door });
    expect(wrong(seen, 'front', 'nginx', 'gateway')).toEqual([
      expect.stringMatching(/^gateway\.running: note version test runs/),
    ]);
    const checks = new Set(seen.findings.filter(({ status }) => status === 'ok').map(({ check }) => check));
    const expected = ['reachable', 'address', 'body', 'private', 'refusals'].map((one) => `front.${one}`);
    expect([...checks]).toEqual(
      expect.arrayContaining([...expected, 'nginx.proxy_read_timeout', 'nginx.X-Forwarded-For']),
    );
    if (door === 'tls') expect(checks).toContain('front.certificate');
    expect(seen.of('front.address')[0]).toContain('callers are seen by their own address (127.0.0.77)');
    expect(seen.code).toBe(0);
    expect(front.engine.asked).toEqual([]);
  });

  test('streams token by token, and lets a leaving caller through', async () => {
    const front = await openFront();
    const slow: Fault = { kind: 'trickle', ms: 15, bytes: 100 };
    // The engine's own cancellation; straight from the gateway; through nginx; left.
    front.engine.next({ kind: 'hold_after', events: 3 }, slow, slow, { kind: 'hold_after', events: 3 });
    const seen = await looked(front, { door: 'tls', args: ['--deep'] });
    expect(seen.of('front.streams')).toEqual([expect.stringMatching(/: ok arrive token by token/)]);
    expect(seen.of('front.leaving')).toEqual([expect.stringMatching(/: ok a caller's leaving reaches the gateway/)]);
    expect(seen.of('backend.cancellation')).toEqual([expect.stringMatching(/^rack: ok/)]);
  });
});

describe('what is found, and the remedy', () => {
  const CASES: readonly {
    readonly name: string;
    readonly change: readonly [string, string][];
    /** The findings that are not ok, in order; each must match. */
    readonly finds: readonly RegExp[];
  }[] = [
    {
      name: 'a body limit below the gateway’s',
      change: [['client_max_body_size 64m;', 'client_max_body_size 1m;']],
      finds: [
        /^front\.body: fail nginx refuses bodies that the gateway takes \(32 MiB\).* → `client_max_body_size 64m;`/,
        /^nginx\.client_max_body_size: fail takes bodies of 1024 KiB/,
      ],
    },
    {
      name: 'appended addresses',
      change: [['X-Forwarded-For $remote_addr;', 'X-Forwarded-For $proxy_add_x_forwarded_for;']],
      finds: [/^nginx\.X-Forwarded-For: warn is appended .* → `proxy_set_header X-Forwarded-For \$remote_addr;`/],
    },
    {
      name: 'addresses that the caller writes',
      change: [['proxy_set_header X-Forwarded-For $remote_addr;', '']],
      finds: [
        /^front\.address: fail we come from 127\.0\.0\.77 and are seen as the proxy 127\.0\.0\.1/,
        /^front\.address: fail a caller can choose its own address/,
        /^nginx\.X-Forwarded-For: fail is not set/,
      ],
    },
    {
      name: 'nginx’ minute of patience',
      change: [['proxy_read_timeout 3600s;', 'proxy_read_timeout 60s;']],
      finds: [
        /^nginx\.proxy_read_timeout: warn ends unstreamed answers after 60 s .*\(\d+ \/, \d+ \/\) → `proxy_read_timeout 3600s;`/,
      ],
    },
    {
      name: 'metrics passed on',
      change: [['location ^~ /metrics { return 404; }', 'location ^~ /metrics { proxy_pass http://gateway; }']],
      finds: [/^front\.private: warn \/metrics is passed on; only the master key/],
    },
    {
      name: 'readiness passed on',
      change: [['location ^~ /health/ { return 404; }', 'location ^~ /health/ { proxy_pass http://gateway; }']],
      finds: [/^front\.private: warn \/health\/ready is passed on → .*location \^~ \/health\//],
    },
    {
      name: 'HTML refusals',
      change: [['error_page 400 403 404 405', 'error_page 400 403 405']],
      finds: [/^front\.refusals: warn nginx answers 404 with a page that no client understands/],
    },
    {
      name: 'buffering that the gateway’s header undoes',
      change: [['proxy_buffering off;', 'proxy_buffering on;']],
      finds: [/^nginx\.proxy_buffering: note is on; streams pass all the same/],
    },
    {
      name: 'retries by nginx',
      change: [['proxy_next_upstream off;', 'proxy_next_upstream error timeout http_503;']],
      finds: [/^nginx\.proxy_next_upstream: warn lets nginx send a call twice/],
    },
    {
      name: 'HTTP/1.0 to the gateway',
      change: [['proxy_http_version 1.1;', '']],
      finds: [/^nginx\.proxy_http_version: warn is 1\.0/],
    },
    {
      name: 'deafness to callers who leave',
      change: [['proxy_ignore_client_abort off;', 'proxy_ignore_client_abort on;']],
      finds: [/^nginx\.proxy_ignore_client_abort: fail keeps engines working/],
    },
  ];

  test.each(CASES)('$name', async ({ change, finds }) => {
    const front = await openFront('ip: off', change);
    const found = wrong(await looked(front), 'front', 'nginx');
    expect(found).toEqual(finds.map((one) => expect.stringMatching(one)));
    // Nothing is told without what to do.
    for (const one of found) expect(one).toMatch(/ → ./);
  });

  test('a range of callers that is trusted, and appended addresses: one may choose its own', async () => {
    const front = await openFront('ip: off', [
      ['X-Forwarded-For $remote_addr;', 'X-Forwarded-For $proxy_add_x_forwarded_for;'],
    ]);
    await front.gateway.reload(configOf(front, 'trusted_proxies: [127.0.0.0/8]'));
    const seen = await looked(front, { limits: 'trusted_proxies: [127.0.0.0/8]' });
    expect(seen.of('front.address')).toContainEqual(
      expect.stringContaining('fail a caller can choose its own address'),
    );
  });

  test('no trusted proxy: all callers are one', async () => {
    const front = await openFront();
    await front.gateway.reload(configOf(front, 'trusted_proxies: []'));
    const seen = await looked(front, { limits: 'trusted_proxies: []' });
    expect(wrong(seen, 'front')).toEqual([
      expect.stringMatching(
        /^front\.address: fail we come from 127\.0\.0\.77 and are seen as 127\.0\.0\.1.* → limits: \{ trusted_proxies: \[127\.0\.0\.1\] \}/,
      ),
    ]);
    expect(seen.code).toBe(1);
  });

  test('streams that are held back, and compressed ones, show in time', async () => {
    const held = await openFront('ip: off', [
      ['proxy_buffering off;', 'proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;'],
      ['proxy_http_version 1.1;', 'proxy_http_version 1.0;'],
    ]);
    const slow: Fault = { kind: 'trickle', ms: 15, bytes: 100 };
    held.engine.next({ kind: 'hold_after', events: 3 }, slow, slow, {
      kind: 'all',
      faults: [slow, { kind: 'endless' }],
    });
    const lumps = await looked(held, { args: ['--deep'] });
    expect(lumps.of('front.streams')).toEqual([
      expect.stringMatching(/: fail arrive in lumps: .* → `proxy_buffering off; gzip off;`/),
    ]);
    expect(lumps.of('nginx.proxy_buffering')).toEqual([expect.stringContaining('warn may hold streams back')]);

    const gzip = await openFront('ip: off', [
      ['gzip off;', 'gzip on; gzip_proxied any; gzip_types text/event-stream;'],
    ]);
    gzip.engine.next({ kind: 'hold_after', events: 3 }, slow, slow);
    expect((await looked(gzip, { args: ['--deep'] })).of('front.streams')).toEqual([
      expect.stringContaining('warn are compressed on the way'),
    ]);
  });

  test('a caller’s leaving that nginx keeps to itself is found', async () => {
    const front = await openFront('ip: off', [['proxy_ignore_client_abort off;', 'proxy_ignore_client_abort on;']]);
    const slow: Fault = { kind: 'trickle', ms: 15, bytes: 100 };
    front.engine.next({ kind: 'hold_after', events: 3 }, slow, slow, { kind: 'hold_after', events: 3 });
    const seen = await looked(front, { args: ['--deep'] });
    expect(seen.of('front.leaving')).toEqual([
      expect.stringMatching(/: fail a caller's leaving does not reach the gateway/),
    ]);
    front.engine.release();
  });
});

describe('the address itself', () => {
  test('nothing there, something else there, and the gateway without nginx', async () => {
    const front = await openFront();
    const other = createServer((_, response) => void response.end('hello'));
    await new Promise<void>((resolve) => void other.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void other.close());
    const urls = [await freePort(), (other.address() as AddressInfo).port, front.gateway.port];
    const args = urls.flatMap((port) => ['--url', `http://127.0.0.1:${port}/v1`]);
    const { of } = await looked(front, { args });
    expect(of('front.reachable')).toEqual([
      expect.stringContaining('ok leads to the gateway'),
      expect.stringContaining('fail nothing listens there'),
      expect.stringContaining('fail answers with 200, and not by Lanyard'),
      expect.stringContaining('note is the gateway itself, with nothing in front of it'),
    ]);
  });

  test('a name that no resolver knows is one for DNS, not for nginx', async () => {
    const args = ['--url', 'http://lanyard.invalid:8080'];
    const { of } = await examined(`listen: [{ port: ${await freePort()} }]\n`, { args });
    expect(of('front.reachable')).toEqual([
      expect.stringMatching(/^lanyard\.invalid:8080: fail the name .* → Add the name to your DNS/),
    ]);
  });

  test('a name that nginx does not know is told', async () => {
    const front = await openFront('ip: off', [['lanyard.example.com localhost 127.0.0.1;', 'lanyard.example.com;']]);
    const { of } = await looked(front, { door: 'tls' });
    expect(of('front.reachable')).toEqual([
      expect.stringMatching(/: fail answers with 421, .* put it into server_name/),
    ]);
  });

  test('http beside https leads there, or is closed, or is told', async () => {
    const front = await openFront();
    const on = async (port: number): Promise<string> => {
      const found = await plain(new URL('https://localhost'), port);
      return found.map((one) => `${one.status} ${one.found}`).join();
    };
    expect(await on(Number(new URL(front.plain).port))).toBe('ok http leads to https');
    expect(await on(await freePort())).toBe('ok http is not served (nothing listens there)');
    expect(await on(Number(new URL(front.lan).port))).toMatch(/^warn http is served too: keys sent there/);
  });

  test('a gateway that does not run behind nginx is told', async () => {
    const front = await openFront();
    await front.gateway.stop();
    const seen = await looked(front);
    expect(seen.of('front.reachable')).toEqual([
      expect.stringMatching(/: fail answers with 502, and not by Lanyard → .*see that the gateway runs/),
    ]);
    expect(seen.of('gateway.running')).toEqual([expect.stringContaining('warn it is not running here')]);
  });
});

describe('the certificate', () => {
  const DAY_MS = 86_400_000;

  test('of a private CA is believed with it, and not without; no key goes to one that is not', async () => {
    const front = await openFront();
    const yaml = `listen: [{ port: ${front.gateway.port} }]\nbackends: { rack: { engine: vllm, url: "${front.engine.url}" } }\n`;
    const seen = await examined(yaml, { args: ['--url', front.tls, '--deep'], env: { LITELLM_MASTER_KEY: KEY } });
    expect(seen.of('front.certificate')).toContainEqual(
      expect.stringMatching(/: warn .*NODE_EXTRA_CA_CERTS=ca\.pem .*--ca FILE/),
    );
    expect(seen.of('front.streams')).toEqual([]);
    const asked = front.engine.asked.length;
    const believed = await looked(front, { door: 'tls' });
    expect(believed.of('front.certificate')[0]).toContain('ok believed here, for localhost');
    expect(front.engine.asked).toHaveLength(asked);
  });

  test('expired, or soon to expire', async () => {
    const front = await openFront();
    const ca = [front.ca.toString()];
    const at = async (url: string, now?: number): Promise<string[]> => {
      const { findings } = await certificate(new URL(url), ca, [], 2_000, now);
      return findings.map(({ status, found, do: remedy }) => `${status} ${found} → ${remedy}`);
    };
    const left = /valid for (\d+) days more/.exec((await at(front.tls)).join())?.[1];
    const end = Date.now() + Number(left) * DAY_MS;
    expect(await at(front.tls, end - 5 * DAY_MS)).toEqual([
      expect.stringMatching(/^warn expires in [56] days → Renew it/),
    ]);
    expect(await at(front.tls, end + 5 * DAY_MS)).toEqual([
      expect.stringMatching(/^fail has expired \d days ago → Renew it/),
    ]);
  });

  test('for another name, and not believed', async () => {
    // A self-signed one for no name but, in the old way, 127.0.0.1; it has a century to go.
    const pem = readFileSync(new URL('../fixtures/untrusted.pem', import.meta.url), 'utf8');
    const server = createTlsServer({ cert: pem, key: pem }, (socket) => void socket.end());
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const url = new URL(`https://localhost:${(server.address() as AddressInfo).port}`);
    const told = async (ca: readonly string[]): Promise<string[]> => {
      const { findings, trusted } = await certificate(url, ca, [], 2_000);
      expect(trusted).toBe(false);
      return findings.map(({ status, found }) => `${status} ${found}`);
    };
    const misnamed = 'fail is not for localhost, but for no name at all';
    expect(await told([pem])).toEqual([expect.stringContaining('ok valid for'), misnamed]);
    const doubt = expect.stringContaining('warn is not believed here (DEPTH_ZERO_SELF_SIGNED_CERT)');
    expect(await told([])).toEqual([expect.stringContaining('ok valid for'), misnamed, doubt]);
  });

  test('that was renewed on the disk, without a reload of nginx', async () => {
    const front = await openFront();
    const file = `${front.nginx.folder}/certs/fullchain.pem`;
    const shown = readFileSync(file, 'utf8');
    // With a name more, or the script would keep the one that is there.
    const names = ['lanyard.example.com', 'localhost', '127.0.0.1', 'gpu.example.com'];
    execFileSync('sh', ['deploy/certs.sh', `${front.nginx.folder}/certs`, ...names], { stdio: 'pipe' });
    expect(readFileSync(file, 'utf8')).not.toBe(shown);
    const seen = await looked(front, { door: 'tls' });
    expect(seen.of('front.certificate')).toContainEqual(
      expect.stringMatching(/: warn is older than the one in .*fullchain\.pem → .*nginx -s reload/),
    );
    await front.nginx.reload();
    await expect
      .poll(async () => (await looked(front, { door: 'tls' })).of('front.certificate').join(), { timeout: 10_000 })
      .not.toContain('older');
  });
});
