// What the pages call by name exists: commands and their options, npm scripts, options of the configuration, codes, metrics,
// headers, alerts. A word in backticks that has the form of one of these must be one; a command in backticks must be one that
// host.ts knows, as those in blocks.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, globSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CODES } from './codes.ts';
import { checkHost, isCommand } from './host.ts';
import { readPage } from './page.ts';
import { ROOT } from './stage.ts';

const text = (name: string): string => readFileSync(join(ROOT, name), 'utf8');
const help = (...args: string[]): string =>
  execFileSync(process.execPath, [join(ROOT, 'src/main.ts'), ...args], { encoding: 'utf8' });

const PAGES = [...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`), 'README.md'].filter((name) =>
  name.endsWith('.md'),
);
const USAGE = help('help');
const COMMANDS = [...USAGE.matchAll(/^ {2}lanyard ([a-z]+)/gm)].map(([, name = '']) => name);
const SCRIPTS = Object.keys((JSON.parse(text('package.json')) as { scripts: object }).scripts);
const SOURCES = globSync('src/**/*.ts', { cwd: ROOT }).map(text).join('\n');
const METRICS = new Set(SOURCES.match(/\blanyard_[a-z_]+\b/g));
const ALERTS = new Set([...text('deploy/alerts.yml').matchAll(/- alert: (\w+)/g)].map(([, name]) => name));
const RULES = text('deploy/rules.yml');
/** Of the log's lines and of a model in the list. */
const FIELDS = text('src/steps/account.ts') + text('src/pages/models.ts');
const OPTIONS = optionsIn(JSON.parse(text('config/lanyard.schema.json')), '');
const SECTIONS = new Set([...OPTIONS].map((path) => path.split('.')[0]));

/** What a page names that does not exist, each with its line. */
function wrongIn(name: string, page: string): string[] {
  return readPage(page).codes.flatMap(({ line, text: words }) => {
    const why = unknown(words) ?? (isCommand(words) ? checkHost(words) : undefined);
    return why === undefined ? [] : [`${name}:${line} \`${words}\`: ${why}`];
  });
}

/** Why the words are of nothing that exists; `undefined`: they are, or are of no form that is known here. */
function unknown(words: string): string | undefined {
  const command = /(?:^|npx )lanyard ([a-z]+)((?: .*)?)$/.exec(words);
  if (command !== null) {
    const [, name = '', rest = ''] = command;
    if (!COMMANDS.includes(name)) return `no such command: ${name}`;
    const options = rest.match(/--[a-z-]+/g) ?? [];
    const known = USAGE + (['doctor', 'init', 'import', 'batch', 'monitor'].includes(name) ? help(name, '--help') : '');
    return options.every((option) => known.includes(option)) ? undefined : `no such option: ${options.join(' ')}`;
  }
  const script = /^npm run ([a-z:]+)/.exec(words)?.[1];
  if (script !== undefined) return SCRIPTS.includes(script) ? undefined : 'no such script';
  if (/^lanyard_[a-z_]+$/.test(words)) {
    return METRICS.has(words.replace(/_(?:bucket|sum|count)$/, '')) ? undefined : 'no such metric';
  }
  if (/^Lanyard[A-Z]\w+$/.test(words)) return ALERTS.has(words) || RULES.includes(words) ? undefined : 'no such alert';
  if (/^x-(?:lanyard|ratelimit|should|request)-[a-z-]+$/.test(words)) {
    return SOURCES.includes(words) ? undefined : 'no such header';
  }
  const option = /^([a-z_]+)((?:(?:\[\])?\.[a-z_]+)+)(?:: .*)?$/.exec(words);
  if (option !== null && SECTIONS.has(option[1])) {
    return OPTIONS.has(words.replace(/: .*$/, '').replaceAll('[]', '')) ? undefined : 'no such option';
  }
  if (/^[a-z_]+_(?:ms|max|length)$/.test(words)) {
    const field = new RegExp(`\\b${words}\\b[,:]`).test(FIELDS);
    return field || [...OPTIONS].some((path) => path.endsWith(`.${words}`)) ? undefined : 'no such limit or field';
  }
  if (/^(?:upstream|gateway|invalid|unsupported|model|request|rate|too|server|backend|unknown)_[a-z_]+$/.test(words)) {
    return CODES.has(words) || SOURCES.includes(words) ? undefined : 'no such code';
  }
  if (/^(?:docs|config|deploy|examples|src|test)\/[\w./-]+$/.test(words)) {
    return existsSync(join(ROOT, words)) ? undefined : 'no such file';
  }
  return undefined;
}

/** Every path of an option, list and map levels left out. */
function optionsIn(schema: unknown, path: string): Set<string> {
  const found = new Set<string>();
  const visit = (node: unknown, at: string): void => {
    if (typeof node !== 'object' || node === null) return;
    const { properties, items, additionalProperties, anyOf } = node as Record<string, unknown>;
    for (const [name, inner] of Object.entries(properties ?? {})) {
      const next = at === '' ? name : `${at}.${name}`;
      found.add(next);
      visit(inner, next);
    }
    for (const inner of [items, additionalProperties, ...((anyOf as unknown[] | undefined) ?? [])]) visit(inner, at);
  };
  visit(schema, path);
  return found;
}

test.each(PAGES)('what %s names exists', (name) => {
  expect(wrongIn(name, text(name))).toEqual([]);
});

/** Commands as OPERATIONS.md has them in sentences and tables, each with a mistake in it. */
const MISTAKES: readonly (readonly [string, string, RegExp])[] = [
  ['docker compose kill -s HUP nginx', 'docker compose kill -s HUP ngnix', /no services "ngnix"/],
  ['docker compose run --rm -T certificates', 'docker compose run --rm -T certificate', /nobody said/],
  ['docker compose cp nginx:/etc/lanyard/certs/ca.pem .', 'docker compose cp nginx:/certs/ca.pem .', /nobody said/],
  ['docker compose exec gateway node src/main.ts check', 'docker compose exec gateway lanyard check', /nobody said/],
  ['systemctl reload lanyard', 'systemctl relaod lanyard', /nobody said/],
  ['systemctl restart lanyard', 'systemctl restart lanyrd', /no units "lanyrd"/],
  ['journalctl -u lanyard -f -o cat', 'journalctl -u lanyard -F -o cat', /nobody said/],
  ['certbot renew --dry-run', 'certbot renew --dry', /nobody said/],
  ['git stash pop', 'git stash pup', /nobody said/],
  ['npm --version', 'npm --versions', /nobody said/],
  ['npx lanyard doctor --deep --url URL', 'npx lanyard doctor --deeper', /no such option/],
  ['ollama pull mistral:7b', 'curl http://localhost:4000/helth', /did not get through/],
  ['touch config/lanyard.yaml', 'sh deploy/cert.sh certs', /no files "deploy\/cert\.sh"/],
];

test('a command that is not right is found out, in a sentence and in a table', () => {
  let page = text('docs/OPERATIONS.md');
  for (const [told, mistaken] of MISTAKES) {
    expect(page).toContain(`\`${told}\``);
    page = page.replace(`\`${told}\``, `\`${mistaken}\``);
  }
  const wrong = wrongIn('page', page);
  for (const [, mistaken, why] of MISTAKES) {
    const [found, ...more] = wrong.filter((one) => one.includes(`\`${mistaken}\``));
    expect(found, mistaken).toMatch(why);
    expect(more).toEqual([]);
  }
  expect(wrong).toHaveLength(MISTAKES.length);
});

test.each([
  ['lanyard chek', /no such command/],
  ['npx lanyard doctor --jason', /no such option/],
  ['npm run formats', /no such script/],
  ['lanyard_backends_up', /no such metric/],
  ['LanyardOnFire', /no such alert/],
  ['x-lanyard-model-name', /no such header/],
  ['limits.ip.rate', /no such option/],
  ['metrics.allowed', /no such option/],
  ['queue_wait_max', /no such limit/],
  ['upstream_unhappy', /no such code/],
  ['deploy/self-signed.sh', /no such file/],
])('`%s` is found out', (words, why) => {
  expect(unknown(words)).toMatch(why);
});

test('there is something to be found', () => {
  expect(COMMANDS).toEqual(expect.arrayContaining(['serve', 'check', 'key', 'init', 'import', 'doctor']));
  expect(OPTIONS.size).toBeGreaterThan(50);
  expect(METRICS.size).toBeGreaterThan(25);
  expect(ALERTS.size).toBeGreaterThan(8);
});
