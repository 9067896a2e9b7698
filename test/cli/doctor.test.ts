// `lanyard doctor` as a command: what it prints, how it ends, what it never prints; and its parts that need no server.
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { secretsOf } from '../../src/doctor/configuration.ts';
import type { Finding, Status } from '../../src/doctor/finding.ts';
import { about, within } from '../../src/doctor/finding.ts';
import { clock, host } from '../../src/doctor/host.ts';
import { parseNginx } from '../../src/doctor/nginx-conf.ts';
import { asText, cleaned, statusOf } from '../../src/doctor/report.ts';
import { startEngine } from '../engines/engine.ts';
import { openGateway, stageConfig } from '../stage/gateway.ts';
import { newDir, runLanyard } from '../stage/lanyard.ts';
import { freePort } from '../stage/ports.ts';
import { examined, ran } from './examined.ts';

const STRONG = 'sk-lanyard-Zq4vT1mXcN8rJ2pWk7sLbY5dHf0gUe3aRoIiQxKzM9t';

async function closed(more = ''): Promise<string> {
  return `listen: [{ port: ${await freePort()} }]\n${more}`;
}

describe('the command', () => {
  test.each([
    [['--bogus'], "Unknown option '--bogus'"],
    [['extra'], "Unexpected argument 'extra'"],
    [['--url'], "Option '--url <value>' argument missing"],
    [['--url', 'lanyard.example.com'], '--url wants http://… or https://…'],
    [['--url', 'ftp://lanyard.example.com'], '--url wants http://… or https://…'],
    [['--url', 'https://me:secret@lanyard.example.com'], '--url holds no user and no password'],
    [['--ca', '/nowhere/ca.pem'], 'the file of --ca cannot be read'],
    [['--ca', '/etc/hosts'], 'the file of --ca holds no certificate (PEM)'],
  ])('does not understand %j: status 2, the usage on standard error, nothing looked at', async (args, why) => {
    const { code, lines, failed } = await ran('', { args });
    expect({ code, lines }).toEqual({ code: 2, lines: [] });
    expect(failed.join('\n')).toContain(`lanyard doctor: ${why}`);
    expect(failed.join('\n')).toContain('usage: lanyard doctor');
    expect(failed.join('\n')).not.toContain('secret');
  });

  test('explains itself with --help', async () => {
    const { code, lines } = await ran('', { args: ['--help'] });
    expect(code).toBe(0);
    for (const option of ['--config', '--url', '--deep', '--key-env', '--ca', '--nginx', '--json'])
      expect(lines.join('\n')).toContain(option);
  });

  test('run as a program it says the same to people and to scripts, and its status is theirs', async () => {
    const engine = await startEngine({ kind: 'vllm', models: [{ name: 'm', context: 65_536 }] });
    onTestFinished(() => engine.stop());
    const dir = newDir();
    writeFileSync(join(dir, 'nginx'), 'events {}');
    const yaml = await closed(
      `backends: { rack: { engine: vllm, url: "${engine.url}" } }\nmodels: { a: [rack/gone] }\n`,
    );
    const args = ['doctor', '--nginx', 'nginx', '--url', `http://127.0.0.1:${await freePort()}`];
    const json = runLanyard({ yaml, dir, args: [...args, '--json'] });
    expect(await json.exit).toBe(1);
    const text = runLanyard({ yaml, dir, args });
    expect(await text.exit).toBe(1);
    const document = JSON.parse(json.stdout()) as { version: string; findings: Finding[] };
    expect(Object.keys(document)).toEqual(['version', 'findings']);
    const plain = (one: string): string => one.replaceAll(/\d+(?:\.\d+)? ms/g, 'N ms');
    const shown = plain(text.stdout());
    for (const finding of document.findings) {
      expect(Object.keys(finding)).toEqual(['check', 'subject', 'status', 'found', 'do']);
      expect(['ok', 'note', 'warn', 'fail', 'skipped']).toContain(finding.status);
      expect(shown).toContain(plain(finding.found));
      if (finding.do !== '') expect(shown).toContain(`        → ${finding.do}\n`);
    }
    expect(shown.match(/^ {2}(?:ok|note|warn|FAIL|skip) /gm)).toHaveLength(document.findings.length);
    expect(shown).toMatch(/^\d+ ok.*, \d+ failures, \d+ skipped$/m);
    expect(shown).not.toContain('\u001B');
    expect(text.stderr()).toBe('');
    expect(engine.asked).toEqual([]);
  });

  test('every finding that is wrong says what to do', async () => {
    const { findings } = await examined(await closed('redis: redis://127.0.0.1:9\nlimits: { ip: off }\n'));
    for (const { status, do: remedy } of findings) {
      if (status === 'warn' || status === 'fail') expect(remedy).not.toBe('');
    }
  });

  test('ends in time though everything hangs', async () => {
    // Takes every connection and says nothing, as a machine that swaps does.
    const mute = createServer();
    await new Promise<void>((resolve) => void mute.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void mute.close());
    const { port } = mute.address() as AddressInfo;
    const yaml = `
listen: [{ port: ${port} }]
redis: redis://127.0.0.1:${port}
backends: { one: { engine: auto, url: "http://127.0.0.1:${port}" }, two: { engine: ollama, url: "http://127.0.0.1:${port}" } }
models: { a: [one/a, two/a] }
`;
    // The test's own limit is the assertion: without limits of the doctor's it would never end.
    const { code, of } = await examined(yaml, { args: ['--url', `https://127.0.0.1:${port}`, '--deep'] });
    expect(code).toBe(1);
    expect(of('backend.reachable')).toEqual([
      expect.stringContaining('one: fail does not answer in time'),
      expect.stringContaining('two: fail does not answer in time'),
    ]);
    expect(of('gateway.running')).toEqual([expect.stringContaining('gives no answer (TIMEOUT)')]);
    expect(of('front.reachable')).toEqual([expect.stringContaining('no answer in time')]);
    expect(of('redis.reachable')).toEqual([expect.stringContaining('does not answer in time')]);
  });
});

describe('the configuration', () => {
  test('with faults: each is a finding with its place, and status 1', async () => {
    const { code, of, findings } = await examined('listen: [{ prot: 4000 }]\nlimits: { queue_length: many }\n');
    expect(code).toBe(1);
    expect(findings).toHaveLength(of('configuration.file').length);
    expect(of('configuration.file')).toEqual([
      expect.stringMatching(/: fail line 1:\d+ .*needs `port`/),
      expect.stringMatching(/: fail line 1:\d+ unknown key "prot".* → Correct it; `lanyard check`/),
      expect.stringMatching(/: fail line 2:\d+ .*queue_length/),
    ]);
  });

  test('that is not there is a finding as well', async () => {
    const program = runLanyard({ yaml: '', args: ['doctor', '--config', 'config/gone.yaml'] });
    expect(await program.exit).toBe(1);
    expect(program.stdout()).toMatch(/FAIL {2}config\/gone\.yaml file {2}there is no such file/);
  });

  const FOUND: readonly [name: string, yaml: string, finding: string][] = [
    [
      'an open listener that others reach',
      'listen: [{ port: PORT, host: 0.0.0.0, auth: open, exposed: true }]',
      '0.0.0.0:PORT: warn asks for no key',
    ],
    ['an open one for this machine', 'listen: [{ port: PORT, auth: open }]', '127.0.0.1:PORT: note asks for no key'],
    [
      'a listener past nginx',
      'listen: [{ port: PORT, host: 0.0.0.0 }]',
      '0.0.0.0:PORT: note asks for a key, which crosses the network in the clear',
    ],
    ['no limit by address', 'listen: [{ port: PORT }]\nlimits: { ip: off }', ': note none by address (limits.ip: off)'],
    ['no master key', 'listen: [{ port: PORT }]', ': note no master key yet'],
    [
      'a Redis without a password',
      'listen: [{ port: PORT }]\nredis: redis://192.0.2.1:6379',
      '192.0.2.1:6379: note is reached over the network without a password',
    ],
  ];
  test.each(FOUND)('%s is told', async (_, yaml, finding) => {
    const port = String(await freePort());
    const { findings } = await examined(yaml.replace('PORT', port), { env: {} });
    const told = findings.filter(({ check }) => check.startsWith('configuration.'));
    expect(told.map(({ subject, status, found }) => `${subject}: ${status} ${found}`)).toContainEqual(
      expect.stringContaining(finding.replace('PORT', port)),
    );
  });

  test('secrets that others can read are told, and not shown', async () => {
    const yaml = await closed(`backends: { rack: { engine: vllm, url: "http://127.0.0.1:9", key: "${STRONG}" } }\n`);
    const dotenv = { text: `LITELLM_MASTER_KEY=${STRONG}x\n`, mode: 0o644 };
    const open = await examined(yaml, { mode: 0o644, dotenv, env: {} });
    expect(open.of('configuration.file')).toContainEqual(
      expect.stringContaining('holds 1 secret and others on this machine can read it (mode 644)'),
    );
    expect(open.of('configuration.secrets')).toEqual([
      expect.stringMatching(/^\.env: warn others .* \(mode 644\) → chmod 600/),
    ]);
    expect(JSON.stringify(open.findings)).not.toContain(STRONG.slice(0, 20));
    const kept = await examined(yaml, { mode: 0o600, dotenv: { ...dotenv, mode: 0o600 }, env: {} });
    expect(kept.of('configuration.file')).toEqual([expect.stringContaining('ok 1 backend')]);
    expect(kept.of('configuration.secrets')).toEqual(['.env: ok only its owner can read it (mode 600)']);
  });
});

describe('a password of Redis', () => {
  test('that is written in escapes is hidden and found in the file in either form', async () => {
    const written = 'of%40redis%2Fwith-escapes';
    const yaml = await closed(`redis: "redis://:${written}@127.0.0.1:${await freePort()}"\n`);
    expect(secretsOf(parseConfig(yaml, 'lanyard.yaml', {}), {})).toEqual([written, 'of@redis/with-escapes']);
    const { of } = await examined(yaml, { mode: 0o644 });
    expect(of('configuration.file')).toContainEqual(expect.stringContaining('holds 1 secret and others'));
  });
});

describe('the gateway', () => {
  test('that runs is asked for its files and its own view', async () => {
    const gateway = await openGateway('backends: { rack: { engine: vllm, url: "http://127.0.0.1:9" } }\n');
    const { of } = await examined(
      `listen: [{ port: ${gateway.port} }]\nbackends: { rack: { engine: vllm, url: "http://127.0.0.1:9" } }\n`,
    );
    expect(of('gateway.running')).toEqual([expect.stringContaining('note version test runs')]);
    expect(of('gateway.backend')).toEqual([
      expect.stringContaining('rack: warn the running gateway sends it nothing now'),
    ]);
    if (process.platform === 'linux')
      expect(of('host.files')).toEqual([expect.stringContaining('the running gateway may open')]);
  });

  test.each([200, 401, 403])('is not given the key on this machine, where none is needed (%i)', async (status) => {
    const keys: (string | undefined)[] = [];
    const other = createHttpServer(({ url, headers }, response) => {
      keys.push(headers.authorization);
      response.writeHead(url === '/metrics' ? status : 200, { 'x-lanyard-instance': 'abc' }).end('{"version":"1"}');
    });
    await new Promise<void>((resolve) => void other.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void other.close());
    const { of } = await examined(`listen: [{ port: ${(other.address() as AddressInfo).port} }]\n`);
    expect(of('gateway.running')).toEqual([expect.stringContaining('note version 1 runs')]);
    expect(keys.length).toBeGreaterThan(1);
    expect(new Set(keys)).toEqual(new Set([undefined]));
  });

  const lan = Object.values(networkInterfaces())
    .flat()
    .find((one) => one?.internal === false && one.family === 'IPv4')?.address;
  test.skipIf(lan === undefined)('on an address of the network tells its figures to the master key alone', async () => {
    const listen = `[{ host: "${lan}", port: 0 }]`;
    const gateway = await openGateway('backends: { rack: { engine: vllm, url: "http://127.0.0.1:9" } }\n', { listen });
    const yaml = `
listen: [{ host: "${lan}", port: ${gateway.port} }]
backends: { rack: { engine: vllm, url: "http://127.0.0.1:9" } }
`;
    const known = (await examined(yaml)).of('gateway.backend');
    expect(known).toEqual([expect.stringContaining('rack: warn the running gateway sends it nothing now')]);
    const unknown = await examined(yaml, { env: {} });
    expect(unknown.of('gateway.running')).toEqual([expect.stringContaining('note version test runs')]);
    expect(unknown.of('gateway.backend')).toEqual([]);
  });

  test.each(['198.51.100.7', '"2001:db8::7"'])('is not looked for on another machine (%s)', async (host) => {
    const { code, of } = await examined(`listen: [{ host: ${host}, port: ${await freePort()} }]\n`);
    expect(of('gateway.running')).toEqual([expect.stringContaining('note it listens on an address that is not here')]);
    expect(code).toBe(0);
  });

  test('whose port another server has', async () => {
    const engine = await startEngine({ kind: 'vllm', models: ['m'] });
    onTestFinished(() => engine.stop());
    const { of } = await examined(`listen: [{ port: ${engine.port} }]\n`);
    expect(of('gateway.running')).toEqual([expect.stringContaining('fail something else listens on its port')]);
  });
});

describe('this machine', () => {
  test('too few files for the connections it may have', () => {
    const { limits } = stageConfig('limits: { connections_max: 8000 }');
    const files = (max: number): string | undefined =>
      host(limits, max).find(({ check }) => check === 'host.files')?.status;
    expect([files(1024), files(16_063), files(16_064), files(Infinity)]).toEqual(['warn', 'warn', 'ok', 'ok']);
  });

  test('a disk that batches cannot be kept on', async () => {
    expect((await examined('')).of('host.disk')).toEqual([]);
    const { of } = await examined('batch: { data: data, store_bytes_max: 1 }\n');
    expect(of('host.disk')).toEqual([expect.stringMatching(/^data: ok \d+ MiB free/)]);
    const full = await examined('batch: { data: data, disk_free_bytes_min: 900TB }\n');
    expect(full.of('host.disk')).toEqual([expect.stringMatching(/^data: fail .+ → No file is taken \(507\)/)]);
  });

  test('bodies that the memory cannot hold', () => {
    const memory = (bodies_bytes_max: number): string | undefined =>
      host({ ...stageConfig('').limits, bodies_bytes_max }, 1e6).find(({ check }) => check === 'host.memory')?.status;
    expect([memory(2 ** 26), memory(2 ** 50)]).toEqual(['ok', 'warn']);
  });

  const CLOCKS: readonly [name: string, ahead_s: readonly number[], status: Status, found: RegExp][] = [
    ['none to compare with', [], 'skipped', /no server/],
    ['all together', [0.4, -1.2], 'ok', /within 5 s of 2 servers/],
    ['one a little ahead', [0, 7], 'note', /the clocks of this machine and of b1 are 7 s apart/],
    ['one far behind', [-3600, 0], 'warn', /the clocks of this machine and of b0 are 3600 s apart/],
    ['both, or ours', [100, 101], 'warn', /the clocks of this machine and of b1 are 101 s apart/],
  ];
  test.each(CLOCKS)('clocks: %s', (_, ahead_s, status, found) => {
    const [finding] = clock(ahead_s.map((one, at) => ({ of: `b${at}`, ahead_ms: one * 1000 })));
    expect(finding).toMatchObject({ status, found: expect.stringMatching(found) });
  });
});

describe('the report', () => {
  test('shows no secret and no character that moves a cursor', () => {
    const [shown] = cleaned(
      [about('a.b', 'evil\u001B[2Jname').fail(`key ${STRONG} here\nand there`, 'abc')],
      [STRONG, 'abc'],
    );
    expect(shown).toEqual({
      check: 'a.b',
      subject: 'evil [2Jname',
      status: 'fail',
      found: 'key (secret) here and there',
      do: 'abc',
    });
  });

  test('is coloured only for a terminal, and counts', () => {
    const said = about('redis.latency', 'r');
    const findings = [said.ok('x'), said.warn('y', 'z'), said.warn('y', 'z'), said.note('n')];
    expect(asText(findings, false).at(-1)).toBe('1 ok, 1 note, 2 warnings');
    expect(asText(findings, false).join()).not.toContain('\u001B');
    expect(asText(findings, true).join()).toContain('\u001B[');
  });

  test.each([
    [[], 0],
    [['ok', 'note', 'skipped'], 0],
    [['ok', 'warn'], 1],
    [['fail'], 1],
  ] as const)('%j has status %i', (statuses, code) => {
    expect(statusOf(statuses.map((status) => about('a', 'b')[status]('x')))).toBe(code);
  });

  test('a check that breaks or hangs is a finding, without what the error says', async () => {
    const [broken] = await within(1_000, 'a.b', 's', () => Promise.reject(new TypeError(STRONG)));
    expect(broken).toMatchObject({ status: 'fail', found: 'the check itself broke (TypeError)' });
    let aborted = false;
    const [late] = await within(10, 'a.b', 's', (signal) => {
      signal.addEventListener('abort', () => (aborted = true));
      return new Promise(() => undefined);
    });
    expect(late).toMatchObject({ status: 'fail', found: 'no result within 0.01 s' });
    expect(aborted).toBe(true);
  });
});

describe('nginx’ language', () => {
  const of = (name: string, args: string[], block?: object[]): object => ({ name, args, block });
  const READ: readonly [name: string, text: string, tree: object[]][] = [
    ['words and comments', 'a b  c; # d;\n e;', [of('a', ['b', 'c']), of('e', [])]],
    ['blocks', 'http { server { listen 80; } }', [of('http', [], [of('server', [], [of('listen', ['80'])])])]],
    ['quotes', `a "b;c" 'd}e' "f\\"g";`, [of('a', ['b;c', 'd}e', 'f"g'])]],
    ['variables in braces', 'a x${b}y $c;', [of('a', ['x${b}y', '$c'])]],
    ['a # within a word', 'a b#c;', [of('a', ['b#c'])]],
    ['nothing', ' # only this', []],
    [
      'what nginx -T prints',
      '# configuration file /etc/nginx/nginx.conf:\nhttp { include conf.d/*.conf; include mime.types; }\n# configuration file /etc/nginx/conf.d/a.conf:\nserver { a; }\n# configuration file /etc/nginx/conf.d/sub/b.conf:\nno;\n# configuration file /etc/nginx/mime.types:\ntypes { }\n',
      [of('http', [], [of('server', [], [of('a', [])]), of('types', [], [])])],
    ],
    [
      'files that include each other, to an end',
      '# configuration file /a:\ninclude /b;\n# configuration file /b:\nx;\n',
      [of('x', [])],
    ],
  ];
  test.each(READ)('%s', (_, text, tree) => {
    expect(parseNginx(text)).toEqual(tree);
  });

  test.each(['a', 'a {', 'a }', 'a "b;', '}', 'x { a }'])('%j is a fault', (text) => {
    expect(() => parseNginx(text)).toThrow(SyntaxError);
  });

  test('the nginx of this machine is asked for its configuration', async () => {
    const dir = newDir();
    const port = await freePort();
    mkdirSync(join(dir, 'bin'));
    const dump = `http { server { location / { proxy_pass http://127.0.0.1:${port}; } } }`;
    writeFileSync(join(dir, 'bin/nginx'), `#!/bin/sh\n[ "$*" = "-T -q" ] && echo '${dump}'\n`);
    chmodSync(join(dir, 'bin/nginx'), 0o755);
    const env = { PATH: `${join(dir, 'bin')}:${process.env['PATH']}` };
    const program = runLanyard({ yaml: `listen: [{ port: ${port} }]\n`, dir, env, args: ['doctor'] });
    await program.exit;
    expect(program.stdout()).toMatch(/^ {2}warn {2}proxy_read_timeout +ends unstreamed answers after 60 s/m);
  });

  test('in all other tests it is out of the way', async () => {
    const { of } = await examined(await closed());
    expect(of('nginx.configuration')).toEqual([expect.stringContaining('skipped no nginx on this machine')]);
  });

  test('a file that is no configuration, or of another nginx, is told', async () => {
    const dir = newDir();
    const seen = async (text: string): Promise<string[]> => {
      writeFileSync(join(dir, 'dump'), text);
      return (await examined(await closed(), { args: ['--nginx', join(dir, 'dump')] })).of('nginx.configuration');
    };
    expect(await seen('http { server {')).toEqual([
      expect.stringContaining('fail cannot be understood: a } is missing'),
    ]);
    expect(await seen('http { server { location / { proxy_pass http://127.0.0.1:3000; } } }')).toEqual([
      expect.stringContaining('fail it has no proxy_pass to the gateway'),
    ]);
    const gone = await examined(await closed(), { args: ['--nginx', join(dir, 'gone')] });
    expect(gone.of('nginx.configuration')).toEqual([expect.stringContaining('fail cannot be read (ENOENT)')]);
  });
});
