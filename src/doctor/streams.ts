// Whether tokens arrive one by one at the address people use, and whether a caller's leaving gets through to the gateway: one
// short stream straight from the gateway, one through nginx, compared in time. Only with --deep.
import { setTimeout as pause } from 'node:timers/promises';
import { inWords, listen, Unanswered } from './ask.ts';
import { PACE, question } from './cancellation.ts';
import { sum } from '../fleet/engines/read.ts';
import { about, type Finding } from './finding.ts';
import { readMetrics, type Gateway } from './gateway.ts';

export interface Way {
  readonly url: URL;
  readonly gateway: Gateway;
  /** The public name of a model that is loaded. */
  readonly model: string;
  readonly key: string | undefined;
  readonly ca: readonly string[];
}

/** Enough to see a rhythm. */
const TOKENS = 64;
const LONG_TOKENS = 4_096;
const WAIT_MS = 30_000;
/** What arrives closer together than this came in one piece. */
const APART_MS = 5;
/** Fewer arrivals straight from the gateway say nothing. */
const ARRIVALS_MIN = 5;
const POLL_MS = 50;

export async function streams(way: Way): Promise<Finding[]> {
  const { url, gateway } = way;
  const said = about('front.streams', url.host);
  try {
    const direct = await rhythm({ ...way, url: gateway.url });
    const through = await rhythm(way);
    return [judged(direct, through, said), ...(await leaving(way))];
  } catch (error) {
    if (error instanceof Refused) {
      return [
        said.fail(
          `a small question was refused: ${error.message}`,
          "See what is said of the backends, and the gateway's log.",
        ),
      ];
    }
    if (!(error instanceof Unanswered)) throw error;
    return [
      said.fail(`a small stream did not come: ${inWords(error)}`, "See the gateway's log, and nginx' error log."),
    ];
  }
}

interface Rhythm {
  /** Arrivals that can be told apart. */
  readonly arrivals: number;
  readonly events: number;
  readonly compressed: boolean;
}

function judged(direct: Rhythm, through: Rhythm, said: ReturnType<typeof about>): Finding {
  const remedy =
    '`proxy_buffering off; gzip off;` in nginx.conf; what else stands between (a cloud proxy, a VPN) may collect too.';
  if (through.compressed) return said.warn('are compressed on the way: tokens wait for each other', remedy);
  if (direct.arrivals < ARRIVALS_MIN) return said.skipped('the engine answers too fast, or too briefly, to tell');
  const found = `${through.arrivals} arrivals for ${through.events} events, ${direct.arrivals} straight from the gateway`;
  if (through.arrivals * 3 < direct.arrivals) return said.fail(`arrive in lumps: ${found}`, remedy);
  return said.ok(`arrive token by token: ${found}`);
}

async function rhythm({ url, model, key, ca }: Way): Promise<Rhythm> {
  const times: number[] = [];
  let events = 0;
  const { status, headers } = await listen(asking(url, model, key, ca, TOKENS), (piece, at_ms) => {
    times.push(at_ms);
    events += piece.split('data: ').length - 1;
    return true;
  });
  if (status !== 200) throw new Refused(`status ${status}`);
  const arrivals = times.filter((at_ms, index) => index === 0 || at_ms - (times[index - 1] ?? 0) > APART_MS).length;
  return { arrivals, events, compressed: (headers['content-encoding'] ?? 'identity') !== 'identity' };
}

/** Leaves a long answer after its first words; the gateway's own figure must fall again. */
async function leaving({ url, gateway, model, key, ca }: Way): Promise<Finding[]> {
  const said = about('front.leaving', url.host);
  const inFlight = async (): Promise<number | undefined> => {
    const metrics = await readMetrics(gateway.url, key);
    return metrics === undefined ? undefined : sum(metrics, ['lanyard_in_flight']);
  };
  const before = await inFlight();
  if (before === undefined) return [said.skipped("the gateway's metrics may not be read from here")];
  let first = true;
  const begun = Promise.withResolvers<void>();
  const leave = new AbortController();
  const stream = listen({ ...asking(url, model, key, ca, LONG_TOKENS), signal: leave.signal }, () => {
    if (first) begun.resolve();
    first = false;
    return true;
  }).then(
    () => begun.resolve(),
    () => begun.resolve(),
  );
  await begun.promise;
  const during = await inFlight();
  leave.abort();
  await stream;
  if (during === undefined || during <= before)
    return [said.skipped('the answer was over too soon, or others came and went: no verdict', 'Ask again.')];
  const left_at = performance.now();
  while (performance.now() - left_at < PACE.stop_ms) {
    const now = await inFlight();
    if (now !== undefined && now < during) {
      return [said.ok(`a caller's leaving reaches the gateway within ${Math.round(performance.now() - left_at)} ms`)];
    }
    await pause(POLL_MS);
  }
  return [
    said.fail(
      `a caller's leaving does not reach the gateway within ${PACE.stop_ms / 1000} s: engines work for nobody`,
      '`proxy_ignore_client_abort off;` in nginx.conf. If others use it now, ask again when it is quiet.',
    ),
  ];
}

function asking(url: URL, model: string, key: string | undefined, ca: readonly string[], max_tokens: number) {
  return {
    url: new URL('/v1/chat/completions', url),
    method: 'POST' as const,
    headers: {
      'content-type': 'application/json',
      // As browsers and SDKs do: whoever may compress then will.
      'accept-encoding': 'gzip, deflate',
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
    },
    body: JSON.stringify({ ...question({ name: model }, max_tokens), stream: true }),
    trusting: ca,
    wait_ms: WAIT_MS,
  };
}

class Refused extends Error {}
