// Clients over https, with the private authority of deploy/certs.sh: told to trust it as docs and certs.sh say, each works;
// untold, each fails with a certificate's error and not with another.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { openFront } from '../stage/front.ts';
import { KEY } from '../stage/gateway.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PYTHON = fileURLToPath(new URL('../../.cache/python/bin/python', import.meta.url));
const CURL = ['/usr/bin/curl', '/opt/homebrew/bin/curl', '/usr/local/bin/curl'].find((file) => existsSync(file));

interface Client {
  readonly name: string;
  /** The program, where it is here. */
  readonly program: string | undefined;
  /** What it is started with; `{url}` and `{ca}` stand for the address and the authority's file. */
  readonly args: readonly string[];
  /** How it is told of the authority: by this variable, or by more arguments. */
  readonly trust: { readonly variable: string } | { readonly args: readonly string[] };
  /** What it says when it trusts nobody. */
  readonly refusal: RegExp;
}

// The same words for all: a chat, streamed by the SDKs, and its text on standard output.
const CHAT = { model: 'coder', messages: [{ role: 'user', content: 'Hi' }] };
const NODE_ERROR = /UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT_LOCALLY/;

const CLIENTS: readonly Client[] = [
  {
    name: 'the openai SDK for JavaScript',
    program: process.execPath,
    args: [
      '--input-type=module',
      '--eval',
      `import OpenAI from 'openai';
       const client = new OpenAI({ baseURL: '{url}/v1', apiKey: '${KEY}', maxRetries: 0 });
       for await (const chunk of await client.chat.completions.create({ ...${JSON.stringify(CHAT)}, stream: true }))
         process.stdout.write(chunk.choices[0].delta.content ?? '');`,
    ],
    trust: { variable: 'NODE_EXTRA_CA_CERTS' },
    refusal: NODE_ERROR,
  },
  {
    name: "Node's own fetch",
    program: process.execPath,
    args: [
      '--input-type=module',
      '--eval',
      `const answer = await fetch('{url}/v1/chat/completions', {
         method: 'POST',
         headers: { authorization: 'Bearer ${KEY}', 'content-type': 'application/json' },
         body: '${JSON.stringify(CHAT)}',
       });
       process.stdout.write((await answer.json()).choices[0].message.content);`,
    ],
    trust: { variable: 'NODE_EXTRA_CA_CERTS' },
    refusal: NODE_ERROR,
  },
  {
    name: 'the openai SDK for Python',
    program: existsSync(PYTHON) ? PYTHON : undefined,
    args: [
      '-c',
      `import sys
from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="${KEY}", max_retries=0)
for chunk in client.chat.completions.create(**${JSON.stringify(CHAT)}, stream=True):
    sys.stdout.buffer.write((chunk.choices[0].delta.content or "").encode())`,
    ],
    trust: { variable: 'SSL_CERT_FILE' },
    refusal: /CERTIFICATE_VERIFY_FAILED/,
  },
  {
    name: "Python's requests",
    program: existsSync(PYTHON) ? PYTHON : undefined,
    args: [
      '-c',
      `import sys, requests
answer = requests.post("{url}/v1/chat/completions", json=${JSON.stringify(CHAT)}, headers={"Authorization": "Bearer ${KEY}"})
sys.stdout.buffer.write(answer.json()["choices"][0]["message"]["content"].encode())`,
    ],
    trust: { variable: 'REQUESTS_CA_BUNDLE' },
    refusal: /CERTIFICATE_VERIFY_FAILED/,
  },
  {
    name: 'curl',
    program: CURL,
    args: ['--silent', '--show-error', '--header', `Authorization: Bearer ${KEY}`, '{url}/v1/models'],
    trust: { args: ['--cacert', '{ca}'] },
    refusal: /certificate/i,
  },
];

describe.for(CLIENTS)('$name', ({ program, args, trust, refusal }) => {
  test('works when told of the private authority, by name and by address', async ({ skip }) => {
    if (program === undefined) {
      skip('it is not installed here: `node scripts/setup.ts`');
      return;
    }
    const { tls, ca_file, engine } = await openFront();
    for (const url of [tls, tls.replace('localhost', '127.0.0.1')]) {
      const more = 'args' in trust ? trust.args : [];
      const env = 'variable' in trust ? { [trust.variable]: ca_file } : {};
      const { stdout, stderr } = await run(program, [...more, ...args], { url, ca: ca_file }, env);
      expect(stderr).not.toMatch(refusal);
      expect(stdout).toContain(args.at(-1)?.endsWith('/models') === true ? '"coder"' : engine.says);
    }
  });

  test("fails with a certificate's error when it was not told", async ({ skip }) => {
    if (program === undefined) {
      skip('it is not installed here: `node scripts/setup.ts`');
      return;
    }
    const { tls, ca_file, engine } = await openFront();
    const { code, stderr } = await run(program, args, { url: tls, ca: ca_file }, {});
    expect(code).not.toBe(0);
    expect(stderr).toMatch(refusal);
    // Nothing was sent to one who might have been anybody.
    expect(engine.asked).toEqual([]);
  });
});

/** With nothing of this process's own settings, which may name other authorities. */
function run(
  program: string,
  args: readonly string[],
  { url, ca }: { url: string; ca: string },
  env: Readonly<Record<string, string>>,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const filled = args.map((arg) => arg.replaceAll('{url}', url).replaceAll('{ca}', ca));
  return new Promise((resolve) => {
    const options = { cwd: ROOT, env: { PATH: process.env['PATH'] ?? '', ...env }, timeout: 15_000 };
    execFile(program, filled, options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr }),
    );
  });
}
