// What runs the examples: a program that is found, or a folder that is built. What they build is kept in .cache, and what
// they download in the user's own caches (~/go, ~/.cargo), so that a second run does neither.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const CACHE = join(ROOT, '.cache');
const BUILD_MS = 600_000;

export type Language = 'curl' | 'python' | 'typescript' | 'go' | 'rust';

interface Toolchain {
  readonly program: string | undefined;
  /** What to say where there is none. */
  readonly missing: string;
  /** What a build starts from, and what has to be done. */
  readonly build?: { readonly manifest: string; readonly args: readonly string[] };
  /** The command that runs an example's file. */
  readonly command: (program: string, file: string) => readonly string[];
}

const python = join(CACHE, 'python', 'bin', 'python');

export const TOOLCHAINS: Readonly<Record<Language, Toolchain>> = {
  curl: {
    program: find('curl'),
    missing: 'no curl',
    command: (_, file) => ['sh', file],
  },
  python: {
    program: existsSync(python) ? python : undefined,
    missing: 'no .cache/python with openai and requests (`node scripts/setup.ts` makes it where python3 can)',
    command: (program, file) => [program, file],
  },
  typescript: {
    program: process.execPath,
    missing: 'no node',
    command: (program, file) => [program, file],
  },
  go: {
    program: find('go'),
    missing: 'no go',
    // A folder per program, and a program named as its folder.
    build: { manifest: 'examples/go/go.mod', args: ['build', '-mod=readonly', '-o', join(CACHE, 'go') + '/', './...'] },
    command: (_, file) => [join(CACHE, 'go', file.split('/').at(-2) ?? '')],
  },
  rust: {
    program: find('cargo'),
    missing: 'no cargo',
    build: { manifest: 'examples/rust/Cargo.toml', args: ['build', '--locked', '--quiet'] },
    command: (_, file) => [join(CACHE, 'cargo', 'debug', file.split('/').at(-1)?.replace(/\.rs$/, '') ?? '')],
  },
};

/** Builds what is to be built. Why it could not be, or undefined. */
export function build({ program, build: wanted }: Toolchain): string | undefined {
  if (program === undefined || wanted === undefined) return undefined;
  const from = performance.now();
  const { status, error, stdout, stderr } = spawnSync(program, wanted.args, {
    cwd: join(ROOT, dirname(wanted.manifest)),
    // Without symbols for a debugger the build takes less time. GOTOOLCHAIN: no other Go is to be fetched.
    env: {
      ...process.env,
      CARGO_TARGET_DIR: join(CACHE, 'cargo'),
      CARGO_PROFILE_DEV_DEBUG: '0',
      GOTOOLCHAIN: 'local',
    },
    encoding: 'utf8',
    timeout: BUILD_MS,
  });
  if (status !== 0) {
    return `${wanted.manifest} was not built (a first build downloads what its lock file names):\n${error?.message ?? ''}${stdout}${stderr}`;
  }
  console.log(`built     ${wanted.manifest} in ${((performance.now() - from) / 1000).toFixed(1)} s`);
  return undefined;
}

/** On PATH, or where Go's and Rust's own installers put it, which is not on every shell's. */
function find(program: string): string | undefined {
  const usual = ['/usr/local/go/bin', join(homedir(), '.cargo', 'bin')];
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...usual];
  return folders.map((folder) => join(folder, program)).find((file) => existsSync(file));
}
