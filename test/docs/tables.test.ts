// The tables of the pages say what the code says: every error with its status and type, every metric with its labels, every
// header, every limit with its default, none missing and none invented.
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isMap, parseDocument } from 'yaml';
import { openMetrics } from '../../src/ops/metrics.ts';
import { openLine } from '../stage/line.ts';
import { NGINX, OURS } from './codes.ts';
import { ROOT } from './stage.ts';

const text = (name: string): string => readFileSync(join(ROOT, name), 'utf8');
const API = text('docs/API.md');
const OPERATIONS = text('docs/OPERATIONS.md');

/** The rows of the table under a heading, each as its cells. */
function rowsUnder(page: string, heading: string): string[][] {
  const section = page.split(new RegExp(`^#+ ${RegExp.escape(heading)}$`, 'm'))[1]?.split(/^#+ /m)[0] ?? '';
  const rows = section.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('|---'));
  return rows.slice(1).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const unquoted = (cell = ''): string => cell.replaceAll('`', '');

test('API.md has every error of the gateway, by its code, status and type', () => {
  const told = rowsUnder(API, 'By the gateway').map(([code, status, type]) => `${unquoted(code)} ${status} ${type}`);
  expect(OURS.size).toBeGreaterThan(25);
  expect(told.toSorted()).toEqual([...OURS].map(([code, { status, type }]) => `${code} ${status} ${type}`).toSorted());
});

test('API.md has every refusal of nginx, by its code and status', () => {
  const told = rowsUnder(API, 'By nginx').map(([code, status]) => `${unquoted(code)} ${status}`);
  expect(NGINX.size).toBeGreaterThan(10);
  expect(told.toSorted()).toEqual([...NGINX].map(([code, { status }]) => `${code} ${status}`).toSorted());
});

test('API.md has every metric, by its name, type and labels', async () => {
  const told = rowsUnder(API, 'Metrics').map(([name, type, labels]) => {
    return `${unquoted(name)} ${type} ${labels === '–' ? '' : unquoted(labels).split(', ').toSorted().join()}`;
  });
  const had = await metricsWithLabels();
  expect(had.length).toBeGreaterThan(25);
  expect(told.toSorted()).toEqual(had.toSorted());
});

/** Of a registry in which everything has happened once. */
async function metricsWithLabels(): Promise<string[]> {
  const metrics = openMetrics(
    {
      in_flight: () => 1,
      queued: () => 1,
      connections: () => 1,
      connections_max: () => 1,
      body_bytes: () => 1,
      redis_up: () => true,
      backends: () => [{ name: 'one', up: true, in_flight: 1, slots: 1 }],
      models: () => [{ name: 'one', deployments_up: 1 }],
      has: () => ({ batch: true, cache: true }),
      lines: () => 1,
      waiting: () => 1,
      batches: () => Promise.resolve(new Map([['completed', 1]])),
      cache_bytes: () => 1,
      certificates: () => Promise.resolve([{ file: 'one', expires_at_s: 1 }]),
    },
    'test',
  );
  metrics.redis_errors.inc({ kind: 'timeout' });
  metrics.loaded('one', 1);
  metrics.upstream('created', 'one');
  metrics.record(
    {
      id: '',
      endpoint: 'chat/completions',
      started_at: 0,
      key: 'one',
      model: 'one',
      backend: 'one',
      streamed: true,
      status: 502,
      end: 'backend_failed',
      code: 'upstream_reset',
      cause: '',
      retries: 1,
      shared: false,
      tokens_in: 2,
      tokens_out: 2,
      tokens_told: 2,
      queued_ms: 1,
      load_ms: 1,
      first_byte_at: 1,
      cancel_ms: 1,
    },
    2,
  );
  const { body } = await metrics.text();
  const samples = [...body.matchAll(/^(lanyard_\w+)(?:\{(.*)\})? \S+$/gm)];
  return [...body.matchAll(/^# TYPE (lanyard_\w+) (\w+)$/gm)].map(([, name = '', type = '']) => {
    const own = samples.find(([, of = '']) => of === name || of === `${name}_sum`);
    if (own === undefined) throw new Error(`${name} has no sample here: make it happen`);
    const labels = [...(own[2] ?? '').matchAll(/(\w+)="/g)].map(([, label = '']) => label);
    return `${name} ${type} ${labels.toSorted().join()}`;
  });
}

test('API.md has every header the gateway reads or sets, and no other', () => {
  const told = ['Request headers', 'Response headers'].flatMap((heading) =>
    rowsUnder(API, heading).map(([name]) => unquoted(name)),
  );
  const sources = globSync('src/**/*.ts', { cwd: ROOT, exclude: ['src/doctor/**', 'src/cli/**'] })
    .map(text)
    .join('\n');
  const OWN =
    /'(x-(?:request-id|lanyard|ratelimit|should-retry|accel|cache|stainless)[a-z-]*|openai-processing-ms|retry-after(?:-ms)?|www-authenticate|cache-control|idempotency-key|deprecation)'/g;
  const set = new Set([...sources.matchAll(OWN)].map(([, name = '']) => name));
  // What Koa's router sets by itself, HTTP's own, and one that is both asked and answered.
  expect(told.toSorted()).toEqual([...set, 'allow', 'link', 'location', 'cache-control'].toSorted());
});

test('API.md has every header that answers and refusals come with', async () => {
  const told = new Set(rowsUnder(API, 'Response headers').map(([name]) => unquoted(name)));
  // Those of HTTP itself.
  for (const name of ['content-type', 'content-length', 'transfer-encoding', 'date', 'connection', 'keep-alive'])
    told.add(name);
  const { gateway, chat } = await openLine({ ip: '{ requests: 1/min, burst: 1 }' });
  const path = '/v1/chat/completions';
  const answers = [
    await gateway.ask(path, chat({ stream: false })),
    await gateway.ask(path, chat({ stream: true })),
    await gateway.ask(path, chat()),
    await gateway.ask('/v1/models'),
    await gateway.ask('/v1/models', {}),
    await fetch(`${gateway.url}/v1/models`),
  ];
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 429, 200, 405, 401]);
  for (const answer of answers) {
    await answer.text();
    expect([...answer.headers.keys()].filter((name) => !told.has(name))).toEqual([]);
  }
});

test('OPERATIONS.md has every limit with its default, and the lines of nginx.conf as they stand', () => {
  const rows = rowsUnder(OPERATIONS, 'Limits');
  const defaults = new Map(statedDefaults());
  const told = rows.flatMap(([, option = '']) => [...option.matchAll(/`([\w.[\]]+)` ([\w/]+)/g)]);
  expect(told.length).toBeGreaterThan(18);
  for (const [, path = '', value = ''] of told) expect(defaults.get(path), path).toBe(value);
  // None is missing.
  const limits = [...defaults.keys()].filter((path) => path.startsWith('limits.') && !path.endsWith('trusted_proxies'));
  expect(told.map(([, path]) => path)).toEqual(expect.arrayContaining(limits.filter((path) => path !== 'limits.ip')));

  const conf = text('nginx.conf');
  const lines = rows.flatMap(([, , cell = '']) => [...cell.matchAll(/`([^`]+)`/g)].map(([, line = '']) => line));
  expect(lines.length).toBeGreaterThan(10);
  for (const line of lines) expect(conf, line).toContain(line);
});

/** Of each option, as lanyard.example.yaml states it behind "default:", which its own test holds to be true. */
function statedDefaults(): [string, string][] {
  const example = text('config/lanyard.example.yaml');
  const lines = example.split('\n');
  const found: [string, string][] = [];
  const visit = (node: unknown, at: string): void => {
    if (!isMap(node)) return;
    for (const { key, value } of node.items) {
      const path = at === '' ? String(key) : `${at}.${String(key)}`;
      const { range } = key as { range: [number, number, number] };
      const line = lines[example.slice(0, range[0]).split('\n').length - 1] ?? '';
      const stated = /default: (\S+?)[.,;]?(?=\s|$)/.exec(line)?.[1];
      const written = /: (\S+)/.exec(line)?.[1];
      if (stated !== undefined) found.push([path, stated]);
      // A burst is what follows from the rate; the example writes it out.
      else if (path === 'limits.ip.burst' && written !== undefined) found.push([path, written]);
      visit(value, path);
    }
  };
  visit(parseDocument(example).contents, '');
  return [...found, ['auth.keys[].limits', 'none']];
}
