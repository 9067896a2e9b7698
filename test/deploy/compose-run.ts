// What docker-compose.yml starts, started without containers: its own commands, scripts and configurations, with the folders,
// names and addresses of the containers replaced by some of this machine.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { readCompose, scriptOf, type Service } from './compose-rules.ts';

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const { services } = readCompose(readFileSync(path('docker-compose.yml'), 'utf8'));

type Change = readonly [from: string | RegExp, to: string];

export function serviceOf(name: string): Service {
  const found = services[name];
  if (found === undefined) throw new Error(`docker-compose.yml has no service ${name}`);
  return found;
}

/** A text with everything replaced that is to be; each must be there. */
export function put(text: string, changes: readonly Change[]): string {
  let changed = text;
  for (const [from, to] of changes) {
    const next = changed.replaceAll(typeof from === 'string' ? from : new RegExp(from, `g${from.flags}`), () => to);
    if (next === changed) throw new Error(`there is no ${String(from)} in: ${text.slice(0, 200)}`);
    changed = next;
  }
  return changed;
}

/** What the script of a service prints, both streams in one. @throws with what it said, when it fails */
export function runScript(name: string, changes: readonly Change[], env: Readonly<Record<string, string>>): string {
  const service = serviceOf(name);
  const [shell = '', ...flags] = service.entrypoint ?? [];
  const { status, stdout } = spawnSync(shell, [...flags, `exec 2>&1\n${put(scriptOf(service), changes)}`], {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stdout);
  return stdout;
}

/** What nginx would be started with. */
export function nginxConfOf(conf: string, hosts: string): string {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-conf-'));
  try {
    const [from, to] = [join(dir, 'from'), join(dir, 'to')];
    writeFileSync(from, conf);
    const changes: Change[] = [
      ['/etc/lanyard/nginx.conf', from],
      ['/tmp/nginx.conf', to],
      [/exec nginx .*/, ''],
    ];
    runScript('nginx', changes, { LANYARD_HOSTS: hosts });
    return readFileSync(to, 'utf8');
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** The volumes that the service `certificates` fills, and `own` for ./certs, in one folder. */
export function openVolumes() {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-volumes-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  for (const name of ['authority', 'certs', 'public']) mkdirSync(join(dir, name));
  return {
    dir,
    read: (name: string): string => readFileSync(join(dir, name), 'utf8'),
    files: (): Record<string, string[]> =>
      Object.fromEntries(
        ['authority', 'certs', 'public'].map((name) => [name, readdirSync(join(dir, name)).toSorted()]),
      ),
    certify(hosts: string): void {
      const changes: Change[] = [['/etc/lanyard/certs.sh', path('deploy/certs.sh')]];
      for (const name of ['own', 'authority', 'certs', 'public'])
        changes.push([new RegExp(`(?<=[ =])/${name}\\b`), join(dir, name)]);
      runScript('certificates', changes, { LANYARD_HOSTS: hosts });
    },
  };
}

/** `--name value` pairs and the rest of a command, with some of the values replaced. */
export function command(name: string, changes: readonly Change[] = []): readonly string[] {
  return (serviceOf(name).command ?? []).map((word) => {
    const change = changes.find(([from]) => (typeof from === 'string' ? word === from : from.test(word)));
    return change === undefined ? word : word.replace(change[0], () => change[1]);
  });
}

/** Whether a health check of the file, with its port replaced, finds its service healthy. */
export function isHealthy(name: string, port: number): boolean {
  const [kind, program = '', ...args] = serviceOf(name).healthcheck?.test ?? [];
  if (kind !== 'CMD') throw new Error(`the health check of ${name} is none without a shell`);
  const own = args.map((one) => one.replace(/(127\.0\.0\.1):\d+/, `$1:${port}`));
  const file = program === 'node' ? process.execPath : program;
  try {
    execFileSync(file, program === 'redis-cli' ? ['-p', String(port), ...own] : own, {
      stdio: 'pipe',
      timeout: 10_000,
    });
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') throw error;
    return false;
  }
}
