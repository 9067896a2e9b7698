// deploy/certs.sh run again: what is good it leaves, what ends soon or lacks a name it makes anew by the same authority, and
// what it did not make it does not touch.
import { createPrivateKey } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { caOf, certs, days, everything, leafOf, madeFolder, newFolder, openssl, read } from './run-certs.ts';

describe('run again', () => {
  test('it leaves a certificate that is good and has the names, however they are written', () => {
    const folder = madeFolder();
    const before = everything(folder);
    for (const names of [
      ['a.lan'],
      ['A.LAN'],
      ['localhost', 'a.lan', '::1', '0:0:0:0:0:0:0:1'],
      [' a.lan   localhost '],
    ]) {
      expect(certs(folder, names)).toMatchObject({ status: 0, words: expect.stringContaining('left as it is') });
      expect(everything(folder)).toEqual(before);
    }
  });

  test('it makes one with a new name, by the same authority and for the same key', () => {
    const folder = madeFolder();
    const before = everything(folder);
    const { status, words } = certs(folder, ['a.lan', 'b.lan']);
    expect([status, words]).toEqual([0, expect.stringContaining('nginx -s reload')]);
    expect(words).not.toContain('--cacert');
    const after = everything(folder);
    expect(after).toEqual({ ...before, 'fullchain.pem': after['fullchain.pem'] });
    expect(after['fullchain.pem']).not.toBe(before['fullchain.pem']);
    expect(leafOf(folder).checkPrivateKey(createPrivateKey(after['privkey.pem']!))).toBe(true);
    expect(leafOf(folder).checkHost('b.lan')).toBe('b.lan');
    expect(leafOf(folder).verify(caOf(folder).publicKey)).toBe(true);
  });

  test('the names it had stay, each once, until it is moved away', () => {
    const folder = newFolder();
    const had = ['a.lan', '*.b.lan', '10.0.0.5', 'fd00::20'];
    for (const names of [had, ['c.lan'], ['d.lan', 'fd00::20']]) expect(certs(folder, names).status).toBe(0);
    const leaf = leafOf(folder);
    const names = leaf.subjectAltName?.split(', ') ?? [];
    expect(new Set(names).size).toBe(names.length);
    for (const name of ['a.lan', 'x.b.lan', 'c.lan', 'd.lan', 'localhost'])
      expect(leaf.checkHost(name), name).toBeTruthy();
    for (const address of ['10.0.0.5', 'fd00::20', '127.0.0.1', '::1']) expect(leaf.checkIP(address)).toBe(address);
    for (const name of ['fullchain.pem', 'privkey.pem']) rmSync(join(folder, name));
    certs(folder, ['c.lan']);
    expect(leafOf(folder).checkHost('a.lan')).toBeUndefined();
  });

  test.for([
    [29, 397],
    [31, 31],
  ])('one that ends in %i days is one of %i days afterwards', ([left, afterwards]) => {
    const folder = madeFolder();
    sign(folder, left!);
    expect(days(leafOf(folder))).toBe(left);
    expect(certs(folder, ['a.lan']).status).toBe(0);
    expect(days(leafOf(folder))).toBe(afterwards);
    expect(openssl('verify', '-CAfile', `${folder}/ca.pem`, `${folder}/fullchain.pem`)).toMatch(/: OK\n$/);
  });

  test('without privkey.pem it makes a new key, and a certificate for it', () => {
    const folder = madeFolder();
    const before = everything(folder);
    rmSync(join(folder, 'privkey.pem'));
    expect(certs(folder, ['a.lan']).status).toBe(0);
    expect(read(folder, 'privkey.pem')).not.toBe(before['privkey.pem']);
    expect(leafOf(folder).checkPrivateKey(createPrivateKey(read(folder, 'privkey.pem')))).toBe(true);
  });

  test('without the authority’s key a good certificate is good, and a new one is told to need it', () => {
    const folder = madeFolder();
    rmSync(join(folder, 'ca-key.pem'));
    const before = everything(folder);
    expect(certs(folder, ['a.lan']).status).toBe(0);
    expect(certs(folder, ['b.lan'])).toEqual({
      status: 1,
      words: expect.stringContaining('put it back for the moment'),
    });
    expect(everything(folder)).toEqual(before);
  });
});

describe('what it did not make it does not touch:', () => {
  const PEM = readFileSync(fileURLToPath(new URL('../fixtures/self-signed.pem', import.meta.url)), 'utf8');
  const part = (kind: RegExp): string => kind.exec(PEM)?.[0] ?? '';
  const CERTIFICATE = part(/-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----\n/);
  const KEY = part(/-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*?-----END [A-Z ]*PRIVATE KEY-----\n/);

  test.for([
    ['a certificate of somebody else', { 'fullchain.pem': CERTIFICATE, 'privkey.pem': KEY }, 0, 'not made here'],
    ['what is no certificate', { 'fullchain.pem': 'hello\n', 'privkey.pem': KEY }, 0, 'cannot be read'],
    ['a key alone', { 'privkey.pem': KEY }, 1, 'without fullchain.pem'],
    ['an authority’s key alone', { 'ca-key.pem': KEY }, 1, 'without ca.pem'],
    ['an authority without its key', { 'ca.pem': CERTIFICATE }, 1, 'not there to sign'],
    ['an authority with another key', { 'ca.pem': CERTIFICATE, 'ca-key.pem': 'hello\n' }, 1, 'does not belong'],
  ] as const)('%s', ([, files, expected, words]) => {
    const folder = newFolder();
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
    const before = everything(folder);
    expect(Object.values(before)).not.toContain('');
    expect(certs(folder, ['a.lan'])).toEqual({ status: expected, words: expect.stringContaining(words) });
    expect(everything(folder)).toEqual(before);
  });

  test('a certificate of somebody else beside our authority', () => {
    const folder = madeFolder();
    writeFileSync(join(folder, 'fullchain.pem'), CERTIFICATE);
    writeFileSync(join(folder, 'privkey.pem'), KEY);
    const before = everything(folder);
    expect(certs(folder, ['b.lan'])).toEqual({ status: 0, words: expect.stringContaining('not made here') });
    expect(everything(folder)).toEqual(before);
  });

  test('another key beside our certificate', () => {
    const folder = madeFolder();
    writeFileSync(join(folder, 'privkey.pem'), KEY);
    const before = everything(folder);
    expect(certs(folder, ['b.lan'])).toEqual({ status: 1, words: expect.stringContaining('does not belong') });
    expect(everything(folder)).toEqual(before);
  });
});

/** In place of the certificate one of the same authority, for a.lan and this many days. */
function sign(folder: string, days_left: number): void {
  const extensions = join(folder, 'extensions');
  writeFileSync(extensions, 'subjectAltName = DNS:a.lan, DNS:localhost, IP:127.0.0.1, IP:::1\n');
  const request = join(folder, 'request');
  openssl('req', '-new', '-key', `${folder}/privkey.pem`, '-subj', '/CN=a.lan', '-out', request);
  const by = ['-CA', `${folder}/ca.pem`, '-CAkey', `${folder}/ca-key.pem`, '-set_serial', '7'];
  const how = ['-days', String(days_left), '-extfile', extensions, '-out', `${folder}/fullchain.pem`];
  openssl('x509', '-req', '-in', request, ...by, ...how);
  rmSync(extensions);
  rmSync(request);
}
