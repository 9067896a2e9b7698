// The rounds of one measure: every subject once a round, each round beginning with another one, and what they gave as
// medians, spreads and ratios. A ratio is of two subjects in one round; the median is over the rounds.
import type { Bench, Figure, Measure, Sample } from './measure.ts';

export interface Result {
  readonly measure: Measure;
  readonly rounds: number;
  readonly subjects: readonly SubjectResult[];
}

export interface SubjectResult {
  readonly name: string;
  readonly version: string;
  readonly samples: readonly Sample[];
}

export async function runRounds(measure: Measure, rounds: number, bench: Bench): Promise<Result> {
  const subjects = await measure.open(bench);
  const samples = subjects.map((): Sample[] => []);
  try {
    for (let round = 0; round < rounds; round += 1) {
      for (let step = 0; step < subjects.length; step += 1) {
        const at = (round + step) % subjects.length;
        const subject = subjects[at]!;
        const turn = `${measure.name} ${round + 1}/${rounds} ${subject.name}`;
        try {
          const sample = await subject.round();
          samples[at]!.push(sample);
          bench.note(`${turn}: ${inShort(measure, sample)}`);
        } catch (error) {
          // That a rival cannot is a result; that Lanyard cannot is a bug.
          if (subject.name.startsWith('lanyard') || !(error instanceof Error)) throw error;
          samples[at]!.push({});
          bench.note(`left out: ${turn}: ${error.message.split('\n')[0]}`);
        }
      }
    }
  } finally {
    await Promise.all(subjects.map((one) => one.close()));
  }
  return {
    measure,
    rounds,
    subjects: subjects.map(({ name, version }, at) => ({ name, version, samples: samples[at]! })),
  };
}

/** A figure round by round, as it is told; undefined in a round that lacks it. */
export type Values = readonly (number | undefined)[];

/** What was sampled, or what that adds to another subject's in the same round. */
export function valuesOf(
  { name, added_to }: Figure,
  subject: SubjectResult,
  subjects: readonly SubjectResult[],
): Values {
  const own = subject.samples.map((sample) => sample[name]);
  if (added_to === undefined || added_to === subject.name) return own;
  const other = subjects.find((one) => one.name === added_to);
  return own.map((value, round) => {
    const taken_off = other?.samples[round]?.[name];
    return value === undefined || taken_off === undefined ? undefined : value - taken_off;
  });
}

/** The figure over the rounds, and how far it went; undefined where the subject never gave it. */
export function spreadOf(values: Values): { median: number; low: number; high: number } | undefined {
  const given = values.filter((value) => value !== undefined);
  if (given.length === 0) return undefined;
  return { median: median(given), low: Math.min(...given), high: Math.max(...given) };
}

/** The median over the rounds of one subject's figure by another's; undefined where a round lacks either, or is by nothing. */
export function ratioOf(own: Values, to: Values): number | undefined {
  const ratios: number[] = [];
  for (const [round, value] of own.entries()) {
    const other = to[round];
    if (value === undefined || other === undefined || other <= 0) return undefined;
    ratios.push(value / other);
  }
  return ratios.length === 0 ? undefined : median(ratios);
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** By linear interpolation between the two nearest; NaN of nothing. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}

function inShort({ figures }: Measure, sample: Sample): string {
  return figures
    .flatMap(({ name, unit, digits = 1 }) => {
      const value = sample[name];
      return value === undefined ? [] : [`${name} ${value.toFixed(digits)} ${unit}`];
    })
    .join(', ');
}
