// Who could answer? A pure function over what the fleet knows now: candidates, best first. Of a model's deployments those
// with a free slot come first, in the order of a policy (fleet/standing.ts); then its fallbacks' likewise; then those that
// are full, in the same order, to wait for. Where a call cannot fit, it does not go.
import type { Candidate } from '../fleet/backend.ts';
import type { PublicModel } from '../fleet/fleet.ts';
import { unavailable } from '../fleet/queue.ts';
import { contextOf, fit, standingOf, warmThenLeastLoaded, type Policy, type Standing } from '../fleet/standing.ts';
import { matches } from '../wire/glob.ts';
import { GatewayError } from '../wire/errors.ts';
import { tooLong } from '../wire/overflow.ts';
import { longestBytes } from '../wire/prompt.ts';
import type { Call, Caller } from '../types.ts';

/**
 * `random` in [0, 1) breaks ties; `patience_ms`: how long a backend that is loading is worth waiting for. @throws GatewayError `model_not_found` (unknown, or not this key's: the two look the
 * same to a caller), `backend_unavailable` or `model_loading` when no deployment is up, `context_length_exceeded` when the call
 * fits none.
 */
export function route(
  caller: Caller,
  call: Call,
  models: ReadonlyMap<string, PublicModel>,
  random: () => number,
  patience_ms = 0,
  policy: Policy = warmThenLeastLoaded,
): readonly Candidate[] {
  const model = published(caller, call.model, models);
  const chain = withFallbacks(model, models).filter(({ id }) => mayUse(caller, id));
  const free: Candidate[] = [];
  const full: Candidate[] = [];
  let elsewhere = false;
  let largest: { readonly context: number; readonly least: number } | undefined;
  for (const { candidates } of chain) {
    const able: Candidate[] = [];
    const standings: Standing[] = [];
    for (const candidate of candidates) {
      const { backend } = candidate;
      if (!backend.engine.endpoints.includes(call.endpoint)) {
        elsewhere = true;
        continue;
      }
      if (!backend.available && !backend.comesWithin(patience_ms)) continue;
      const fits = fit(candidate, call);
      if (fits === 'never') {
        const context = contextOf(candidate) ?? 0;
        const { least } = backend.measure.tokens(candidate.name, longestBytes(call));
        if (context > (largest?.context ?? 0)) largest = { context, least };
        continue;
      }
      able.push(candidate);
      standings.push(standingOf(candidate, fits === 'fits'));
    }
    for (const at of policy(standings, random)) {
      const candidate = able[at];
      if (candidate !== undefined) (candidate.backend.free ? free : full).push(candidate);
    }
  }
  if (free.length + full.length === 0) {
    if (largest === undefined)
      throw nobody(
        chain.flatMap((one) => one.candidates),
        call,
        elsewhere,
      );
    const message = tooLong(largest.context, largest.least);
    const param = PARAMS[call.endpoint];
    throw new GatewayError('context_length_exceeded', message, { param, cause: 'estimate' });
  }
  return full.length === 0 ? free : [...free, ...full];
}

/** The model of this name, whoever can answer for it now. @throws GatewayError `model_not_found` */
export function published(caller: Caller, name: string, models: ReadonlyMap<string, PublicModel>): PublicModel {
  const model = models.get(name);
  if (model !== undefined && mayUse(caller, name)) return model;
  const message = `The model "${nameFor(name)}" does not exist or this key may not use it.`;
  throw new GatewayError('model_not_found', message, { param: 'model' });
}

const PARAMS = { 'chat/completions': 'messages', completions: 'prompt', embeddings: 'input' } as const;

/** None can answer now; or, of what they are, none ever could. */
function nobody(candidates: readonly Candidate[], { endpoint }: Call, elsewhere: boolean): GatewayError {
  const able = candidates.filter(({ backend }) => backend.engine.endpoints.includes(endpoint));
  if (!elsewhere || able.length > 0) return unavailable(able);
  const message = 'The backend that serves this model does not support this endpoint.';
  return new GatewayError('unsupported_endpoint', message, { cause: 'endpoint of the engine' });
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
