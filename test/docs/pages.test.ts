// Every block of every page in docs/ runs as it stands, and the runner that says so can fail.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readPage } from './page.ts';
import { needsPython, runPage } from './run.ts';
import { openStage, ROOT } from './stage.ts';

const PAGES = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));

const read = (name: string): string => readFileSync(join(ROOT, 'docs', name), 'utf8');
const NO_PYTHON = existsSync(join(ROOT, '.cache/python/bin/python'))
  ? ''
  : ' (skipped: no .cache/python; `node scripts/setup.ts` makes it where python3 can)';

test.each(PAGES)('docs/%s: every block runs as it stands', { timeout: 180_000 }, async (name) => {
  const text = read(name);
  expect(readPage(text).blocks.length).toBeGreaterThan(3);
  expect(await runPage(`docs/${name}`, text, await openStage(), (blocks, at) => !needsPython(blocks, at))).toEqual([]);
});

const BY_PYTHON = PAGES.filter((name) => {
  const { blocks } = readPage(read(name));
  return blocks.some((_, at) => needsPython(blocks, at));
});

describe.skipIf(NO_PYTHON !== '')(`by Python${NO_PYTHON}`, () => {
  test.each(BY_PYTHON)('docs/%s: every block runs as it stands', { timeout: 60_000 }, async (name) => {
    expect(await runPage(`docs/${name}`, read(name), await openStage(), needsPython)).toEqual([]);
  });

  test('Python that raises is found out', { timeout: 60_000 }, async () => {
    const page = '```python\nraise SystemExit(3)\n```\n';
    expect(await runPage('page.md', page, await openStage(), needsPython)).toEqual([
      expect.stringContaining('page.md:2 python: ended with 3'),
    ]);
  });
});

test('the pages a team reads are there', () => {
  expect(PAGES).toEqual(
    expect.arrayContaining(['API.md', 'BACKENDS.md', 'MODELS.md', 'OPERATIONS.md', 'SECURITY.md', 'VSCODE_SETUP.md']),
  );
});

describe('the runner tells of', () => {
  const faulty = (kind: string, text: string): string => `# A page\n\n\`\`\`${kind}\n${text}\n\`\`\`\n`;
  const cases: readonly { what: string; page: string; says: RegExp }[] = [
    { what: 'a command that fails', page: faulty('sh', 'npx lanyard chek'), says: /page\.md:4 sh: ended with 2/ },
    { what: 'a command in the middle that fails', page: faulty('sh', 'false\ntrue'), says: /ended with 1/ },
    {
      what: 'an address that is not served',
      page: faulty('sh', 'curl -fsS http://localhost:4000/helth'),
      says: /ended with 22/,
    },
    {
      what: 'output that is another',
      page: `${faulty('sh', 'echo one')}${faulty('output', 'two')}`,
      says: /it printed:\none/,
    },
    { what: 'output that nothing prints', page: faulty('output', 'two'), says: /follows no block/ },
    { what: 'an unknown option in a configuration', page: faulty('yaml', 'limit: { ip: off }'), says: /limit/ },
    {
      what: 'settings with an address of nobody',
      page: faulty('json vscode', '[{ "url": "http://10.1.1.1" }]'),
      says: /three addresses/,
    },
    {
      what: 'settings with a model of nobody',
      page: faulty('yaml continue', 'models:\n  - model: gpt-5'),
      says: /no model gpt-5/,
    },
    {
      what: 'an error that does not exist',
      page: faulty('json error', '{"error":{"message":"","type":"x","param":null,"code":"y"}}'),
      says: /no y/,
    },
    {
      what: 'a model server’s configuration that names no folder',
      page: faulty('json ovms', '{ "model_config_list": [], "mediapipe_config_list": [{ "name": "a" }] }'),
      says: /a name and a base_path/,
    },
    {
      what: 'an option that the model server does not have',
      page: faulty('sh host', 'ovms --config models/config.json --rest_port 8001'),
      says: /nobody said/,
    },
    { what: 'TypeScript that throws', page: faulty('ts', 'throw new Error("no");'), says: /ended with 1/ },
    { what: 'a program nobody knows', page: faulty('sh host', 'rm -rf elsewhere'), says: /not get through/ },
    { what: 'a call of no known shape', page: faulty('sh host', 'sudo systemctl mask lanyard'), says: /nobody said/ },
    {
      what: 'a unit that is not here',
      page: faulty('sh host', 'systemctl restart gateway'),
      says: /no units "gateway"/,
    },
    {
      what: 'a service that is not here',
      page: faulty('sh host', 'docker compose logs litellm'),
      says: /no services "litellm"/,
    },
    {
      what: 'a hook of certbot that puts the certificate elsewhere',
      page: faulty(
        'sh host',
        `certbot certonly --webroot --webroot-path /var/www/acme -d lanyard.example.com --deploy-hook 'cp "$RENEWED_LINEAGE/fullchain.pem" "$RENEWED_LINEAGE/privkey.pem" /etc/nginx/'`,
      ),
      says: /no hook/,
    },
    { what: 'a folder nobody has', page: faulty('sh host', 'cd /srv\ndocker compose ps'), says: /only to the clone/ },
    { what: 'a crontab without a weekday', page: faulty('cron', '17 4 * * nginx -t'), says: /no line of a crontab/ },
    {
      what: 'a crontab that calls nobody',
      page: faulty('cron', '17 4 * * 1 sh deploy/renew.sh'),
      says: /no files "deploy\/renew\.sh"/,
    },
    { what: 'a line nginx.conf does not have', page: faulty('nginx', 'limit_req zone=other;'), says: /no line/ },
    { what: 'a variable nobody offers', page: faulty('env', 'LANYARD_KEYS=1'), says: /LANYARD_KEYS/ },
    { what: 'a block without a kind', page: faulty('', 'echo'), says: /no such kind/ },
    { what: 'a block of an unknown kind', page: faulty('bash', 'echo'), says: /no such kind/ },
    { what: 'a block that is never closed', page: '```sh\necho', says: /never closed/ },
    { what: 'a block that hides in a list', page: '- one\n\n  ```sh\n  false\n  ```\n', says: /does not see/ },
    { what: 'inline code over two lines', page: 'Say `npx\nlanyard chek`.\n', says: /over the line/ },
    { what: 'code by indentation', page: 'Do:\n\n    false\n', says: /indentation/ },
  ];
  test('everything that can be wrong with a page, each in its place', { timeout: 120_000 }, async () => {
    const stage = await openStage();
    for (const { what, page, says } of cases) {
      const found = await runPage('page.md', page, stage);
      expect(found.join('\n'), what).toMatch(says);
    }
    expect(await runPage('page.md', '# Nothing to do\n', stage)).toEqual([]);
  });
});
