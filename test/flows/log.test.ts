// The log's way out of the process: whatever becomes of its reader, requests are served and the process ends when told to.
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { newDir, startLanyard } from '../stage/lanyard.ts';
import { freePort } from '../stage/ports.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const CHAT = '/v1/chat/completions';
const OPEN = 'listen: [{ port: 0, auth: open }]\nlimits: { ip: off }\n';

/** A gateway in a shell's pipeline; `$LANYARD` is how it is called there. */
async function pipeline(script: string) {
  const dir = newDir();
  const port = await freePort();
  writeFileSync(`${dir}/open.yaml`, OPEN);
  const shell = spawn('sh', ['-c', script], {
    cwd: dir,
    env: { PATH: process.env['PATH'], LANYARD: `${process.execPath} ${MAIN} --config open.yaml`, PORT: String(port) },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  for (const stream of [shell.stdout, shell.stderr]) stream.resume();
  onTestFinished(() => {
    try {
      process.kill(-(shell.pid ?? 0), 'SIGKILL');
    } catch {
      // It has ended.
    }
  });
  const url = `http://127.0.0.1:${port}`;
  return { dir, url, shell };
}

async function served(url: string): Promise<number> {
  for (let n = 0; n < 100; n += 1) {
    const status = await fetch(`${url}/health`).then(
      ({ status }) => status,
      () => 0,
    );
    if (status !== 0) return status;
    await pause(50);
  }
  return 0;
}

test('a reader of the log that stands still costs lines, not memory, answers or the end', async () => {
  const pipe = `$LANYARD 2>&1 >/dev/null & echo $! > pid; wait $!; echo "exit $?" > ended`;
  const { dir, url } = await pipeline(`{ ${pipe}; } | sleep 60`);
  expect(await served(url)).toBe(200);
  // Far more lines than a pipe of 64 KiB takes.
  for (let n = 0; n < 30; n += 1) {
    const asked = Array.from({ length: 50 }, () =>
      fetch(`${url}${CHAT}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"model":"x"}',
      }),
    );
    for (const answer of await Promise.all(asked)) await answer.text();
  }
  expect(await served(url)).toBe(200);
  process.kill(Number(readFileSync(`${dir}/pid`, 'utf8')), 'SIGTERM');
  const ended = () => {
    try {
      return readFileSync(`${dir}/ended`, 'utf8');
    } catch {
      return '';
    }
  };
  await expect.poll(ended, { timeout: 8_000 }).toBe('exit 0\n');
});

test.each([
  ['the log', `$LANYARD 2>&1 >/dev/null | true`],
  ['what the start prints', `$LANYARD | true`],
])('a reader of %s that leaves ends nothing', async (_name, script) => {
  const { url, shell } = await pipeline(script);
  expect(await served(url)).toBe(200);
  for (let n = 0; n < 3; n += 1) {
    const answer = await fetch(`${url}${CHAT}`, { method: 'POST', body: '{}' });
    expect(answer.status).toBe(415);
    await answer.text();
    await pause(250);
  }
  process.kill(-(shell.pid ?? 0), 'SIGTERM');
  // The shell may end before what it started.
  const asked = () =>
    fetch(`${url}/health`).then(
      () => 'answered',
      () => 'gone',
    );
  await expect.poll(asked, { timeout: 8_000 }).toBe('gone');
});

test.each([
  ['an exception', `throw new Error('THE PROMPT\\n    at THE PROMPT')`],
  ['a rejection', `Promise.reject(new Error('THE PROMPT'))`],
  ['a rejection with a text', `Promise.reject('THE PROMPT')`],
])('%s that nobody caught ends the process, told by name and place and never in its own words', async (_name, bug) => {
  const told = Buffer.from(`process.once('SIGUSR2', () => { ${bug} })`).toString('base64');
  const lanyard = await startLanyard({
    yaml: OPEN,
    env: { NODE_OPTIONS: `--import=data:text/javascript;base64,${told}` },
  });
  lanyard.signal('SIGUSR2');
  expect(await lanyard.exit).toBe(1);
  expect(lanyard.stdout() + lanyard.stderr()).not.toContain('PROMPT');
  const line = lanyard.log().find(({ msg }) => msg === 'bug: the gateway ends');
  expect(line).toMatchObject({ level: 'error', error: expect.stringMatching(/^\w+/) as string });
  if (line?.['error'] === 'Error') expect(line['stack']).toMatch(/^ {4}at /);
});
