// bin/lanyard.js: `npm start` and `npx lanyard` run on the pinned Node.js, whichever runs them and whatever npm left out.
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import { KEY } from '../stage/gateway.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const OLD = findOlderNode();

/** The clone as an older npm leaves it: everything is installed, but `node` is not among the links. */
function clone(leave_out: RegExp = /^$/): string {
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-clone-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  cpSync(`${ROOT}bin`, `${folder}/bin`, { recursive: true });
  for (const name of ['src', 'package.json']) symlinkSync(`${ROOT}${name}`, `${folder}/${name}`);
  mkdirSync(`${folder}/node_modules/.bin`, { recursive: true });
  for (const name of readdirSync(`${ROOT}node_modules`)) {
    if (name !== '.bin' && !leave_out.test(name))
      symlinkSync(`${ROOT}node_modules/${name}`, `${folder}/node_modules/${name}`);
  }
  return folder;
}

test('the link that npm lost is mended', () => {
  const folder = clone();
  expect(spawnSync(process.execPath, [`${folder}/bin/lanyard.js`, 'version'], { encoding: 'utf8' }).stdout.trim()).toBe(
    manifest.version,
  );
  const link = `${folder}/node_modules/.bin/node`;
  expect(spawnSync(link, ['--version'], { encoding: 'utf8' }).stdout.trim()).toBe(process.version);
});

describe.skipIf(OLD === undefined)('with an older Node.js on PATH', () => {
  test('the pinned one runs it', () => {
    const { stdout, stderr, status } = spawnSync(OLD ?? '', [`${clone()}/bin/lanyard.js`, 'version'], {
      encoding: 'utf8',
    });
    expect([stdout.trim(), stderr, status]).toEqual([manifest.version, '', 0]);
  });

  test('an exit status comes through', () => {
    expect(spawnSync(OLD ?? '', [`${clone()}/bin/lanyard.js`, 'nonsense']).status).toBe(2);
  });

  test('SIGTERM drains the gateway, and its end is the end', async () => {
    const env = { PATH: process.env['PATH'] ?? '', LITELLM_MASTER_KEY: KEY, PORT: '0' };
    const child = spawn(OLD ?? '', [`${clone()}/bin/lanyard.js`, 'serve', '--config', `${ROOT}config/lanyard.yaml`], {
      env,
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (said += bytes.toString()));
    const ended = new Promise((resolve) => child.once('close', resolve));
    await expect.poll(() => said, { timeout: 15_000 }).toContain('try it');
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
    expect(said).toContain('"stopped"');
  });

  test('without an install one line says what to do', () => {
    const { stderr, status } = spawnSync(OLD ?? '', [`${clone(/^node-/)}/bin/lanyard.js`], { encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /^lanyard: Node\.js 24\.12 or newer is needed, and this is [\d.]+\. `npm ci` in .* brings the right one\.\n$/,
    );
  });
});

function findOlderNode(): string | undefined {
  const all = (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, 'node'));
  return all.find((file) => {
    if (!existsSync(file) || realpathSync(file) === realpathSync(process.execPath)) return false;
    const [major = 0] = spawnSync(file, ['-p', 'process.versions.node'], { encoding: 'utf8' })
      .stdout.split('.')
      .map(Number);
    return major >= 16 && major < 24;
  });
}
