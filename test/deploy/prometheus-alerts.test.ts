// deploy/prometheus.yml, rules.yml and alerts.yml by Prometheus' own tool, and what the tool does not ask: that each alert
// was seen to fire and to keep quiet, and tells a person what to do.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parse } from 'yaml';
import { findProgram } from '../stage/program.ts';
import { metricNames, PANELS } from './board.ts';
import { ALERTS, path, RECORDINGS } from './rules.ts';

interface Case {
  readonly name: string;
  readonly input_series: readonly { readonly series: string }[];
  readonly promql_expr_test: readonly Expected[];
}

interface Expected {
  readonly expr: string;
  readonly exp_samples: readonly { readonly labels: string }[];
}

const SUITE = parse(readFileSync(path('test/deploy/alerts.yml'), 'utf8')) as { tests: readonly Case[] };
const { tests: CASES } = SUITE;

function casesOf(alert: string): readonly Case[] {
  return CASES.filter(({ promql_expr_test }) => promql_expr_test.some(({ expr }) => expr.includes(`"${alert}"`)));
}

function promtool(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(findProgram('promtool'), args, { encoding: 'utf8' });
  return status === 0 ? 'ok' : stdout + stderr;
}

test.each([
  ['check', 'config', path('deploy/prometheus.yml')],
  ['check', 'rules', '--lint=all', '--lint-fatal', path('deploy/rules.yml'), path('deploy/alerts.yml')],
  ['test', 'rules', path('test/deploy/alerts.yml')],
])('promtool %s %s has no complaint', (...args) => {
  expect(promtool(...args)).toBe('ok');
});

describe.each(ALERTS)('$alert', ({ alert, expr, labels, annotations }) => {
  const about = casesOf(alert);
  const asked = about
    .flatMap(({ promql_expr_test }) => promql_expr_test)
    .filter(({ expr }) => expr.startsWith(`ALERTS{alertname="${alert}", alertstate="firing"`));

  test('has a case in which it fires, and one in which it all but does', () => {
    expect(asked.some(({ exp_samples }) => exp_samples.length > 0)).toBe(true);
    expect(asked.some(({ exp_samples }) => exp_samples.length === 0)).toBe(true);
  });

  test('was judged by the metrics it looks at', () => {
    const given = new Set(about.flatMap(({ input_series }) => input_series.map(({ series }) => series.split('{')[0])));
    for (const name of raw(expr)) expect(given).toContain(name);
  });

  test('says how bad it is, what happens, what to do, and where to read on', () => {
    expect(['critical', 'warning']).toContain(labels['severity']);
    expect(Object.keys(annotations).sort()).toEqual(['description', 'runbook', 'summary']);
    expect(annotations['summary']?.length).toBeLessThan(120);
    expect(annotations['description']?.length).toBeGreaterThan(60);
    const [file = '', anchor = ''] = annotations['runbook']?.split('#') ?? [];
    expect(anchors(file)).toContain(anchor);
  });

  test('tells only labels that it has, and panels that the board has', () => {
    const text = Object.values(annotations).join('\n');
    const had = asked.flatMap(({ exp_samples }) => exp_samples.map(({ labels }) => labels)).join('\n');
    for (const [, label] of text.matchAll(/\$labels\.(\w+)/g)) expect(had).toContain(`${label}="`);
    const titles = PANELS.map(({ title }) => title);
    for (const [, list = ''] of text.matchAll(/panels? ((?:"[^"]+"(?: and )?)+)/g)) {
      for (const [, title] of list.matchAll(/"([^"]+)"/g)) expect(titles).toContain(title);
    }
  });
});

test('every case is about an alert there is', () => {
  const names = CASES.flatMap(({ promql_expr_test }) =>
    promql_expr_test.flatMap(({ expr }) => /alertname="(\w+)"/.exec(expr)?.[1] ?? []),
  );
  expect(new Set(names)).toEqual(new Set(ALERTS.map(({ alert }) => alert)));
});

// A near miss that no mistake would turn into a hit shows nothing: each of these mistakes must be found by the cases.
const MISTAKES: readonly [alert: string, from: string, to: string][] = [
  ['LanyardGatewayDown', 'for: 1m', 'for: 30s'],
  ['LanyardNoBackend', 'max by', 'min by'],
  ['LanyardBackendDown', 'for: 2m', 'for: 1m'],
  ['LanyardBackendFails', '> 5', '> 1'],
  ['LanyardBackendFails', '>= sum', '>= 9 * sum'],
  ['LanyardModelUnavailable', 'unless on (instance) max', 'unless on (instance) 1 + max'],
  ['LanyardModelUnavailable', '== 0\n', '<= 1\n'],
  ['LanyardErrors', '> 0.05', '> 0.03'],
  ['LanyardErrors', '>= 5', '>= 1'],
  ['LanyardStreamsBreak', '> 0.02', '> 0.005'],
  ['LanyardStreamsBreak', '>= 3', '>= 1'],
  ['LanyardQueueGrowing', 'min_over_time', 'max_over_time'],
  ['LanyardOverloaded', '> 5', '> 2'],
  ['LanyardSlowFirstToken', '> 10', '> 9'],
  ['LanyardSlowFirstToken', '>= 5', '>= 1'],
  ['LanyardSlowFirstToken', 'for: 10m', 'for: 1m'],
  ['LanyardConnectionsNearMax', '> 0.8', '> 0.78'],
  ['LanyardRedisAway', 'for: 1m', 'for: 30s'],
  ['LanyardCertificateExpires', '14 *', '15 *'],
  ['LanyardCertificateExpiresSoon', '3 *', '4 *'],
  ['LanyardCertificateUnreadable', 'for: 10m', 'for: 5m'],
  ['LanyardConfigurationRefused', 'for: 5m', 'for: 2m'],
  ['LanyardBug', 'code=', 'code!='],
  ['LanyardOutcomesLost', '[15m]', '[30m]'],
];

test.each(MISTAKES)('%s with %j turned into %j would be noticed', (alert, from, to) => {
  const [before = '', after = ''] = readFileSync(path('deploy/alerts.yml'), 'utf8').split(`- alert: ${alert}\n`);
  expect(after).toContain(from);
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-alerts-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'alerts.yml'), `${before}- alert: ${alert}\n${after.replace(from, to)}`);
  // JSON is YAML too.
  const cases = { ...SUITE, rule_files: [path('deploy/rules.yml'), 'alerts.yml'], tests: casesOf(alert) };
  writeFileSync(join(folder, 'cases.yml'), JSON.stringify(cases));
  expect(promtool('test', 'rules', join(folder, 'cases.yml'))).toContain(`alertname="${alert}"`);
});

test('there is a mistake for every alert', () => {
  expect(new Set(MISTAKES.map(([alert]) => alert))).toEqual(new Set(ALERTS.map(({ alert }) => alert)));
});

/** The metrics of the gateway that an expression comes to, recorded ones taken back to what they are made of. */
function raw(expr: string): string[] {
  return [...metricNames(expr)].flatMap((name) => {
    const recorded = RECORDINGS.find(({ record }) => record === name);
    return recorded === undefined ? [name] : raw(recorded.expr);
  });
}

/** As GitHub makes them of headings. */
function anchors(file: string): string[] {
  const headings = readFileSync(path(file), 'utf8').matchAll(/^#+ (.+)$/gm);
  return [...headings].map(([, text = '']) =>
    text
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}
