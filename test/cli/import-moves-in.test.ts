// Moving in, as a user does it: the real program imports LiteLLM's file, and the real gateway serves what came out, with the
// same key and the same model names.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startEngine } from '../engines/engine.ts';
import { KEY } from '../stage/gateway.ts';
import { newDir, runLanyard, startLanyard } from '../stage/lanyard.ts';

const FILE = new URL('../fixtures/litellm/team-stack.yaml', import.meta.url);

test('a LiteLLM stack of Ollama models serves the same names to the same key', async () => {
  const engine = await startEngine({
    kind: 'ollama',
    models: ['deepseek-coder:33b', 'mistral:7b', 'qwen2.5-coder:32b', 'nomic-embed-text'],
  });
  onTestFinished(() => engine.stop());
  const dir = newDir();
  writeFileSync(join(dir, 'config.yaml'), readFileSync(FILE, 'utf8').replaceAll('http://ollama:11434', engine.url));

  const imported = runLanyard({ yaml: '', dir, args: ['import', 'litellm', 'config.yaml'] });
  expect(await imported.exit).toBe(0);
  expect(imported.stderr()).toMatch(/^config\.yaml: 4 models on 1 backend/);

  const env = { LITELLM_MASTER_KEY: KEY };
  const checked = runLanyard({ yaml: imported.stdout(), dir, env, args: ['check'] });
  expect(await checked.exit).toBe(0);
  const lanyard = await startLanyard({ yaml: imported.stdout(), dir, env: { ...env, PORT: '0' } });
  const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };
  const ask = async (path: string, body?: unknown): Promise<{ status: number; body: unknown }> => {
    const answer = await fetch(`${lanyard.url}${path}`, {
      headers,
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
    });
    return { status: answer.status, body: await answer.json() };
  };

  const { body } = await ask('/v1/models');
  const ids = (body as { data: { id: string }[] }).data.map(({ id }) => id);
  expect(ids.toSorted()).toEqual(['deepseek-coder', 'mistral', 'qwen-coder', 'text-embedding-ada-002']);
  const messages = [{ role: 'user', content: 'Hello' }];
  for (const model of ['deepseek-coder', 'mistral', 'qwen-coder']) {
    expect(await ask('/v1/chat/completions', { model, messages })).toMatchObject({
      status: 200,
      body: { object: 'chat.completion', choices: [{ message: { content: engine.says } }] },
    });
  }
  expect(await ask('/v1/embeddings', { model: 'text-embedding-ada-002', input: 'Hello' })).toMatchObject({
    status: 200,
    body: { object: 'list' },
  });
  expect(engine.asked.map(({ body }) => (JSON.parse(String(body)) as { model: string }).model)).toEqual([
    'deepseek-coder:33b',
    'mistral:7b',
    'qwen2.5-coder:32b',
    'nomic-embed-text',
  ]);
  expect((await fetch(`${lanyard.url}/v1/models`)).status).toBe(401);
});

test('the program says what it can import, and prints nothing else', async () => {
  const unknown = runLanyard({ yaml: '', args: ['import', 'other'] });
  expect(await unknown.exit).toBe(2);
  expect(unknown.stdout()).toBe('');
  expect(unknown.stderr()).toBe('lanyard import: cannot import "other"; what it can: litellm\n');
});
