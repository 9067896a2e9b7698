// `lanyard init`: what it makes on a new machine, what it leaves on one that is set up, and what it says.
import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseEnv } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Interfaces } from '../../src/cli/hosts.ts';
import { init } from '../../src/cli/init.ts';
import { weakness } from '../../src/config/keys.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const STRONG = 'sk-lanyard-Qm9vdHN0cmFwLW9mLWEtc3Ryb25nLWtleS0x';
const LAN = { address: '192.168.1.20', family: 'IPv4', internal: false, netmask: '', mac: '', cidr: null } as const;

interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A folder with a space in its name, as people have them. */
function newDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard init-'));
  onTestFinished(() => {
    chmodSync(dir, 0o700);
    rmSync(dir, { recursive: true });
  });
  return dir;
}

async function run(
  dir: string,
  argv: string[] = [],
  more: { tty?: boolean; env?: Record<string, string>; interfaces?: Interfaces } = {},
): Promise<Said> {
  const [out, err]: [string[], string[]] = [[], []];
  const code = await init(argv, {
    dir,
    env: {},
    tty: false,
    name: 'gpu-box',
    interfaces: { eth0: [LAN] },
    out: (line) => out.push(line),
    fail: (line) => err.push(line),
    ...more,
  });
  return { code, out: out.join('\n'), err: err.join('\n') };
}

const text = (dir: string, name = '.env'): string => readFileSync(join(dir, name), 'utf8');
const values = (dir: string): NodeJS.Dict<string> => parseEnv(text(dir));
const everything = (dir: string): unknown =>
  readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile())
    .map((one) => [one.name, readFileSync(join(one.parentPath, one.name), 'utf8')]);

describe('on a new machine', () => {
  test('it writes strong secrets and the names of the machine, for its owner alone', async () => {
    const dir = newDir();
    const { code, err } = await run(dir);
    expect([code, err]).toEqual([0, '']);
    const {
      LITELLM_MASTER_KEY: key = '',
      LANYARD_HOSTS: hosts,
      GRAFANA_PASSWORD: password = '',
      ...others
    } = values(dir);
    expect(weakness(key)).toBeUndefined();
    expect(hosts).toBe('gpu-box gpu-box.local localhost 127.0.0.1 192.168.1.20');
    expect(text(dir)).toContain(`LANYARD_HOSTS="${hosts}"\n`);
    expect(password).toMatch(/^[\w-]{24}$/);
    expect(others).toEqual({});
    expect(statSync(join(dir, '.env')).mode & 0o777).toBe(0o600);
    expect(readdirSync(dir).toSorted()).toEqual(['.env', 'certs']);
  });

  test('it makes certificates for those names', async () => {
    const dir = newDir();
    await run(dir);
    const leaf = new X509Certificate(text(dir, 'certs/fullchain.pem'));
    expect(leaf.verify(new X509Certificate(text(dir, 'certs/ca.pem')).publicKey)).toBe(true);
    for (const name of ['gpu-box', 'gpu-box.local', 'localhost']) expect(leaf.checkHost(name)).toBe(name);
    expect(leaf.checkIP('192.168.1.20')).toBe('192.168.1.20');
  });

  test('an address that nginx would refuse on its LAN port is not told as one', async () => {
    const { out } = await run(newDir(), [], { interfaces: { eth0: [{ ...LAN, address: '192.0.2.2' }] } });
    expect(out).toContain('none: 192.0.2.2 is not a private address');
    expect(out).not.toContain('8080  (through');
    expect(out).toContain('https://192.0.2.2');
  });

  test('it tells the three addresses and the next command for each way', async () => {
    const { out } = await run(newDir(), ['--domain', 'lanyard.example.com']);
    for (const line of ['http://localhost:4000', 'http://192.168.1.20:8080', 'https://lanyard.example.com'])
      expect(out).toMatch(new RegExp(`  ${line}(?:\\s|$)`, 'm'));
    for (const way of ['npm start', 'docker compose up -d', 'docs/OPERATIONS.md']) expect(out).toContain(way);
  });

  test('it shows the key to a person at a terminal, and to nobody else', async () => {
    const [shown, hidden] = [newDir(), newDir()];
    expect((await run(shown, [], { tty: true })).out).toContain(values(shown)['LITELLM_MASTER_KEY']);
    expect((await run(shown, [], { tty: true })).out).not.toContain(values(shown)['LITELLM_MASTER_KEY']);
    expect((await run(hidden)).out).not.toContain(values(hidden)['LITELLM_MASTER_KEY']);
    expect((await run(hidden)).out).not.toContain(values(hidden)['GRAFANA_PASSWORD']);
  });

  test('it works as `lanyard init` in any folder', () => {
    const cwd = newDir();
    const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'init'], { cwd, encoding: 'utf8' });
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toContain('http://localhost:4000');
    expect(values(cwd)['LANYARD_HOSTS']).toContain('localhost');
  });

  test('without openssl it leaves the certificates out, and says how to make them', async () => {
    const path = process.env['PATH'];
    process.env['PATH'] = newDir();
    onTestFinished(() => void (process.env['PATH'] = path));
    const dir = newDir();
    const { code, out } = await run(dir);
    expect(code).toBe(0);
    expect(out).toContain('for want of openssl (docker compose makes its own). Install it and run this again.');
    expect(existsSync(join(dir, 'certs'))).toBe(false);
  });
});

describe('on a machine that is set up', () => {
  test('a second time it changes nothing, and says what is there', async () => {
    const dir = newDir();
    await run(dir);
    const before = everything(dir);
    const { code, out } = await run(dir);
    expect(code).toBe(0);
    expect(everything(dir)).toEqual(before);
    expect(out).toMatch(
      /it was there already[\s\S]*LANYARD_HOSTS .*\(was there\)[\s\S]*GRAFANA_PASSWORD .*\(was there\)/,
    );
    expect(out).toMatch(/certificates in .* were there already/);
  });

  test('what stands in .env stays, and what is empty is filled in', async () => {
    const dir = newDir();
    writeFileSync(join(dir, '.env'), `# mine\nLITELLM_MASTER_KEY=${STRONG}\nGRAFANA_PASSWORD=\nPORT=4001\n`);
    const { out } = await run(dir);
    expect(text(dir)).toMatch(
      new RegExp(
        `^# mine\nLITELLM_MASTER_KEY=${STRONG}\nGRAFANA_PASSWORD=[\\w-]{24}\nPORT=4001\nLANYARD_HOSTS=".*"\n$`,
      ),
    );
    expect(out).toContain('http://localhost:4001');
  });

  test('.env.example, copied, is completed', async () => {
    const dir = newDir();
    const example = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8');
    writeFileSync(join(dir, '.env'), example);
    expect((await run(dir)).code).toBe(0);
    expect(Object.keys(values(dir)).toSorted()).toEqual(['GRAFANA_PASSWORD', 'LANYARD_HOSTS', 'LITELLM_MASTER_KEY']);
    const kept = text(dir)
      .split('\n')
      .filter((line) => example.split('\n').includes(line));
    expect(kept).toHaveLength(example.split('\n').length - 2);
  });

  test('--domain adds a name to .env and to the certificate, under the same authority', async () => {
    const dir = newDir();
    await run(dir);
    const [key, ca] = [values(dir)['LITELLM_MASTER_KEY'], text(dir, 'certs/ca.pem')];
    const argv = ['--domain', 'Lanyard.example.com', '--domain', 'second.example.com'];
    for (const _ of [1, 2]) {
      expect((await run(dir, argv)).code).toBe(0);
      expect(values(dir)['LANYARD_HOSTS']).toBe(
        'gpu-box gpu-box.local localhost 127.0.0.1 192.168.1.20 lanyard.example.com second.example.com',
      );
    }
    expect([values(dir)['LITELLM_MASTER_KEY'], text(dir, 'certs/ca.pem')]).toEqual([key, ca]);
    expect(new X509Certificate(text(dir, 'certs/fullchain.pem')).checkHost('lanyard.example.com')).toBeDefined();
    // Asked for or not, it is the address told from now on.
    expect((await run(dir)).out).toContain('https://lanyard.example.com');
  });

  test('a new address of the machine is told, and what to do', async () => {
    const dir = newDir();
    writeFileSync(join(dir, '.env'), 'LANYARD_HOSTS="gpu-box 192.168.1.7"\n');
    expect((await run(dir)).out).toContain('192.168.1.20 is not among LANYARD_HOSTS');
  });

  test('a certificate of another authority is left alone', async () => {
    const dir = newDir();
    mkdirSync(join(dir, 'certs'));
    execFileSync(
      'openssl',
      [
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
        join(dir, 'certs/privkey.pem'),
        '-out',
        join(dir, 'certs/fullchain.pem'),
      ],
      { stdio: 'pipe' },
    );
    const mine = text(dir, 'certs/fullchain.pem');
    const { code, out } = await run(dir);
    expect([code, text(dir, 'certs/fullchain.pem')]).toEqual([0, mine]);
    expect(out).not.toContain('ca.pem');
  });

  test('what goes before .env, or can be read by others, is told', async () => {
    const dir = newDir();
    await run(dir);
    chmodSync(join(dir, '.env'), 0o644);
    const { out } = await run(dir, [], { env: { LITELLM_MASTER_KEY: STRONG } });
    expect(out).toContain('LITELLM_MASTER_KEY is set in the environment, which goes before .env');
    expect(out).toContain(`chmod 600 ${join(dir, '.env')}`);
    expect(out).not.toContain(STRONG);
  });
});

describe('what it cannot do', () => {
  test.each([
    [['--domain', 'https://lanyard.example.com']],
    [['--domain', '']],
    [['--domain', '10.0.0.1']],
    [['--domain']],
    [['--dommain', 'lanyard.example.com']],
    [['lanyard.example.com']],
  ])('%j ends with 2, the usage, and nothing made', async (argv) => {
    const dir = newDir();
    const { code, out, err } = await run(dir, argv);
    expect([code, out, readdirSync(dir)]).toEqual([2, '', []]);
    expect(err).toMatch(/^lanyard init: .+\n\nusage: lanyard init/);
  });

  test.each([
    [
      'a key that is an example',
      (path: string) => writeFileSync(path, 'LITELLM_MASTER_KEY=sk-1234\n'),
      'is an example, not a secret',
    ],
    ['an open quote', (path: string) => writeFileSync(path, 'A="1\n'), 'see whether every quote in it closes'],
    ['a symbolic link', (path: string) => symlinkSync('elsewhere', path), 'it is a symbolic link'],
    ['a directory', (path: string) => mkdirSync(path), 'it is a directory'],
    ['a lock that was left', (path: string) => writeFileSync(`${path}.new`, ''), 'left by a start that was killed'],
  ])('%s in the place of .env ends with 1, the reason, and nothing made', async (_, place, reason) => {
    const dir = newDir();
    place(join(dir, '.env'));
    const before = readdirSync(dir);
    const { code, out, err } = await run(dir);
    expect([code, out]).toEqual([1, '']);
    expect(err).toContain(reason);
    expect(err).not.toContain('sk-1234');
    expect(readdirSync(dir)).toEqual(before);
  });

  test.skipIf(process.getuid?.() === 0)('a folder it may not write', async () => {
    const dir = newDir();
    chmodSync(dir, 0o500);
    const { code, err } = await run(dir);
    expect([code, readdirSync(dir)]).toEqual([1, []]);
    expect(err).toContain('this user may not write there');
  });

  test('a certificate of one’s own that nobody can read stays, and that is said', async () => {
    const dir = newDir();
    mkdirSync(join(dir, 'certs'));
    writeFileSync(join(dir, 'certs', 'fullchain.pem'), 'hello');
    const { code, out, err } = await run(dir);
    expect(code).toBe(0);
    expect(out).toContain('were there already');
    expect(err).toContain('it is over, or cannot be read');
    expect(readFileSync(join(dir, 'certs', 'fullchain.pem'), 'utf8')).toBe('hello');
  });

  test('certificates that cannot be made: .env is whole, and the reason is told, and what to do', async () => {
    const dir = newDir();
    writeFileSync(join(dir, 'certs'), 'a file');
    const { code, err } = await run(dir);
    expect(code).toBe(1);
    expect(err).toMatch(/no certificates were made: certs: .*\nThen run this again\./);
    expect(Object.keys(values(dir))).toHaveLength(3);
  });

  test('two at once end with one set of secrets', async () => {
    const dir = newDir();
    const codes = await Promise.all(Array.from({ length: 4 }, async () => (await run(dir)).code));
    expect(codes).toEqual([0, 0, 0, 0]);
    expect(text(dir).match(/=/g)).toHaveLength(3);
    expect(readdirSync(dir).toSorted()).toEqual(['.env', 'certs']);
  });
});
