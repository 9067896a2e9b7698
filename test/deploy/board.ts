// The Grafana board as its file has it, and its queries as Grafana would send them.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number };
  readonly datasource?: unknown;
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string; readonly noValue?: string } };
  readonly targets?: readonly Target[];
}

interface Target {
  readonly refId: string;
  readonly expr: string;
  readonly legendFormat: string;
}

interface Variable {
  readonly type: 'datasource' | 'query';
  readonly name: string;
  readonly query: string | { readonly query: string };
  readonly allValue?: string;
}

export const BOARD = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../deploy/grafana/dashboards/lanyard.json', import.meta.url)), 'utf8'),
) as {
  readonly uid: string;
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly Variable[] };
};

export const PANELS = BOARD.panels.filter(({ type }) => type !== 'row');
export const VARIABLES = BOARD.templating.list.filter(({ type }) => type === 'query');

export interface Question {
  readonly panel: Panel;
  readonly expr: string;
}

export const QUESTIONS: readonly Question[] = PANELS.flatMap((panel) =>
  (panel.targets ?? []).map(({ expr }) => ({ panel, expr })),
);

/** The variables' chosen values by name; a variable that is left out stands on All. */
export type Choice = Readonly<Record<string, readonly string[]>>;

/** As Grafana's Prometheus source does it (packages/grafana-prometheus/src/datasource.ts, interpolateQueryExpr). */
export function interpolate(expr: string, choice: Choice = {}): string {
  return expr.replaceAll(/\$(\w+)/g, (_, name: string) => {
    if (name === '__rate_interval') return '1m';
    if (name === '__range') return '1h';
    const variable = VARIABLES.find((one) => one.name === name);
    if (variable === undefined) throw new Error(`no variable ${name}`);
    const values = choice[name]?.map((value) => value.replaceAll(/[$^*{}[\]'+?.()|]/g, String.raw`\\$&`));
    if (values === undefined) return variable.allValue ?? '';
    return values.length === 1 ? String(values[0]) : `(${values.join('|')})`;
  });
}

const WORDS = new Set(['and', 'or', 'unless', 'bool', 'offset']);

/** Every metric an expression names: what is neither a string, a label, a function, a number nor a word of the language. */
export function metricNames(expr: string): Set<string> {
  const bare = expr
    .replaceAll(/"(?:[^"\\]|\\.)*"/g, '')
    .replaceAll(/\{[^}]*\}|\[[^\]]*\]/g, ' ')
    .replaceAll(/\b(?:by|without|on|ignoring|group_left|group_right) *\([^)]*\)/g, ' ');
  const names = bare.match(/(?<![\w.])[a-zA-Z_:][\w:]*(?! *\()(?![\w:])/g) ?? [];
  return new Set(names.filter((name) => !WORDS.has(name)));
}
