// Who stands best: a candidate as it is now, and the order among several. Choosing is a pure function over these standings, so
// that another policy can be put in its place, or tried on a recorded day.
import type { Candidate } from './backend.ts';
import { longestBytes } from '../wire/prompt.ts';
import type { Call } from '../types.ts';

/** What a policy may look at. */
export interface Standing {
  /** A slot is to be had now. */
  readonly free: boolean;
  /** The share of its slots in use, by us and by others. */
  readonly load: number;
  /** Whether the model is in memory; `undefined` where the backend serves only what is. */
  readonly resident: boolean | undefined;
  /** Whether the prompt surely fits its context. */
  readonly fits: boolean;
}

/** Which of several to ask: their places in the list, best first. `random` in [0, 1) breaks ties. */
export type Policy = (standings: readonly Standing[], random: () => number) => readonly number[];

/**
 * Where the prompt surely fits, before where it may not: a free slot where the model is in memory; a free one where it must be
 * loaded; then a wait, likewise. Among equals the least loaded, and a tie goes to neither the first nor the last but to any.
 */
export const warmThenLeastLoaded: Policy = (standings, random) => {
  if (standings.length === 1) return [0];
  return standings
    .map((one, at) => ({
      at,
      rank: (one.fits ? 0 : 4) + (one.free ? 0 : 2) + (one.resident === false ? 1 : 0),
      load: one.load,
      tie: random(),
    }))
    .sort((a, b) => a.rank - b.rank || a.load - b.load || a.tie - b.tie)
    .map(({ at }) => at);
};

export function standingOf(candidate: Candidate, fits: boolean): Standing {
  const { backend, name } = candidate;
  return { free: backend.free, load: backend.load, resident: backend.resident(name), fits };
}

/** The tokens a call may have there: as configured, else as the backend tells; `undefined` where neither does. */
export function contextOf({ backend, name, deployment }: Candidate): number | undefined {
  return deployment?.context_length ?? deployment?.num_ctx ?? backend.info(name)?.context_length;
}

/** Whether a call's prompt fits; `unsure` where an estimate cannot tell. */
export function fit(candidate: Candidate, call: Call): 'fits' | 'unsure' | 'never' {
  const context = contextOf(candidate);
  // A token takes at least a byte.
  if (context === undefined || call.body.length <= context) return 'fits';
  const bytes = longestBytes(call);
  if (bytes <= context) return 'fits';
  const { least, most } = candidate.backend.measure.tokens(candidate.name, bytes);
  return most <= context ? 'fits' : least > context ? 'never' : 'unsure';
}
