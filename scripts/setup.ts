// What `npm test` needs beside npm's own packages: the servers and tools below, which the tests run for real, and (where
// python3 can have them) a few Python packages in `.cache/python`. Looks first and is done in a moment when all is there;
// says what it does before it does it; stops with the one command to run where it may not install anything itself.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The official SDK and what most scripts use beside it, for the clients' tests; a parser of nginx's configuration. */
const PYTHON_PACKAGES = { openai: '3.22.1', requests: '2.34.2', crossplane: '0.5.8' };
const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** The program, and the package it comes in with apt and with Homebrew. */
const PROGRAMS = [
  { program: 'redis-server', apt: 'redis-server', brew: 'redis' },
  { program: 'nginx', apt: 'nginx', brew: 'nginx' },
  // The server, with initdb: the tests start their own.
  { program: 'postgres', apt: 'postgresql', brew: 'postgresql@17' },
  // promtool comes with it.
  { program: 'prometheus', apt: 'prometheus', brew: 'prometheus' },
  { program: 'docker-compose', apt: 'docker-compose', brew: 'docker-compose' },
  { program: 'openssl', apt: 'openssl', brew: 'openssl' },
  { program: 'curl', apt: 'curl', brew: 'curl' },
  { program: 'wget', apt: 'wget', brew: 'wget' },
  // The bench's load.
  { program: 'wrk', apt: 'wrk', brew: 'wrk' },
] as const;

type Program = (typeof PROGRAMS)[number];

/** postgresql-common reads this folder before it makes a cluster (its createcluster.conf, `include_dir`). */
const NO_CLUSTER = '/etc/postgresql-common/createcluster.d/lanyard-setup.conf';

installPrograms(PROGRAMS.filter(({ program }) => !installed(program)));
installPythonPackages();

function installPrograms(missing: readonly Program[]): void {
  if (missing.length === 0) return;
  const names = missing.map(({ program }) => program).join(' and ');
  const commands = waysToInstall(missing);
  if (commands === undefined) stop(`The tests run ${names} for real. Install ${names} and run this again.`);
  const shown = commands.map((command) => command.map(quoted).join(' ')).join(' && ');
  if (!mayRun(commands)) stop(`The tests run ${names} for real. Install what is missing with:\n\n    ${shown}\n`);
  say(`The tests run ${names} for real; installing with: ${shown}`);
  for (const [file, ...args] of commands) {
    // A package list that could not be refreshed may still be good enough.
    if (!run(file as string, args) && !args.includes('update'))
      stop(`That failed. Install ${names} and run this again.`);
  }
  const still = missing.filter(({ program }) => !installed(program));
  if (still.length > 0) stop(`Installed, but not found: ${still.map(({ program }) => program).join(', ')}`);
}

/** The commands in order, as an administrator would type them; undefined on a system we know no way for. */
function waysToInstall(missing: readonly Program[]): string[][] | undefined {
  if (installed('apt-get')) {
    // A package that asks a question would hang a pipeline.
    const apt = ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get'];
    const root = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
    const packages = missing.map(({ apt }) => apt);
    const install = [
      [...root, ...apt, 'update', '-q'],
      [...root, ...apt, 'install', '-y', '-q', '--no-install-recommends', ...packages],
    ];
    if (!packages.includes('postgresql')) return install;
    // Debian's package makes a cluster and starts it, on 5432 and at every boot. Only for this installation: whoever installs
    // another version later may want just that.
    return [
      [...root, 'mkdir', '-p', dirname(NO_CLUSTER)],
      [...root, 'sh', '-c', `echo create_main_cluster = false > ${NO_CLUSTER}`],
      ...install,
      [...root, 'rm', NO_CLUSTER],
    ];
  }
  if (installed('brew')) return [['brew', 'install', ...missing.map(({ brew }) => brew)]];
  return undefined;
}

/** As a shell wants it, for those who copy it. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word}'`;
}

/** sudo only where it asks for no password: this must not hang in a pipeline. */
function mayRun(commands: readonly string[][]): boolean {
  if (commands[0]?.[0] !== 'sudo') return true;
  return installed('sudo') && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0;
}

/** Tests that need them run where this succeeded and say that they were left out elsewhere. */
function installPythonPackages(): void {
  const folder = join(ROOT, '.cache', 'python');
  const wanted = Object.entries(PYTHON_PACKAGES).map(([name, version]) => `${name}==${version}`);
  if (hasPackages(folder)) return;
  if (!installed('python3')) {
    say('No python3: the tests that need it are left out.');
    return;
  }
  say(`Making .cache/python with ${wanted.join(', ')} for the tests.`);
  rmSync(folder, { recursive: true, force: true });
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--retries', '1', '--timeout', '15'];
  const made =
    run('python3', ['-m', 'venv', folder]) &&
    run(join(folder, 'bin', 'python'), [...pip, ...wanted]) &&
    hasPackages(folder);
  if (made) return;
  rmSync(folder, { recursive: true, force: true });
  say('python3 could not have them (no venv module, or no network): the tests that need them are left out.');
}

/** By their metadata's names, because importing them takes a second. */
function hasPackages(folder: string): boolean {
  const lib = join(folder, 'lib');
  if (!existsSync(join(folder, 'bin', 'python')) || !existsSync(lib)) return false;
  return Object.entries(PYTHON_PACKAGES).every(([name, version]) =>
    readdirSync(lib).some((python) => existsSync(join(lib, python, 'site-packages', `${name}-${version}.dist-info`))),
  );
}

/**
 * Debian keeps servers in /usr/sbin, which is not on every user's PATH, and PostgreSQL's programs by version. (So does
 * test/stage/postgres.ts.)
 */
function installed(program: string): boolean {
  const folders = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    '/usr/sbin',
    '/usr/local/sbin',
    '/opt/homebrew/bin',
    ...versions('/usr/lib/postgresql'),
    ...versions('/opt/homebrew/opt'),
    ...versions('/usr/local/opt'),
  ];
  return folders.some((folder) => existsSync(join(folder, program)));
}

/** `bin` of each version of PostgreSQL that has a folder there. */
function versions(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((entry) => /^(?:postgresql@)?\d+$/.test(entry))
    .map((entry) => join(folder, entry, 'bin'));
}

function run(file: string, args: readonly string[]): boolean {
  return spawnSync(file, args, { stdio: 'inherit' }).status === 0;
}

function say(text: string): void {
  process.stdout.write(`setup: ${text}\n`);
}

function stop(text: string): never {
  process.stderr.write(`setup: ${text}\n`);
  process.exit(1);
}
