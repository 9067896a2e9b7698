// Runs a page: every block, in order, by its kind. A block of a kind that is not here is a fault, so that none is passed over.
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { loadSettings } from './settings.ts';
import { checkCron, checkHost } from './host.ts';
import { CODES } from './codes.ts';
import { readPage, type Block } from './page.ts';
import { ROOT, type Stage } from './stage.ts';
import { parseConfig } from '../../src/config/load.ts';
import { KEY } from '../stage/gateway.ts';

/** What is wrong with a block; `undefined`: nothing. */
type Check = (block: Block, stage: Stage, said: Said) => string | undefined | Promise<string | undefined>;

/** What the block before this one printed. */
interface Said {
  text: string | undefined;
}

const BLOCK_MS = 30_000;
const UNTIL_MS = 15_000;

const KINDS: Readonly<Record<string, Check>> = {
  // Run by sh, in the stage's folder.
  sh: async ({ text }, stage, said) => {
    const { fault, stdout } = await shell(text, stage);
    said.text = stdout;
    return fault;
  },
  // The same, where the gateway needs a moment: again until it goes well.
  'sh until': async ({ text }, stage, said) => {
    const deadline = performance.now() + UNTIL_MS;
    for (;;) {
      const { fault, stdout } = await shell(text, stage);
      said.text = stdout;
      if (fault === undefined || performance.now() > deadline) return fault;
      await pause(200);
    }
  },
  // What the block before prints; `…` stands for anything.
  output: ({ text }, _stage, { text: said }) => {
    if (said === undefined) return 'follows no block that prints';
    return printed(text).test(`${said.trimEnd()}\n`) ? undefined : `it printed:\n${said}`;
  },
  // Commands for a machine that is not this one.
  'sh host': ({ text }) => checkHost(text),
  cron: ({ text }) => checkCron(text),
  // A whole lanyard.yaml; what is left out has its default.
  yaml: ({ text }) => caught(() => parseConfig(text, 'block', { LITELLM_MASTER_KEY: KEY })),
  python: ({ text }, stage, said) => program(text, 'py', 'python', stage, said),
  ts: ({ text }, stage, said) => program(text, 'ts', process.execPath, stage, said),
  // An error's body.
  'json error': ({ text }) => caught(() => checkError(JSON.parse(text))),
  // Settings of a client; test/clients/editors.test.ts sends by them.
  'yaml continue': ({ text }) => caught(() => loadSettings('yaml', text)),
  'json vscode': ({ text }) => caught(() => loadSettings('json', text)),
  'json zed': ({ text }) => caught(() => loadSettings('json', text)),
  // OpenVINO Model Server's `config.json`.
  'json ovms': ({ text }) => caught(() => checkServables(JSON.parse(text))),
  // Lines of nginx.conf as they stand there.
  nginx: ({ text }) => linesOf('nginx.conf', text),
  // For an nginx with a module that is not here: crossplane, a parser of nginx's configuration, takes it.
  'nginx module': async ({ text }, stage, said) => {
    writeFileSync(join(stage.dir, 'module.conf'), text);
    const ask = 'import crossplane, json; print(json.dumps(crossplane.parse("module.conf")["errors"]))';
    return (await program(ask, 'py', 'python', stage, said)) ?? (said.text === '[]\n' ? undefined : said.text);
  },
  // Lines of a .env; each name is offered by .env.example.
  env: ({ text }) => {
    const offered = readFileSync(join(ROOT, '.env.example'), 'utf8');
    const unknown = Object.keys(parseEnv(text)).filter((name) => !new RegExp(`^#? ?${name}=`, 'm').test(offered));
    return unknown.length === 0 ? undefined : `.env.example does not know ${unknown.join(', ')}`;
  },
};

/** Run by the Python of .cache/python, which is not everywhere; so does the output that follows. */
export function needsPython(blocks: readonly Block[], at: number): boolean {
  const { kind = '' } = blocks[at] ?? {};
  return kind === 'python' || kind === 'nginx module' || (kind === 'output' && needsPython(blocks, at - 1));
}

/** Every fault of the page, with its line. `only`: of those blocks alone. */
export async function runPage(
  name: string,
  text: string,
  stage: Stage,
  only: (blocks: readonly Block[], at: number) => boolean = () => true,
): Promise<string[]> {
  const { blocks, faults } = readPage(text);
  const found = faults.map((fault) => `${name}:${fault}`);
  const said: Said = { text: undefined };
  for (const block of blocks.filter((_, at) => only(blocks, at))) {
    const check = KINDS[block.kind];
    const fault =
      check === undefined
        ? `no such kind of block: one of ${Object.keys(KINDS).join(', ')}`
        : await check(block, stage, said);
    if (block.kind !== 'output' && !/^(?:sh|sh until|python|ts)$/.test(block.kind)) said.text = undefined;
    if (fault !== undefined) found.push(`${name}:${block.line} ${block.kind || '(no kind)'}: ${fault}`);
  }
  return found;
}

/** One shell of a reader: what a block exports, the next ones have. */
function shell(text: string, stage: Stage): Promise<Ran> {
  const kept = join(stage.dir, '.shell');
  const script = `[ ! -f '${kept}' ] || . '${kept}'\nset -e\n${text}\nexport -p > '${kept}'\n`;
  return run('sh', ['-c', script], stage);
}

async function program(
  text: string,
  suffix: string,
  file: string,
  stage: Stage,
  said: Said,
): Promise<string | undefined> {
  const path = join(stage.dir, `block.${suffix}`);
  writeFileSync(path, stage.here(text));
  const { fault, stdout } = await run(file, [path], stage);
  said.text = stdout;
  return fault;
}

interface Ran {
  readonly fault: string | undefined;
  readonly stdout: string;
}

function run(file: string, args: readonly string[], { dir, env }: Stage): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(file, args, { cwd: dir, env, timeout: BLOCK_MS }, (error, stdout, stderr) => {
      const how = error === null ? undefined : `ended with ${error.signal ?? error.code}:\n${stdout}${stderr}`;
      resolve({ fault: how, stdout });
    });
  });
}

/** `…` within a line stands for anything on it; alone on a line, for any lines or none. */
function printed(text: string): RegExp {
  const pattern = text
    .trimEnd()
    .split('\n')
    .map((line) =>
      line.trim() === '…'
        ? '(?:.*\\n)*?'
        : `${line
            .trimEnd()
            .split('…')
            .map((part) => RegExp.escape(part))
            .join('.*')} *\\n`,
    );
  return new RegExp(`^${pattern.join('')}$`);
}

function checkError(value: unknown): void {
  const { error } = value as { error: { message: string; type: string; param: string | null; code: string } };
  const known = CODES.get(error.code);
  if (known === undefined || known.type !== error.type)
    throw new Error(`there is no ${error.code} of type ${error.type}`);
  if (Object.keys(error).join() !== 'message,type,param,code')
    throw new Error('not the fields of an error, in their order');
}

function checkServables(value: unknown): void {
  const lists = value as Record<string, readonly Record<string, unknown>[]>;
  if (Object.keys(lists).toSorted().join() !== 'mediapipe_config_list,model_config_list')
    throw new Error('not its two lists');
  for (const one of lists['mediapipe_config_list'] ?? []) {
    if (Object.keys(one).toSorted().join() !== 'base_path,name') throw new Error('a graph has a name and a base_path');
  }
}

function linesOf(file: string, text: string): string | undefined {
  const lines = new Set(
    readFileSync(join(ROOT, file), 'utf8')
      .split('\n')
      .map((line) => line.trim()),
  );
  const missing = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => !lines.has(line) && line !== '');
  return missing.length === 0 ? undefined : `${file} has no line "${missing[0]}"`;
}

function caught(check: () => unknown): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    const faults = error instanceof Error && 'faults' in error ? String(error.faults) : '';
    return faults || String(error);
  }
}
