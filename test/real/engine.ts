// A real engine as a process of its own, with the model of model.py; ended by its id when the test ends.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '../stage/ports.ts';

const HOME = fileURLToPath(new URL('../../.cache/engines/', import.meta.url));
const MODEL = join(HOME, 'tiny.gguf');
/** Tokens each model is loaded with. */
export const CONTEXT = 4_096;

export type RealKind = 'llama.cpp' | 'llama.cpp, embeddings' | 'ollama';

export interface RealEngine {
  readonly url: string;
  /** As `engine:` says. */
  readonly engine: 'llama.cpp' | 'ollama';
  readonly model: string;
  stop(): Promise<void>;
}

export function isThere(kind: RealKind): boolean {
  return existsSync(MODEL) && existsSync(join(HOME, 'bin', kind === 'ollama' ? 'ollama' : 'llama-server'));
}

export async function startReal(kind: RealKind): Promise<RealEngine> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-real-'));
  const [program, args, env] = kind === 'ollama' ? ollama(port, dir) : llamaServer(port, dir, kind !== 'llama.cpp');
  const child = spawn(join(HOME, 'bin', program), args, { env: { ...process.env, ...env }, stdio: 'ignore', cwd: dir });
  const stop = async (): Promise<void> => {
    if (child.exitCode === null) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await Promise.race([gone, pause(5_000).then(() => child.kill('SIGKILL'))]);
    }
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await answers(`${url}${kind === 'ollama' ? '/api/version' : '/health'}`);
    if (kind === 'ollama') await create(url);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, engine: kind === 'ollama' ? 'ollama' : 'llama.cpp', model: 'tiny', stop };
}

function llamaServer(port: number, dir: string, embeds: boolean): [string, string[], Record<string, string>] {
  const args = `-m ${MODEL} --alias tiny --host 127.0.0.1 --port ${port} -c ${2 * CONTEXT} -np 2 -t 1 --jinja --slots`;
  const more = embeds ? ' --embeddings --pooling mean' : '';
  return ['llama-server', `${args}${more}`.split(' '), { LLAMA_CACHE: dir }];
}

function ollama(port: number, dir: string): [string, string[], Record<string, string>] {
  const models = join(dir, 'models');
  mkdirSync(models);
  const env = { HOME: dir, OLLAMA_HOST: `127.0.0.1:${port}`, OLLAMA_MODELS: models, OLLAMA_NO_CLOUD: '1' };
  return ['ollama', ['serve'], { ...env, OLLAMA_CONTEXT_LENGTH: String(CONTEXT), OLLAMA_NUM_PARALLEL: '1' }];
}

/** Gives Ollama the model, as `ollama create` does: its bytes by their digest, then a name. */
async function create(url: string): Promise<void> {
  const bytes = readFileSync(MODEL);
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const blob = await fetch(`${url}/api/blobs/${digest}`, { method: 'POST', body: bytes });
  if (!blob.ok) throw new Error(`Ollama does not take the model: ${blob.status} ${await blob.text()}`);
  const template =
    '{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n';
  const made = await fetch(`${url}/api/create`, {
    method: 'POST',
    body: JSON.stringify({ model: 'tiny', files: { 'tiny.gguf': digest }, template, stream: false }),
  });
  if (!made.ok) throw new Error(`Ollama does not make the model: ${made.status} ${await made.text()}`);
}

async function answers(url: string): Promise<void> {
  for (let tries = 0; tries < 300; tries += 1) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.ok === true) return;
    await pause(100);
  }
  throw new Error(`nothing answers at ${url}`);
}
