// The scripts within docker-compose.yml, run as they stand there: only the folders of their containers are others.
import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { nginxConfOf, openVolumes, runScript, serviceOf } from './compose-run.ts';

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const read = (name: string): string => readFileSync(path(name), 'utf8');
const CONF = read('nginx.conf');

/** The lines that differ, without their margins. */
function changed(before: string, after: string): string[] {
  const old = before.split('\n');
  const now = after.split('\n');
  expect(now).toHaveLength(old.length);
  return now.filter((line, at) => line !== old[at]).map((line) => line.trim());
}

describe("nginx's copy of nginx.conf", () => {
  const gateway = 'server 172.30.42.3:4000 max_fails=0;';

  test.each([
    ['localhost', 'server_name localhost;'],
    ['gpu-box gpu-box.local 192.168.1.20', 'server_name gpu-box gpu-box.local 192.168.1.20;'],
    ['  lanyard.example.com   *.example.com ', 'server_name lanyard.example.com *.example.com;'],
    ['gpu_box ::1 fd00::2', 'server_name gpu_box [::1] [fd00::2];'],
  ])('for %j differs in two lines only', (hosts, names) => {
    expect(changed(CONF, nginxConfOf(CONF, hosts))).toEqual([gateway, names]);
  });

  test('takes the second gateway where nginx.conf has it, and leaves it a comment where it has not', () => {
    const two = CONF.replace('4000 max_fails=0;', '4000;').replace(
      '# server 127.0.0.1:4001;',
      'server 127.0.0.1:4001;',
    );
    expect(changed(two, nginxConfOf(two, 'localhost'))).toEqual([
      'server 172.30.42.3:4000;',
      'server 172.30.42.4:4000;',
      'server_name localhost;',
    ]);
  });

  test('keeps names that the operator wrote into nginx.conf', () => {
    const own = CONF.replace('server_name lanyard.example.com;', 'server_name own.example.com;');
    expect(changed(own, nginxConfOf(own, 'localhost'))).toEqual([gateway]);
  });

  test.each(['a;return 200', 'a/b', 'a}b', '$host', 'a\\nb', 'a\nb', '`id`', '$(id)', 'ü.example.com', '&'])(
    'is not made of %j',
    (hosts) => {
      expect(() => nginxConfOf(CONF, hosts)).toThrow('LANYARD_HOSTS: names and addresses only');
    },
  );
});

describe('the certificates', () => {
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { stdio: 'pipe' });
  const leafOf = (file: string): X509Certificate => new X509Certificate(readFileSync(file));

  test('are made where there are none, kept over restarts, and no private key is where the gateway looks', () => {
    const volumes = openVolumes();
    volumes.certify('gpu-box 192.168.1.20');
    expect(volumes.files()).toEqual({
      authority: ['ca-key.pem', 'ca.pem', 'fullchain.pem', 'privkey.pem'],
      certs: ['ca.pem', 'fullchain.pem', 'privkey.pem'],
      public: ['ca.pem', 'fullchain.pem'],
    });
    const before = volumes.read('certs/fullchain.pem');
    volumes.certify('gpu-box 192.168.1.20');
    expect(volumes.read('certs/fullchain.pem')).toBe(before);
    const leaf = leafOf(join(volumes.dir, 'public/fullchain.pem'));
    expect(leaf.verify(leafOf(join(volumes.dir, 'certs/ca.pem')).publicKey)).toBe(true);
    expect(leaf.checkIP('192.168.1.20')).toBe('192.168.1.20');
  });

  test('get a new name under the same authority', () => {
    const volumes = openVolumes();
    volumes.certify('gpu-box');
    const ca = volumes.read('certs/ca.pem');
    volumes.certify('gpu-box lanyard.example.com');
    expect(leafOf(join(volumes.dir, 'certs/fullchain.pem')).checkHost('lanyard.example.com')).toBeDefined();
    expect(volumes.read('certs/ca.pem')).toBe(ca);
  });

  test("nginx's group reads the key, the rest of the world does not", () => {
    const volumes = openVolumes();
    volumes.certify('gpu-box');
    const mode = (name: string): string => (statSync(join(volumes.dir, name)).mode & 0o777).toString(8);
    expect([mode('certs/privkey.pem'), mode('certs/fullchain.pem'), mode('public/ca.pem')]).toEqual([
      '640',
      '644',
      '644',
    ]);
    expect(mode('authority/ca-key.pem')).toBe('600');
  });

  test('of ./certs go before, and those that were made are gone', () => {
    const volumes = openVolumes();
    volumes.certify('gpu-box');
    mkdirSync(join(volumes.dir, 'own'), { recursive: true });
    const own = join(volumes.dir, 'own');
    openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-subj',
      '/CN=mine',
      '-keyout',
      `${own}/privkey.pem`,
      '-out',
      `${own}/fullchain.pem`,
    );
    volumes.certify('gpu-box');
    expect(volumes.read('certs/fullchain.pem')).toBe(volumes.read('own/fullchain.pem'));
    expect(volumes.read('certs/privkey.pem')).toBe(volumes.read('own/privkey.pem'));
    expect(volumes.files()).toMatchObject({ certs: ['fullchain.pem', 'privkey.pem'], public: ['fullchain.pem'] });
  });

  test('a fault of certs.sh is a fault here', () => {
    const volumes = openVolumes();
    expect(() => volumes.certify('no_name_at_all')).toThrow(/neither a name nor an address/);
    expect(volumes.files()).toEqual({ authority: [], certs: [], public: [] });
  });
});

describe('an engine that nobody will ask says so, and starts all the same', () => {
  test.each(['ollama', 'vllm'])('%s', (name) => {
    const { environment = {} } = serviceOf(name);
    expect(environment['CHOSEN']).toBe('${LANYARD_CONFIG:-}');
    const start = (CHOSEN: string): string =>
      runScript(name, [[/exec/, 'echo started:']], { CHOSEN, MODEL: 'm', CONTEXT: '1', GPU_SHARE: '0.5' });
    expect(start('')).toMatch(
      new RegExp(
        `^${name}: nobody will ask it; put LANYARD_CONFIG=config/examples/compose-${name}\\.yaml into \\.env\nstarted: ${name} serve`,
      ),
    );
    expect(start('config/mine.yaml')).toMatch(new RegExp(`^started: ${name} serve`));
  });

  test('vllm is given the model first, as `vllm serve` wants it', () => {
    const out = runScript('vllm', [[/exec/, 'echo']], {
      CHOSEN: 'x',
      MODEL: 'team/model',
      CONTEXT: '8192',
      GPU_SHARE: '0.5',
    });
    expect(out).toBe(
      'vllm serve team/model --host 0.0.0.0 --port 8000 --max-model-len 8192 --gpu-memory-utilization 0.5\n',
    );
  });
});

test('ollama-models fetches what is missing, and nothing twice', () => {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-ollama-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  // A stand-in for its command line, which has one model.
  writeFileSync(join(dir, 'ollama'), '#!/bin/sh\nif [ "$1" = show ]; then [ "$2" = there ]; else echo "$*"; fi\n', {
    mode: 0o755,
  });
  const out = runScript('ollama-models', [], {
    OLLAMA_PULL: 'there one:7b two',
    PATH: `${dir}:${process.env['PATH']}`,
  });
  expect(out).toBe('pull one:7b\npull two\n');
});

test('the three lines of .env.example make what docker compose insists on', () => {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-env-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const example = read('.env.example');
  writeFileSync(join(dir, '.env.example'), example);
  const lines = [...example.matchAll(/^# {3}(\S.*)$/gm)].map(([, line = '']) => line);
  expect(lines).toHaveLength(3);
  const { status, stderr } = spawnSync('sh', ['-euc', lines.join('\n')], { cwd: dir, encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
  const made = readFileSync(join(dir, '.env'), 'utf8');
  expect(made).toMatch(/^LITELLM_MASTER_KEY=sk-[0-9a-f]{64}$/m);
  expect(made).toMatch(/^GRAFANA_PASSWORD=[0-9a-f]{32}$/m);
  expect(statSync(join(dir, '.env')).mode & 0o777).toBe(0o600);
  expect(existsSync(join(dir, '.env.bak'))).toBe(false);
});
