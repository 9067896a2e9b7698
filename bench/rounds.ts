// The rounds of one measure: every subject once a round, each round beginning with another one, and what they gave as
// medians, spreads and ratios. A ratio is of two subjects in one round; the median is over the rounds.
import type { Bench, Measure, Sample } from './measure.ts';

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
        const sample = await subject.round();
        samples[at]!.push(sample);
        bench.note(`${measure.name} ${round + 1}/${rounds} ${subject.name}: ${inShort(measure, sample)}`);
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

/** The figure over the rounds, and how far it went; undefined where the subject never gave it. */
export function spreadOf(
  { samples }: SubjectResult,
  figure: string,
): { median: number; low: number; high: number } | undefined {
  const values = samples.flatMap((sample) => sample[figure] ?? []);
  if (values.length === 0) return undefined;
  return { median: median(values), low: Math.min(...values), high: Math.max(...values) };
}

/** The median over the rounds of the subject's figure by another's; undefined where a round lacks either, or is by 0. */
export function ratioOf(subject: SubjectResult, to: SubjectResult, figure: string): number | undefined {
  const ratios: number[] = [];
  for (const [round, sample] of subject.samples.entries()) {
    const [own, other] = [sample[figure], to.samples[round]?.[figure]];
    if (own === undefined || other === undefined || other === 0) return undefined;
    ratios.push(own / other);
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
