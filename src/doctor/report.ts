// The findings for people: by area, one line each, a plain mark in front, what to do beneath. And for scripts: one JSON
// document of the very same findings.
import { styleText } from 'node:util';
import type { Finding, Status } from './finding.ts';

const MARKS: Readonly<Record<Status, string>> = {
  ok: 'ok',
  note: 'note',
  warn: 'warn',
  fail: 'FAIL',
  skipped: 'skip',
};

const COLOURS = { ok: 'green', note: 'cyan', warn: 'yellow', fail: 'red', skipped: 'gray' } as const;

const PLURALS: Readonly<Record<Status, (n: number) => string>> = {
  ok: (n) => `${n} ok`,
  note: (n) => (n === 1 ? '1 note' : `${n} notes`),
  warn: (n) => (n === 1 ? '1 warning' : `${n} warnings`),
  fail: (n) => (n === 1 ? '1 failure' : `${n} failures`),
  skipped: (n) => `${n} skipped`,
};

const SUBJECT_WIDTH_MAX = 36;

/** Lines for a reader; `colour` where it is a terminal. */
export function asText(findings: readonly Finding[], colour: boolean): string[] {
  const lines: string[] = [];
  const areas = Map.groupBy(findings, ({ check }) => areaOf(check));
  for (const [area, members] of areas) {
    lines.push(area);
    const titles = members.map(({ check, subject }) =>
      [subject, whatOf(check)].filter((part) => part !== '').join(' '),
    );
    const width = Math.min(Math.max(...titles.map((title) => title.length)), SUBJECT_WIDTH_MAX);
    for (const [at, finding] of members.entries()) {
      const mark = MARKS[finding.status].padEnd(4);
      const shown = colour ? styleText(COLOURS[finding.status], mark, { validateStream: false }) : mark;
      lines.push(`  ${shown}  ${(titles[at] ?? '').padEnd(width)}  ${finding.found}`);
      if (finding.do !== '' && finding.status !== 'ok') lines.push(`        → ${finding.do}`);
    }
    lines.push('');
  }
  lines.push(countsOf(findings));
  return lines;
}

export function asJson(findings: readonly Finding[], version: string): string {
  return JSON.stringify({ version, findings }, null, 2);
}

/** 0: fine, or only notes and what was skipped; 1: something is wrong. */
export function statusOf(findings: readonly Finding[]): 0 | 1 {
  return findings.some(({ status }) => status === 'warn' || status === 'fail') ? 1 : 0;
}

/**
 * Without what must not be shown: a secret, and characters that move a cursor (names and versions come from servers).
 * A word of less than eight characters may stand anywhere, and is no secret.
 */
export function cleaned(findings: readonly Finding[], secrets: readonly string[]): Finding[] {
  const hidden = secrets.filter((secret) => secret.length >= 8);
  const clean = (text: string): string =>
    hidden
      .reduce((rest, secret) => rest.replaceAll(secret, '(secret)'), text)
      .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ');
  return findings.map(({ check, status, ...finding }) => ({
    check,
    subject: clean(finding.subject),
    status,
    found: clean(finding.found),
    do: clean(finding.do),
  }));
}

function countsOf(findings: readonly Finding[]): string {
  const all: Status[] = ['ok', 'note', 'warn', 'fail', 'skipped'];
  const told = all.flatMap((status) => {
    const n = findings.filter((finding) => finding.status === status).length;
    return n === 0 ? [] : [PLURALS[status](n)];
  });
  return told.length === 0 ? 'nothing was looked at' : told.join(', ');
}

function areaOf(check: string): string {
  return check.split('.', 1)[0] ?? check;
}

function whatOf(check: string): string {
  return check.slice(areaOf(check).length + 1);
}
