// The Grafana board's file: that Grafana can show it, and that every panel says what it is. Its queries are asked of a real
// Prometheus in prometheus-live.test.ts.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { BOARD, interpolate, metricNames, PANELS } from './board.ts';
import { path } from './rules.ts';

test('its rows are what a team looks for, in that order', () => {
  const rows = BOARD.panels.filter(({ type }) => type === 'row').map(({ title }) => title);
  expect(rows).toEqual(['Now', 'Speed', 'Use', 'Refusals', 'Failures', 'Batches', 'Process']);
});

test('panels have an id each and share no place', () => {
  expect(new Set(BOARD.panels.map(({ id }) => id)).size).toBe(BOARD.panels.length);
  const taken = new Map<string, string>();
  for (const { title, gridPos } of BOARD.panels) {
    expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
        expect(taken.get(`${x} ${y}`), title).toBeUndefined();
        taken.set(`${x} ${y}`, title);
      }
    }
  }
  // Nor do they leave holes.
  const height = Math.max(...BOARD.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  expect(taken.size).toBe(24 * height);
});

describe.each(PANELS)('the panel "$title"', ({ description = '', fieldConfig, datasource, targets = [] }) => {
  test('says what it shows and in which unit, of the data source that is chosen', () => {
    expect(description).toMatch(/^\S.{20,160}[.]$/);
    expect(UNITS).toContain(fieldConfig?.defaults.unit);
    expect(datasource).toEqual({ type: 'prometheus', uid: '${datasource}' });
  });

  test('asks for something, and names each line by labels the question keeps', () => {
    expect(targets.length).toBeGreaterThan(0);
    expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
    for (const { expr, legendFormat } of targets) {
      expect(metricNames(interpolate(expr)).size).toBeGreaterThan(0);
      expect(legendFormat).not.toBe('');
      const kept = /\bby \(([^)]*)\)/.exec(expr)?.[1]?.split(', ');
      for (const [, label = ''] of legendFormat.matchAll(/\{\{(\w+)\}\}/g))
        expect(kept ?? ['instance']).toContain(label);
    }
  });
});

/** Of Grafana's list (packages/grafana-data/src/valueFormats/categories.ts), and its own way to add a word. */
const UNITS = ['none', 'short', 'percentunit', 's', 'dtdurations', 'bytes', 'reqps', 'eps', 'suffix: tokens/s'];

test('Grafana is told where Prometheus is and how often it looks, and where the board is', () => {
  const read = (name: string): unknown => parse(readFileSync(path(`deploy/grafana/provisioning/${name}`), 'utf8'));
  const { scrape_interval } = (
    parse(readFileSync(path('deploy/prometheus.yml'), 'utf8')) as { global: { scrape_interval: string } }
  ).global;
  expect(read('datasources/prometheus.yml')).toMatchObject({
    apiVersion: 1,
    datasources: [
      {
        uid: 'prometheus',
        type: 'prometheus',
        url: 'http://prometheus:9090',
        isDefault: true,
        jsonData: { timeInterval: scrape_interval },
      },
    ],
  });
  expect(read('dashboards/lanyard.yml')).toMatchObject({
    apiVersion: 1,
    providers: [{ type: 'file', options: { path: '/var/lib/grafana/dashboards' } }],
  });
  // The board stands on that data source until another is chosen.
  expect(BOARD.templating.list[0]).toMatchObject({ type: 'datasource', current: { value: 'prometheus' } });
  expect(JSON.stringify(BOARD).match(/"uid":"(?!\$\{datasource\})[^"]*"/g)).toEqual(['"uid":"lanyard"']);
});

describe('the reading of queries', () => {
  test('finds every metric and nothing else', () => {
    const expr =
      'sum by (a, le) (rate(b_total{c="d{e}", f=~"g"}[5m])) / on(h) group_left(i) j:k:rate5m > 0.5 or vector(1e3) unless l offset 5m and ignoring (m) n';
    expect([...metricNames(expr)]).toEqual(['b_total', 'j:k:rate5m', 'l', 'n']);
  });

  test.each([
    [{}, 'x{model=~".*"}'],
    [{ model: ['coder'] }, 'x{model=~"coder"}'],
    [{ model: ['qwen2.5-coder:14b', 'a+b'] }, String.raw`x{model=~"(qwen2\\.5-coder:14b|a\\+b)"}`],
  ])('puts the choice %j in as Grafana does', (choice, expected) => {
    expect(interpolate('x{model=~"$model"}', choice)).toBe(expected);
  });
});
