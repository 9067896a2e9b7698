// Who could answer? A pure function over what the fleet knows now: candidates, best first. Of a model's deployments those
// with a free slot come first, the least loaded before the others; then its fallbacks' likewise; then those that are
// full, in the same order, to wait for.
import type { Candidate } from '../fleet/backend.ts';
import type { PublicModel } from '../fleet/fleet.ts';
import { unavailable } from '../fleet/queue.ts';
import { matches } from '../wire/glob.ts';
import { GatewayError } from '../wire/errors.ts';
import type { Call, Caller } from '../types.ts';

/**
 * `random` in [0, 1) breaks ties. @throws GatewayError `model_not_found` (unknown, or not this key's: the two look the
 * same to a caller), `backend_unavailable` or `model_loading` when no deployment is up.
 */
export function route(
  caller: Caller,
  call: Call,
  models: ReadonlyMap<string, PublicModel>,
  random: () => number,
): readonly Candidate[] {
  const model = models.get(call.model);
  if (model === undefined || !mayUse(caller, call.model)) {
    throw new GatewayError(
      'model_not_found',
      `The model "${nameFor(call.model)}" does not exist or this key may not use it.`,
      {
        param: 'model',
      },
    );
  }
  const chain = withFallbacks(model, models).filter(({ id }) => mayUse(caller, id));
  const free: Candidate[] = [];
  const full: Candidate[] = [];
  for (const { candidates } of chain) {
    for (const candidate of ranked(candidates, random)) {
      if (candidate.backend.available) (candidate.backend.free ? free : full).push(candidate);
    }
  }
  if (free.length + full.length === 0) throw unavailable(chain.flatMap((one) => one.candidates));
  return full.length === 0 ? free : [...free, ...full];
}

/** A fallback answers for another model, never for another key. */
function mayUse({ models }: Caller, id: string): boolean {
  return models === undefined || matches(models, id);
}

/** A name as the caller may see it again: bounded, on one line. */
function nameFor(model: string): string {
  return model.slice(0, 200).replaceAll(/[\p{Cc}"]/gu, '?');
}

/** The model, its fallbacks in order, and theirs; each once. */
function withFallbacks(model: PublicModel, models: ReadonlyMap<string, PublicModel>): PublicModel[] {
  if (model.fallback.length === 0) return [model];
  const chain = new Set([model]);
  for (const one of chain) {
    for (const name of one.fallback) {
      const next = models.get(name);
      if (next !== undefined) chain.add(next);
    }
  }
  return [...chain];
}

/** Least loaded first; a tie goes to neither the first nor the last but to any. */
function ranked(candidates: readonly Candidate[], random: () => number): readonly Candidate[] {
  if (candidates.length === 1) return candidates;
  return candidates
    .map((candidate) => ({ candidate, load: candidate.backend.load, tie: random() }))
    .sort((a, b) => a.load - b.load || a.tie - b.tie)
    .map(({ candidate }) => candidate);
}
