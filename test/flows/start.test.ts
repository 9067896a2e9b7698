// The start as a user sees it: what is printed, the curl line that works when pasted, the master key that is made and kept,
// and starts that stop and say why.
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync, symlinkSync } from 'node:fs';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { KEY } from '../stage/gateway.ts';
import { fileIn, newDir, runLanyard, startLanyard } from '../stage/lanyard.ts';

const OPEN = 'listen: [{ port: 0 }]\n';

async function engineOf(models: string[] = ['llama']): Promise<FakeEngine> {
  const engine = await startEngine({ kind: 'vllm', models });
  onTestFinished(() => engine.stop());
  return engine;
}

const fleet = (engine: FakeEngine): string => `${OPEN}backends: { rack: { engine: vllm, url: "${engine.url}" } }\n`;
const shell = promisify(execFile);
const curlLine = (stdout: string): string => /^ {4}(curl .+)$/m.exec(stdout)?.[1] ?? '';

test('it prints where it listens, its backends and models, and a curl line that works when pasted', async () => {
  const engine = await engineOf(["it's/a:model", 'llama']);
  const lanyard = await startLanyard({ yaml: `${fleet(engine)}  \n`, dotenv: `LITELLM_MASTER_KEY=${KEY}\n` });
  const said = lanyard.stdout();
  expect(said).toMatch(/^Lanyard \d+\.\d+\.\d+, started in \d+ ms$/m);
  expect(said).toContain(`listening  http://127.0.0.1:${lanyard.port}  (key required)`);
  expect(said).toContain(`backend    rack  ${engine.url}  up, 2 models`);
  expect(said).toContain("models     it's/a:model, llama");
  expect(said + lanyard.stderr()).not.toContain(KEY);
  // By .env in this folder, by an environment that knows the key, and by one in which it is empty.
  for (const env of [{}, { LITELLM_MASTER_KEY: KEY }, { LITELLM_MASTER_KEY: '' }]) {
    const { stdout } = await shell('sh', ['-c', curlLine(said)], {
      cwd: lanyard.dir,
      env: { PATH: process.env['PATH'] ?? '', ...env },
    });
    expect(JSON.parse(stdout)).toMatchObject({ object: 'chat.completion', model: "it's/a:model" });
  }
});

test.each([
  ['quoted', `LITELLM_MASTER_KEY="${KEY}"\n`],
  ['in single quotes, exported', `export LITELLM_MASTER_KEY='${KEY}'\n`],
  ['with spaces and a carriage return', `LITELLM_MASTER_KEY = ${KEY}\r\n`],
  ['with a comment behind it', `LITELLM_MASTER_KEY=${KEY} # ours\n`],
])('the curl line works with a key that stands in .env %s', async (_name, dotenv) => {
  const lanyard = await startLanyard({ yaml: fleet(await engineOf()), dotenv });
  const { stdout } = await shell('sh', ['-c', curlLine(lanyard.stdout())], {
    cwd: lanyard.dir,
    env: { PATH: process.env['PATH'] ?? '' },
  });
  expect(JSON.parse(stdout)).toMatchObject({ object: 'chat.completion' });
});

test('an open listener needs no key: the curl line has none, and none is made', async () => {
  const engine = await engineOf();
  const lanyard = await startLanyard({ yaml: fleet(engine).replace('port: 0', 'port: 0, auth: open') });
  expect(lanyard.stdout()).toContain('(open: no key asked)');
  expect(curlLine(lanyard.stdout())).not.toContain('Authorization');
  const { stdout } = await shell('sh', ['-c', curlLine(lanyard.stdout())], { cwd: lanyard.dir });
  expect(JSON.parse(stdout)).toMatchObject({ object: 'chat.completion' });
  expect(existsSync(join(lanyard.dir, '.env'))).toBe(false);
});

test('without a master key one is made, kept in .env for its owner only, and used again at the next start', async () => {
  const yaml = fleet(await engineOf());
  const first = await startLanyard({ yaml });
  const kept = fileIn(first.dir, '.env');
  const key = /^LITELLM_MASTER_KEY=(sk-lanyard-[\w-]{43})\n$/.exec(kept)?.[1] ?? '';
  expect(key).not.toBe('');
  expect(statSync(join(first.dir, '.env')).mode & 0o777).toBe(0o600);
  expect(first.stdout()).toContain('A master key was made and written to');
  // Standard output is no terminal here: what is not for a person's eyes may end in a file.
  expect(first.stdout() + first.stderr()).not.toContain(key);
  const answer = await fetch(`${first.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
  expect(answer.status).toBe(200);
  first.signal('SIGTERM');
  await first.exit;

  const second = await startLanyard({ yaml, dir: first.dir });
  expect(second.stdout()).not.toContain('was made');
  expect(fileIn(first.dir, '.env')).toBe(kept);
  const again = await fetch(`${second.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
  expect(again.status).toBe(200);
});

/** util-linux' program that gives another one a terminal. */
const TERMINAL = 'script';
const TTY = process.platform === 'linux' && spawnSync(TERMINAL, ['--version']).status === 0;

test.skipIf(!TTY)('at a terminal the made key is shown, once, and never at a later start', async () => {
  const engine = await engineOf();
  const dir = newDir();
  mkdirSync(join(dir, 'config'));
  const started = runLanyard({ yaml: fleet(engine), dir, args: ['help'] });
  await started.exit;
  const main = new URL('../../src/main.ts', import.meta.url).pathname;
  const line = `timeout -s TERM 2 "${process.execPath}" "${main}"`;
  const atTerminal = async (): Promise<string> =>
    (await shell(TERMINAL, ['-qc', line, '/dev/null'], { cwd: dir, env: { PATH: process.env['PATH'] ?? '' } })).stdout;
  const first = await atTerminal();
  const key = /LITELLM_MASTER_KEY=(\S+)/.exec(fileIn(dir, '.env'))?.[1] ?? 'none';
  expect(first.split(key)).toHaveLength(2);
  expect(first).toContain('It is shown only now');
  expect(first).toContain('listening');
  const second = await atTerminal();
  expect(second).toContain('listening');
  expect(second).not.toContain(key);
});

test.each([
  ['sk-1234', 'is an example'],
  ['changeme-changeme-changeme', 'is an example'],
  ['sk-short', 'is too short'],
  ['aaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'repeats a few characters'],
])('a start with the weak master key %s is refused, and the key not repeated', async (key, why) => {
  const { exit, stdout, stderr } = runLanyard({ yaml: OPEN, dotenv: `LITELLM_MASTER_KEY=${key}\n` });
  expect(await exit).toBe(1);
  expect(stderr()).toContain('LITELLM_MASTER_KEY');
  expect(stderr()).toContain(why);
  expect(stdout() + stderr()).not.toContain(key);
});

test('where .env cannot be written the start stops, says why and what to do', async () => {
  const dir = newDir();
  symlinkSync('/nowhere/at/all', join(dir, '.env'));
  const { exit, stdout, stderr } = runLanyard({ yaml: OPEN, dir });
  expect(await exit).toBe(1);
  expect(stderr()).toMatch(/none can be kept in .*\.env: it is a symbolic link.* Set LITELLM_MASTER_KEY/);
  expect(stdout()).toBe('');
});

test('where .env is a directory, as Docker makes one of a missing mount, the start stops and says so', async () => {
  const dir = newDir();
  mkdirSync(join(dir, '.env'));
  const { exit, stderr } = runLanyard({ yaml: OPEN, dir });
  expect(await exit).toBe(1);
  expect(stderr()).toContain('.env: is a directory');
});

test('a wrong configuration stops the start with every fault at its place, and nothing else', async () => {
  const yaml =
    'listen: [{ port: 99999 }]\nlimts: {}\nbackends:\n  rack: { engine: vlm, url: "ftp://x" }\nmodels:\n  coder: [desk/llama]\n';
  const { exit, stdout, stderr } = runLanyard({ yaml, env: { LITELLM_MASTER_KEY: KEY } });
  expect(await exit).toBe(1);
  const lines = stderr().trimEnd().split('\n');
  expect(lines.length).toBeGreaterThanOrEqual(5);
  for (const line of lines) expect(line).toMatch(/^config\/lanyard\.yaml:\d+:\d+ \S.+/);
  for (const [place, word] of [
    [':1:', 'port'],
    [':2:', 'limts'],
    [':4:', 'engine'],
    [':4:', 'url'],
    [':6:', 'desk'],
  ] as const) {
    expect(
      lines.some((line) => line.includes(place) && line.includes(word)),
      `${place} ${word}`,
    ).toBe(true);
  }
  expect(stdout()).toBe('');
});

test('a missing file, and one named by --config or LANYARD_CONFIG, are told by name', async () => {
  const env = { LITELLM_MASTER_KEY: KEY };
  const named = runLanyard({ yaml: OPEN, env, args: ['serve', '--config', 'no-such.yaml'] });
  expect(await named.exit).toBe(1);
  expect(named.stderr()).toMatch(/^no-such\.yaml: there is no such file/);
  const by_environment = runLanyard({ yaml: OPEN, env: { ...env, LANYARD_CONFIG: 'other.yaml' } });
  expect(await by_environment.exit).toBe(1);
  expect(by_environment.stderr()).toMatch(/^other\.yaml: there is no such file/);
  const unknown = runLanyard({ yaml: OPEN, args: ['sevre'] });
  expect(await unknown.exit).toBe(2);
  expect(unknown.stderr()).toContain('unknown command "sevre"');
});

test.each(['serve', 'check', 'key'])(
  'asked for help, `lanyard %s` says what there is and does nothing',
  async (command) => {
    const lanyard = runLanyard({ yaml: 'listen: [', args: [command, '--help'] });
    expect(await lanyard.exit).toBe(0);
    expect(lanyard.stdout()).toContain('lanyard check [--config PATH]');
    expect(lanyard.stderr()).toBe('');
  },
);

test('a taken port is told in one line, with what to do', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const { exit, stdout, stderr } = runLanyard({
    yaml: fleet(await engineOf()),
    env: { LITELLM_MASTER_KEY: KEY, PORT: String(port) },
  });
  expect(await exit).toBe(1);
  expect(stderr()).toMatch(new RegExp(`^lanyard: the port is taken .*${port}.*PORT.*\\n$`));
  expect(stdout()).toBe('');
});

test('PORT and LOG_LEVEL of the environment go before the file, .env under it', async () => {
  const engine = await engineOf();
  const lanyard = await startLanyard({
    yaml: `${fleet(engine)}log: { level: DEBUG }\n`,
    env: { LITELLM_MASTER_KEY: KEY, LOG_LEVEL: 'ERROR' },
    dotenv: 'PORT=0\nLOG_LEVEL=DEBUG\nLITELLM_MASTER_KEY=sk-1234\n',
  });
  const answer = await fetch(`${lanyard.url}/v1/models`, { headers: { authorization: `Bearer ${KEY}` } });
  expect(answer.status).toBe(200);
  lanyard.signal('SIGTERM');
  expect(await lanyard.exit).toBe(0);
  expect(lanyard.stderr()).toBe('');
});

test('a backend that is away does not stop the start; it is said', async () => {
  const lanyard = await startLanyard({
    yaml: `${OPEN}backends: { rack: { engine: vllm, url: "http://127.0.0.1:1" } }\nmodels: { coder: [rack/llama] }\n`,
    env: { LITELLM_MASTER_KEY: KEY },
  });
  expect(lanyard.stdout()).toMatch(/backend {4}rack {2}http:\/\/127\.0\.0\.1:1 {2}down: \w+/);
  expect(lanyard.stdout()).toContain('models     coder');
  await expect.poll(() => lanyard.log().map(({ msg }) => msg)).toContain('backend down');
});
