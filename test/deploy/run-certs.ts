// deploy/certs.sh run on folders of a test's own, and what it made there.
import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { findProgram } from '../stage/program.ts';

const SCRIPT = fileURLToPath(new URL('../../deploy/certs.sh', import.meta.url));

/** Every shell at hand: `echo` and `set -C` are not the same in all. */
export const SHELLS = [
  'sh',
  ...['dash', 'bash'].filter((name) => existsSync(`/bin/${name}`) || existsSync(`/usr/bin/${name}`)),
];

export function certs(
  folder: string,
  names: readonly string[] = [],
  shell = 'sh',
  env: NodeJS.ProcessEnv = process.env,
): { readonly status: number | null; readonly words: string } {
  const { status, stdout, stderr } = spawnSync(shell, [SCRIPT, folder, ...names], { encoding: 'utf8', env });
  return { status, words: stdout + stderr };
}

/** The same after `before`, a line of shell: it and what it starts know the script's process id as $SCRIPT, the folder as $FOLDER. */
export function certsAfter(
  before: string,
  folder: string,
  names: readonly string[],
  shell = 'sh',
  env: NodeJS.ProcessEnv = process.env,
): { readonly signal: NodeJS.Signals | null; readonly status: number | null; readonly words: string } {
  const line = `export SCRIPT=$$ FOLDER="$2"; ${before}; exec "$0" "$@"`;
  const args = ['-c', line, shell, SCRIPT, folder, ...names];
  const { signal, status, stdout, stderr } = spawnSync('sh', args, { encoding: 'utf8', env });
  return { signal, status, words: stdout + stderr };
}

export function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-certs-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

let made: string | undefined;

/** A folder with an authority and a certificate for a.lan, fresh for each test. */
export function madeFolder(): string {
  if (made === undefined) {
    const first = mkdtempSync(join(tmpdir(), 'lanyard-certs-'));
    process.once('exit', () => rmSync(first, { recursive: true, force: true }));
    const { status, words } = certs(first, ['a.lan']);
    if (status !== 0) throw new Error(words);
    made = first;
  }
  const folder = newFolder();
  cpSync(made, folder, { recursive: true });
  return folder;
}

export const read = (folder: string, name: string): string => readFileSync(join(folder, name), 'utf8');
export const leafOf = (folder: string): X509Certificate => new X509Certificate(read(folder, 'fullchain.pem'));
export const caOf = (folder: string): X509Certificate => new X509Certificate(read(folder, 'ca.pem'));

/** Every file, by name. */
export function everything(folder: string): Record<string, string> {
  return Object.fromEntries(readdirSync(folder).map((name) => [name, read(folder, name)]));
}

export function openssl(...args: string[]): string {
  return execFileSync(findProgram('openssl'), args, { encoding: 'utf8', stdio: 'pipe' });
}

/** How long it is valid in all. */
export function days({ validFromDate, validToDate }: X509Certificate): number {
  return (validToDate.getTime() - validFromDate.getTime()) / 86_400_000;
}
