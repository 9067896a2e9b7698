// The rules and alerts of deploy/ as their files have them.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

interface Recording {
  readonly record: string;
  readonly expr: string;
}

interface Alerting {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));

function rules(file: string): readonly unknown[] {
  const { groups } = parse(readFileSync(path(file), 'utf8')) as { groups: { rules: unknown[] }[] };
  return groups.flatMap(({ rules }) => rules);
}

export const RECORDINGS = rules('deploy/rules.yml') as readonly Recording[];
export const ALERTS = rules('deploy/alerts.yml') as readonly Alerting[];
