// The steps of OPERATIONS.md for a machine with systemd, run in a box: what they put to its place is what nginx.conf and the
// metric read, and the crontab's line renews it there.
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { newDir } from '../stage/lanyard.ts';
import { readPage } from './page.ts';
import { ROOT } from './stage.ts';

const DAY_MS = 86_400_000;
const PAGE = readFileSync(join(ROOT, 'docs/OPERATIONS.md'), 'utf8');

/** The blocks of a kind under a heading. */
function blocksUnder(heading: string, kind: string): string[] {
  const section = PAGE.split(new RegExp(`^## ${RegExp.escape(heading)}$`, 'm'))[1]?.split(/^## /m)[0] ?? '';
  return readPage(section)
    .blocks.filter((block) => block.kind === kind)
    .map(({ text }) => text);
}

/** A machine: its `/etc`, and the clone in `/opt/lanyard`. What a test must not do is only written down. */
function openBox() {
  const dir = newDir();
  const clone = join(dir, 'opt/lanyard');
  for (const folder of [clone, join(dir, 'etc/nginx'), join(dir, 'etc/systemd/system'), join(dir, 'bin')]) {
    mkdirSync(folder, { recursive: true });
  }
  for (const name of ['deploy', 'config', 'certs', 'nginx.conf']) {
    cpSync(join(ROOT, name), join(clone, name), { recursive: true, filter: (from) => !from.endsWith('.pem') });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(clone, 'node_modules'));
  const bin = (name: string, line: string): void =>
    writeFileSync(join(dir, 'bin', name), `#!/bin/sh\n${line}\n`, { mode: 0o755 });
  const calls = join(dir, 'calls');
  for (const name of ['apt-get', 'npm', 'systemctl', 'nginx']) bin(name, `echo "\${0##*/} $*" >> '${calls}'`);
  bin('npx', `shift; exec '${process.execPath}' '${join(ROOT, 'src/main.ts')}' "$@"`);
  const here = (path: string): string => path.replaceAll(/(?<![\w.])\/(?=etc\/|opt\/)/g, `${dir}/`);
  return {
    here,
    run: (text: string): void => {
      const env = { PATH: `${join(dir, 'bin')}:${process.env['PATH'] ?? ''}`, HOME: dir };
      execFileSync('sh', ['-euc', here(text)], { cwd: clone, env, stdio: 'pipe' });
    },
    calls: (): string[] => readFileSync(calls, 'utf8').trim().split('\n'),
    leaf: (): X509Certificate => new X509Certificate(readFileSync(here('/etc/lanyard/certs/fullchain.pem'))),
  };
}

test("with systemd, the certificate and its renewals are where nginx and the gateway's metric look", () => {
  const { here, run, calls, leaf } = openBox();
  for (const block of blocksUnder('Installing with systemd', 'sh host').slice(0, 2)) run(block);

  const conf = readFileSync(here('/etc/nginx/nginx.conf'), 'utf8');
  const files = [...conf.matchAll(/^ *ssl_certificate(?:_key)? (\S+);$/gm)].map(([, file = '']) => file);
  expect(files).toEqual(['/etc/lanyard/certs/fullchain.pem', '/etc/lanyard/certs/privkey.pem']);
  for (const file of files) expect(existsSync(here(file)), file).toBe(true);
  expect(blocksUnder('Installing with systemd', 'yaml').join('')).toContain(`certificates: [${files[0]}]`);
  // The metric's reader is another user; the keys are nobody else's.
  const mode = (file: string): number => statSync(here(`/etc/lanyard/certs/${file}`)).mode & 0o777;
  expect([mode('.'), mode('fullchain.pem'), mode('privkey.pem'), mode('ca-key.pem')]).toEqual([
    0o755, 0o644, 0o600, 0o600,
  ]);

  const cron = blocksUnder('Certificate', 'cron')[0] ?? '';
  const weekly = cron.replace(/^(?:\S+ ){5}/, '');
  const first = leaf();
  run(weekly);
  expect(leaf().serialNumber, 'it is good for long').toBe(first.serialNumber);

  run(`cd /etc/lanyard/certs/
openssl req -new -key privkey.pem -subj /CN=old -addext 'subjectAltName = DNS:lanyard.example.com, DNS:gpu.lan' |
  openssl x509 -req -days 20 -CA ca.pem -CAkey ca-key.pem -copy_extensions copy -out fullchain.pem`);
  run(weekly);
  expect(leaf().validToDate.getTime() - Date.now()).toBeGreaterThan(300 * DAY_MS);
  expect(leaf().subjectAltName).toContain('lanyard.example.com');
  expect(leaf().subjectAltName, 'names it had stay').toContain('gpu.lan');
  expect(leaf().checkIssued(new X509Certificate(readFileSync(here('/etc/lanyard/certs/ca.pem'))))).toBe(true);
  expect(calls().slice(-2)).toEqual(['systemctl reload nginx', 'systemctl reload nginx']);
});
