// One decision over everything a request needs: its address' rate and places, and its key's. Pure: what is decided in this
// process and what Redis' script decides are told to the caller by the same lines.
import type { Limit } from '../types.ts';
import { paceOf, remaining, turn, waitFor, type Pace } from './gcra.ts';

/** What one request needs: its address' limit and its key's; either may be absent. */
export interface Demand {
  /** `bucket`: the IPv4 address or the IPv6 /64. */
  readonly ip: { readonly bucket: string; readonly limit: Limit } | undefined;
  readonly key: { readonly name: string; readonly limit: Limit } | undefined;
}

export interface Ruling {
  /** Set when refused. For a rate, `retry_ms` is when this request's turn comes; for places an estimate. The longest counts. */
  readonly refused_by: Refusal | undefined;
  /** For x-ratelimit-*-requests: of the tighter of the two rates, after this decision; undefined where there is no rate. */
  readonly rate: RateState | undefined;
}

interface Refusal {
  readonly scope: 'ip' | 'key';
  readonly what: 'rate' | 'parallel';
  readonly retry_ms: number;
}

interface RateState {
  /** How many a full bucket passes at once: burst + 1. */
  readonly limit: number;
  readonly remaining: number;
  /** Until the bucket is full again. */
  readonly reset_ms: number;
}

/** One of the (at most two) limits that apply, under the name its bucket has everywhere. */
export interface Need {
  readonly scope: 'ip' | 'key';
  readonly id: string;
  readonly pace: Pace | undefined;
  readonly parallel: number | undefined;
}

/** What is known of one need's bucket, before this request. */
export interface State {
  readonly debt_us: number;
  /** How far off the latest time is that a refused request was told; 0: none. */
  readonly promised_us: number;
  /** Places held, this request not counted. */
  readonly held: number;
}

/** A place frees when some request ends, which nobody can know: chat answers take seconds, so ask again in one. */
const PLACE_RETRY_MS = 1000;

export function needsOf(demand: Demand): Need[] {
  const needs: Need[] = [];
  if (demand.ip !== undefined) add(needs, 'ip', demand.ip.bucket, demand.ip.limit);
  if (demand.key !== undefined) add(needs, 'key', demand.key.name, demand.key.limit);
  return needs;
}

/** All or nothing: admitted only when every rate and every kind of place says yes. `states` stand in the order of `needs`. */
export function rule(needs: readonly Need[], states: readonly State[]): Ruling {
  let refused_by: Refusal | undefined;
  for (let i = 0; i < needs.length; i += 1) {
    const { scope, pace, parallel } = needs[i]!;
    const { debt_us, promised_us, held } = states[i]!;
    if (pace !== undefined && waitFor(debt_us, pace) > 0) {
      const retry_ms = turn(debt_us, promised_us, pace) / 1000;
      refused_by = longer(refused_by, { scope, what: 'rate', retry_ms });
    }
    if (parallel !== undefined && held >= parallel) {
      refused_by = longer(refused_by, { scope, what: 'parallel', retry_ms: PLACE_RETRY_MS });
    }
  }
  return { refused_by, rate: tightest(needs, states, refused_by === undefined) };
}

function add(needs: Need[], scope: Need['scope'], name: string, limit: Limit): void {
  const { requests, burst, parallel } = limit;
  if (requests === undefined && parallel === undefined) return;
  needs.push({ scope, id: `${scope}:${name}`, pace: requests && paceOf(requests, burst), parallel });
}

function longer(known: Refusal | undefined, found: Refusal): Refusal {
  return known !== undefined && known.retry_ms >= found.retry_ms ? known : found;
}

function tightest(needs: readonly Need[], states: readonly State[], admitted: boolean): RateState | undefined {
  let tightest: RateState | undefined;
  for (let i = 0; i < needs.length; i += 1) {
    const { pace } = needs[i]!;
    if (pace === undefined) continue;
    const debt_us = states[i]!.debt_us + (admitted ? pace.step_us : 0);
    const left = remaining(debt_us, pace);
    if (tightest !== undefined && tightest.remaining <= left) continue;
    tightest = {
      limit: pace.slack_us / pace.step_us + 1,
      remaining: left,
      reset_ms: Math.ceil(debt_us / 1000),
    };
  }
  return tightest;
}
