// Every link of the pages leads somewhere: to a file that is there, to a heading that is there.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, test } from 'vitest';
import { readPage } from './page.ts';
import { ROOT } from './stage.ts';

const PAGES = [
  ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`),
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
].filter((name) => name.endsWith('.md'));

const text = (name: string): string => readFileSync(join(ROOT, name), 'utf8');

/** What does not lead anywhere. */
function broken(name: string, page: string): string[] {
  return readPage(page).links.flatMap(({ line, target }) => {
    if (/^https?:/.test(target)) return [];
    const [path = '', anchor] = target.split('#');
    const file = path === '' ? name : relative(ROOT, join(ROOT, dirname(name), path));
    const there = file === name || (!file.startsWith('..') && existsSync(join(ROOT, file)));
    if (!there) return [`${name}:${line} ${target}: no such file`];
    if (anchor === undefined) return [];
    const anchors = readPage(file === name ? page : text(file)).anchors;
    return anchors.has(anchor) ? [] : [`${name}:${line} ${target}: no such heading`];
  });
}

test.each(PAGES)('every link of %s leads somewhere', (name) => {
  expect(broken(name, text(name))).toEqual([]);
});

test('the pages of docs/ point to one another', () => {
  const links = PAGES.filter((name) => name.startsWith('docs/')).flatMap((name) => readPage(text(name)).links);
  expect(links.length).toBeGreaterThan(15);
});

test('every alert points to a heading of its runbook', () => {
  const runbooks = [...text('deploy/alerts.yml').matchAll(/runbook(?:_url)?: (\S+?)#(\S+)/g)];
  expect(runbooks.length).toBeGreaterThan(5);
  for (const [, file = '', anchor = ''] of runbooks) expect(readPage(text(file)).anchors, anchor).toContain(anchor);
});

test('each alert is named under the heading it points to', () => {
  const alerts = text('deploy/alerts.yml')
    .split('- alert: ')
    .slice(1)
    .map((one) => ({ name: one.split('\n', 1)[0] ?? '', anchor: /runbook(?:_url)?: \S+#(\S+)/.exec(one)?.[1] ?? '' }));
  for (const section of text('docs/OPERATIONS.md').split(/^## /m).slice(1)) {
    const anchor = (section.split('\n', 1)[0] ?? '').toLowerCase().replaceAll(' ', '-');
    for (const { name } of alerts.filter((one) => one.anchor === anchor))
      expect(section, name).toContain(`\`${name}\``);
  }
});

test('a link to nowhere is found', () => {
  const page =
    '# One\n[a](#one) [b](#two) [c](../README.md#lanyard) [d](NOT.md) [e](API.md#nothing) [f](../../x)\n`[g](h)`\n';
  expect(broken('docs/PAGE.md', page)).toEqual([
    'docs/PAGE.md:2 #two: no such heading',
    'docs/PAGE.md:2 NOT.md: no such file',
    'docs/PAGE.md:2 API.md#nothing: no such heading',
    'docs/PAGE.md:2 ../../x: no such file',
  ]);
});
