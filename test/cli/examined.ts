// `lanyard doctor` run as a function, on a configuration written into a folder of its own.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { doctor } from '../../src/cli/doctor.ts';
import type { Finding } from '../../src/doctor/finding.ts';
import { KEY } from '../stage/gateway.ts';

export interface Examined {
  readonly code: number;
  readonly findings: readonly Finding[];
  /** All findings of a check, as `subject: status found → do`. */
  readonly of: (check: string, subject?: string) => string[];
  /** The checks that found something wrong. */
  readonly wrong: readonly string[];
}

interface Options {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Text of `.env`, and its mode. */
  readonly dotenv?: { readonly text: string; readonly mode: number };
  /** Where engines are looked for when none is configured. */
  readonly ports?: readonly number[];
  readonly mode?: number;
}

/** An nginx of this machine's own is out of the way: it is not asked. */
export async function examined(yaml: string, options: Options = {}): Promise<Examined> {
  const { args = [], env = { LITELLM_MASTER_KEY: KEY } } = options;
  const { code, lines, failed } = await ran(yaml, { ...options, args: ['--json', ...args], env });
  expect(failed).toEqual([]);
  const { findings } = JSON.parse(lines.join('\n')) as { findings: Finding[] };
  const told = ({ subject, status, found, do: remedy }: Finding): string =>
    `${subject}: ${status} ${found}${remedy === '' ? '' : ` → ${remedy}`}`;
  return {
    code,
    findings,
    wrong: findings.filter(({ status }) => status === 'warn' || status === 'fail').map(({ check }) => check),
    of: (check, subject) =>
      findings.filter((one) => one.check === check && (subject === undefined || one.subject === subject)).map(told),
  };
}

export async function ran(
  yaml: string,
  { args = [], env = {}, dotenv, ports = [], mode = 0o600 }: Options,
): Promise<{ code: number; lines: string[]; failed: string[] }> {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-doctor-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const path = join(dir, 'lanyard.yaml');
  writeFileSync(path, yaml, { mode });
  if (dotenv !== undefined) writeFileSync(join(dir, '.env'), dotenv.text, { mode: dotenv.mode });
  const [lines, failed]: [string[], string[]] = [[], []];
  const out = (line: string): void => void lines.push(line);
  const fail = (line: string): void => void failed.push(line);
  const nginx = (): Promise<undefined> => Promise.resolve(undefined);
  const around = { dir, colour: false, usual: [], ports, nginx, fail };
  const code = await doctor(['--config', path, ...args], out, env, around);
  return { code, lines, failed };
}
