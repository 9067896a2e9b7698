// `npm run bench`: how fast Lanyard is, beside others, on this machine. Prints one table, and keeps it with `--keep` in
// bench/RESULTS.md; `--json FILE` writes all figures of all rounds. `--quick` shows in two minutes that everything runs.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { describeMachine, unfit } from './machine.ts';
import type { Bench, Measure } from './measure.ts';
import { batches } from './measures/batches.ts';
import { bodies } from './measures/bodies.ts';
import { cancel } from './measures/cancel.ts';
import { exactness } from './measures/exactness.ts';
import { idle } from './measures/idle.ts';
import { limits } from './measures/limits.ts';
import { requests } from './measures/requests.ts';
import { streams } from './measures/streams.ts';
import { keep, table, toJson } from './report.ts';
import { runRounds, type Result } from './rounds.ts';

const MEASURES: readonly Measure[] = [requests, streams, idle, bodies, limits, exactness, cancel, batches];
const ROUNDS = 5;

const USAGE = `usage: npm run bench -- [--quick] [--only ${MEASURES.map(({ name }) => name).join('|')}]… [--rounds N] [--json FILE] [--keep]`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      rounds: { type: 'string' },
      json: { type: 'string' },
      keep: { type: 'boolean', default: false },
    },
  });
  const rounds = Number(values.rounds ?? (values.quick ? 1 : ROUNDS));
  const unknown = values.only.filter((name) => !MEASURES.some((one) => one.name === name));
  if (!Number.isInteger(rounds) || rounds < 1 || unknown.length > 0) {
    process.stderr.write(`${USAGE}\n`);
    return 2;
  }
  const reason = unfit();
  if (reason !== undefined) {
    process.stderr.write(`bench: ${reason}\n`);
    return 1;
  }
  const notes: string[] = [];
  const bench: Bench = {
    quick: values.quick,
    note: (text) => {
      if (text.startsWith('left out') && !notes.includes(text)) notes.push(text);
      process.stderr.write(`bench: ${text}\n`);
    },
  };
  const results: Result[] = [];
  for (const measure of MEASURES) {
    if (values.only.length > 0 && !values.only.includes(measure.name)) continue;
    results.push(await runRounds(measure, Math.min(rounds, measure.rounds_max ?? rounds), bench));
  }
  const report = { machine: describeMachine(), quick: values.quick, notes, results };
  process.stdout.write(table(report));
  if (values.json !== undefined) writeFileSync(values.json, toJson(report));
  if (values.keep) keep(report);
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n${USAGE}\n`);
  process.exitCode = 1;
}
