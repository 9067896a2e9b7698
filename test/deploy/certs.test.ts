// deploy/certs.sh, run by every shell at hand: what it makes, and what it says of what it cannot do. What it keeps and what
// it will not touch is in certs-kept.test.ts, how it writes in certs-written.test.ts.
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { caOf, certs, days, leafOf, madeFolder, newFolder, openssl, SHELLS } from './run-certs.ts';

describe.for(SHELLS)('run by %s', (shell) => {
  test('it makes an authority and a certificate that the authority vouches for', () => {
    const folder = join(newFolder(), 'not', 'there', 'yet');
    const names = ['gpu.lan', '192.168.1.20', 'fd00::20', '[FD00::21]', '*.Team.lan'];
    const { status, words } = certs(folder, names, shell);
    expect(status).toBe(0);
    expect(openssl('verify', '-x509_strict', '-CAfile', `${folder}/ca.pem`, `${folder}/fullchain.pem`)).toMatch(
      /: OK\n$/,
    );
    const leaf = leafOf(folder);
    expect(leaf.verify(caOf(folder).publicKey)).toBe(true);
    for (const name of ['gpu.lan', 'any.team.lan', 'localhost']) expect(leaf.checkHost(name), name).toBeDefined();
    for (const ip of ['192.168.1.20', 'fd00::20', 'fd00::21', '127.0.0.1', '::1'])
      expect(leaf.checkIP(ip), ip).toBeDefined();
    expect(leaf.checkHost('other.lan')).toBeUndefined();
    expect(words).toContain(
      'server_name gpu.lan 192.168.1.20 [fd00::20] [fd00::21] *.team.lan localhost 127.0.0.1 [::1];',
    );
  });

  // Of a name nothing may be read as a line, a comment or a variable: by `echo` (dash knows \n), or by openssl's configuration.
  test.for([
    String.raw`x\nIP.77=9.9.9.9`,
    String.raw`x\nIP.77=9.9.9.lan`,
    String.raw`x\nDNS.77`,
    String.raw`a.lan\c`,
    '9.9.9.9#.5',
    '$ENV::HOME.5',
    '-n',
  ])('it refuses the name %s, as it was given', (name) => {
    const folder = join(newFolder(), 'certs');
    expect(certs(folder, ['good.lan', name], shell)).toEqual({
      status: 2,
      words: `certs: "${name}" is neither a name nor an address (no https://, no port; ü is written xn--…)\n`,
    });
    expect(existsSync(folder)).toBe(false);
  });

  test('it writes to a folder whose name has a backslash, and says so', () => {
    const folder = join(newFolder(), String.raw`a\nb`);
    expect(certs(folder, ['a.lan'], shell)).toEqual({
      status: 0,
      words: expect.stringContaining(`certs: made ${folder}/fullchain.pem`),
    });
  });
});

test('the authority can vouch for names only, and the certificate for nobody', () => {
  const made = madeFolder();
  const text = (file: string): string => openssl('x509', '-noout', '-text', '-in', file);
  const ca = text(`${made}/ca.pem`);
  expect(ca).toMatch(/Basic Constraints: critical\s+CA:TRUE, pathlen:0\n/);
  expect(ca).toMatch(/Key Usage: critical\s+Certificate Sign, CRL Sign\n/);
  const leaf = text(`${made}/fullchain.pem`);
  expect(leaf).toMatch(/Basic Constraints: critical\s+CA:FALSE\n/);
  expect(leaf).toMatch(/Key Usage: critical\s+Digital Signature\n/);
  expect(leaf).toMatch(/Extended Key Usage:\s+TLS Web Server Authentication\n/);
  for (const certificate of [ca, leaf]) expect(certificate).toMatch(/NIST CURVE: P-256[^]*ecdsa-with-SHA256/);
});

test('they last as long as browsers take, and have random numbers', () => {
  const made = madeFolder();
  expect(days(leafOf(made))).toBe(397);
  expect(days(caOf(made))).toBe(3650);
  const numbers = [caOf(made), leafOf(made)].map(({ serialNumber }) => serialNumber);
  for (const number of numbers) expect(number.length).toBeGreaterThan(24);
  expect(new Set(numbers).size).toBe(2);
});

test('the keys are the owner’s alone, the certificates everybody’s, and nothing else is left behind', () => {
  const [folder, temporary] = [join(newFolder(), 'certs'), newFolder()];
  certs(folder, ['a.lan'], 'sh', { ...process.env, TMPDIR: temporary });
  const modes = readdirSync(folder).map((name) => [name, (statSync(join(folder, name)).mode & 0o777).toString(8)]);
  expect(Object.fromEntries(modes)).toEqual({
    'ca-key.pem': '600',
    'ca.pem': '644',
    'fullchain.pem': '644',
    'privkey.pem': '600',
  });
  expect((statSync(folder).mode & 0o777).toString(8)).toBe('755');
  expect(readdirSync(temporary)).toEqual([]);
});

test('without names it takes those of this machine', () => {
  const folder = newFolder();
  expect(certs(folder).status).toBe(0);
  const leaf = leafOf(folder);
  const host = hostname().toLowerCase();
  for (const name of [host, `${host.split('.')[0]}.local`, 'localhost'])
    expect(leaf.checkHost(name), name).toBeDefined();
  const mine = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  for (const { family, address } of mine) if (family === 'IPv4') expect(leaf.checkIP(address), address).toBeDefined();
});

test('the words tell every kind of client how to trust it, when it ends, and what becomes of the key', () => {
  const { words } = certs(newFolder(), ['a.lan']);
  for (const wanted of [
    'curl --cacert ca.pem https://a.lan/health',
    'SSL_CERT_FILE',
    'REQUESTS_CA_BUNDLE',
    'NODE_EXTRA_CA_CERTS',
    '--use-system-ca',
    'VS Code',
    'update-ca-certificates',
    'security add-trusted-cert',
    'certutil -addstore',
    'Take ca-key.pem off this machine',
    'nginx -s reload',
  ])
    expect(words).toContain(wanted);
  expect(words).toMatch(/good until \w{3} +\d+ [\d:]+ \d{4} GMT/);
  expect(words.split('\n').every((line) => line.length <= 132)).toBe(true);
});

describe('what it cannot do it says:', () => {
  test.for([
    'https://a.lan',
    'a.lan:8080',
    'a_b.lan',
    '-a.lan',
    'a..lan',
    'münchen.lan',
    'a/b',
    'a;b',
    '$(id)',
    `${'a'.repeat(64)}.lan`,
  ])('the name %s', (name) => {
    const folder = join(newFolder(), 'certs');
    expect(certs(folder, ['good.lan', name])).toEqual({ status: 2, words: expect.stringContaining(`"${name}"`) });
    expect(existsSync(folder)).toBe(false);
  });

  test.for(['300.1.1.1', '1.2.3', 'cafe:80', '1:2:3:4:5:6:7:8:9'])('the address %s', (address) => {
    const folder = join(newFolder(), 'certs');
    expect(certs(folder, [address])).toEqual({ status: 2, words: expect.stringContaining(`no address: ${address} `) });
    expect(existsSync(folder)).toBe(false);
  });

  test('a folder that cannot be', () => {
    const file = join(newFolder(), 'file');
    writeFileSync(file, '');
    expect(certs(`${file}/certs`, ['a.lan'])).toEqual({
      status: 1,
      words: expect.stringContaining('run this with sudo'),
    });
  });

  test('a machine without openssl', () => {
    const empty = newFolder();
    mkdirSync(join(empty, 'bin'));
    const ran = certs(join(empty, 'certs'), ['a.lan'], '/bin/sh', { PATH: join(empty, 'bin') });
    expect(ran).toEqual({ status: 1, words: expect.stringContaining('openssl is not installed') });
  });

  test('an unknown option; --help tells the use', () => {
    expect(certs('--force')).toEqual({ status: 2, words: expect.stringContaining('--help') });
    const { status, words } = certs('--help');
    expect(status).toBe(0);
    expect(words).toMatch(/^Certificates for a LAN:/);
    expect(words).not.toContain('set -e');
  });
});
