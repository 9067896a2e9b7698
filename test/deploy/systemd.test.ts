// deploy/lanyard.service and deploy/lanyard.socket: what systemd itself says of them, and that they agree with the program. Run
// by no systemd here; that a socket outlives the gateway is shown in flows/restart.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SERVICE = readFileSync(`${ROOT}deploy/lanyard.service`, 'utf8');
const SOCKET = readFileSync(`${ROOT}deploy/lanyard.socket`, 'utf8');
const ANALYZE = '/usr/bin/systemd-analyze';

const valueOf = (unit: string, name: string): string => new RegExp(`^${name}=(.*)$`, 'm').exec(unit)?.[1] ?? '';

/** The units in a folder of their own, with the clone and the environment where they say. */
function installed(service: string): { folder: string; unit: string } {
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-units-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(`${folder}/etc`);
  symlinkSync(ROOT, `${folder}/clone`);
  const unit = `${folder}/lanyard.service`;
  writeFileSync(
    unit,
    service.replaceAll('/opt/lanyard', `${folder}/clone`).replaceAll('/etc/lanyard', `${folder}/etc`),
  );
  writeFileSync(`${folder}/lanyard.socket`, SOCKET);
  return { folder, unit };
}

describe.skipIf(!existsSync(ANALYZE))('systemd-analyze', () => {
  const verify = (service: string): string => {
    const { folder, unit } = installed(service);
    const env = { ...process.env, SYSTEMD_UNIT_PATH: `${folder}:` };
    const { status, stderr } = spawnSync(ANALYZE, ['verify', '--man=no', unit], { env, encoding: 'utf8' });
    return status === 0 && stderr === '' ? 'ok' : stderr;
  };

  test('verify finds nothing to complain of', () => {
    expect(verify(SERVICE)).toBe('ok');
  });

  test.for([
    ['a setting that does not exist', 'KillMode=', 'KilMode=', "Unknown key 'KilMode'"],
    ['a program that is not there', '.bin/node', '.bin/nowhere', 'nowhere is not executable'],
    ['a unit that is not there', '=lanyard.socket', '=missing.socket', 'missing.socket'],
  ] as const)('verify would find %s', ([, from, to, words]) => {
    expect(SERVICE).toContain(from);
    expect(verify(SERVICE.replaceAll(from, to))).toContain(words);
  });

  test('the service may do little: an exposure of at most 2.0 of 10', () => {
    const { unit } = installed(SERVICE);
    const args = ['security', '--offline=true', '--threshold=20', '--no-pager', unit];
    expect(execFileSync(ANALYZE, args, { encoding: 'utf8' })).toContain('Overall exposure level');
    const { unit: open } = installed(SERVICE.replaceAll(/^(?:Protect|Restrict|Private|System|Capability).*$/gm, ''));
    expect(spawnSync(ANALYZE, [...args.slice(0, -1), open]).status).not.toBe(0);
  });
});

describe('the units agree with the program', () => {
  const config = parseConfig('listen: [{ port: 4000 }]', 'lanyard.yaml', {});

  test('the socket is the default listener', () => {
    expect(valueOf(SOCKET, 'ListenStream')).toBe(`${config.listen[0]?.host}:${config.listen[0]?.port}`);
  });

  test('there is time to drain, and there are files for all connections', () => {
    expect(Number(valueOf(SERVICE, 'TimeoutStopSec'))).toBeGreaterThan(config.limits.drain_ms / 1000 + 5);
    expect(Number(valueOf(SERVICE, 'LimitNOFILE'))).toBeGreaterThan(2 * config.limits.connections_max);
  });

  test('what it starts is there', () => {
    const words = valueOf(SERVICE, 'ExecStart').replaceAll('/opt/lanyard/', ROOT).split(' ');
    const [node = '', main = '', command] = words.filter((word) => !word.startsWith('--'));
    expect([existsSync(node), existsSync(main), command]).toEqual([true, true, 'serve']);
    const flags = words.filter((word) => word.startsWith('--'));
    expect(spawnSync(node, [...flags, '--eval', '0']).status, flags.join(' ')).toBe(0);
  });
});
