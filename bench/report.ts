// What is told at the end: one table as text, everything as JSON, and RESULTS.md, which keeps of each measure the last run.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Figure, Measure } from './measure.ts';
import { ratioOf, spreadOf, valuesOf, type Result, type SubjectResult, type Values } from './rounds.ts';

export interface Report {
  readonly machine: Readonly<Record<string, string>>;
  readonly quick: boolean;
  /** What was left out, and why. */
  readonly notes: readonly string[];
  readonly results: readonly Result[];
}

const RESULTS = fileURLToPath(new URL('RESULTS.md', import.meta.url));
/** What stands above this line in RESULTS.md is written by hand. */
const MARK = '<!-- Below: the last run of each measure, written by `npm run bench -- --keep`. -->';

/** Markdown that reads as plain text too. */
export function table(report: Report): string {
  const { quick, notes, results } = report;
  const head = quick ? ['A quick run: it shows that everything runs, and its figures say little.\n'] : [];
  const tail = notes.length > 0 ? [`${notes.map((text) => `- ${text}`).join('\n')}\n`] : [];
  return [...head, ...results.map((result) => section(result, report)), ...tail].join('\n');
}

/** One measure, with all that is needed to read it. */
function section({ measure, rounds, subjects }: Result, { machine }: Report): string {
  const versions = subjects.map(({ name, version }) => `${name} ${version}`).join(', ');
  const ran = [
    new Date().toISOString().slice(0, 10),
    ...Object.entries(machine).map(([name, told]) => `${name}: ${told}`),
  ];
  const lines = [
    `## ${measure.title}`,
    '',
    ran.join(' · '),
    '',
    `${versions}. ${rounds} ${rounds === 1 ? 'round' : 'rounds'}: median (lowest–highest), × ${measure.base}${added(measure)}.`,
    '',
  ];
  const rows = [['', ...subjects.map(({ name }) => name)]];
  for (const figure of measure.figures) {
    const values = subjects.map((subject) => valuesOf(figure, subject, subjects));
    // One that no subject gave in this run, as most of a quick one, would be a row of dashes.
    if (values.flat().every((value) => value === undefined)) continue;
    const base = subjects.findIndex(({ name }) => name === measure.base);
    const cells = subjects.map(({ name }, at) => {
      // What is told whole beside others' additions has no ratio to them.
      const is_whole = figure.added_to === name;
      const is_added = figure.added_to !== undefined && !is_whole;
      return cell(figure, is_added, values[at]!, at === base || is_whole ? undefined : values[base]);
    });
    rows.push([`${figure.title} (${figure.unit})`, ...cells]);
  }
  lines.push(...aligned(rows));
  const targets = measure.figures.flatMap((figure) => verdicts(figure, subjects));
  if (targets.length > 0) lines.push('', ...targets.map((text) => `- ${text}`));
  return `${lines.join('\n')}\n`;
}

export function toJson({ machine, quick, notes, results }: Report): string {
  const measures = results.map(({ measure, rounds, subjects }) => ({
    name: measure.name,
    title: measure.title,
    rounds,
    figures: measure.figures.map(({ name, title, unit, added_to, target }) => ({
      name,
      title,
      unit,
      added_to,
      target: target?.text,
    })),
    subjects,
  }));
  return `${JSON.stringify({ machine, at: new Date().toISOString(), quick, notes, measures }, undefined, 2)}\n`;
}

/** Puts the sections below the mark of RESULTS.md: each in its older one's place, or behind the others. */
export function keep(report: Report): void {
  const [head = '', kept = ''] = readFileSync(RESULTS, 'utf8').split(MARK);
  const sections = new Map<string, string>();
  for (const text of kept.split(/^(?=## )/m))
    if (text.startsWith('## ')) sections.set(titleOf(text), `${text.trimEnd()}\n`);
  for (const result of report.results) sections.set(`## ${result.measure.title}`, section(result, report));
  writeFileSync(RESULTS, `${head}${MARK}\n\n${[...sections.values()].join('\n')}`);
}

function titleOf(text: string): string {
  return text.slice(0, text.indexOf('\n'));
}

function added({ figures }: Measure): string {
  const to = new Set(figures.flatMap(({ added_to }) => added_to ?? []));
  return to.size === 0 ? '' : `; + is what it adds to ${[...to].join(' and ')} in the same round`;
}

function cell({ digits = 1 }: Figure, is_added: boolean, values: Values, base: Values | undefined): string {
  const spread = spreadOf(values);
  if (spread === undefined) return '–';
  const text = (value: number): string => value.toFixed(digits);
  const range = values.length > 1 ? ` (${text(spread.low)}–${text(spread.high)})` : '';
  const ratio = base === undefined ? undefined : ratioOf(values, base);
  const sign = is_added && spread.median >= 0 ? '+' : '';
  return `${sign}${text(spread.median)}${range}${ratio === undefined ? '' : `, ${ratio < 100 ? ratio.toPrecision(2) : ratio.toFixed(0)}×`}`;
}

/** Targets are ours: they are held against `lanyard` and whatever begins with that name. */
function verdicts(figure: Figure, subjects: readonly SubjectResult[]): string[] {
  const { title, target } = figure;
  if (target === undefined) return [];
  return subjects.flatMap((subject) => {
    const values = valuesOf(figure, subject, subjects);
    const own = spreadOf(values);
    if (!subject.name.startsWith('lanyard') || own === undefined) return [];
    const ratio = (to: string): number | undefined => {
      const other = subjects.find((one) => one.name === to);
      return other === undefined ? undefined : ratioOf(values, valuesOf(figure, other, subjects));
    };
    return [
      `${target.met(own[figure.worst ?? 'median'], ratio) ? 'met' : 'MISSED'}: ${title}, ${subject.name}: ${target.text}`,
    ];
  });
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(3, ...rows.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]): string =>
    `| ${widths.map((width, at) => (row[at] ?? '').padEnd(width)).join(' | ')} |`;
  const [head = [], ...rest] = rows;
  return [line(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rest.map(line)];
}
