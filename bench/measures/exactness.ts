// Four gateways on one Redis hold a rate and a number of places as exactly as one nginx does: the same random traces at the
// same moments to both, requests spread at random over the four, every decision held against the exact arithmetic.
import { paceOf } from '../../src/store/gcra.ts';
import { seeded } from '../../test/stage/random.ts';
import { exactly, tooFew, tooMany, type Decision } from '../exact.ts';
import { MODEL, type Door } from '../gateways/gateway.ts';
import { lanyard } from '../gateways/lanyard.ts';
import { startLimiting } from '../gateways/limiting.ts';
import { nginx } from '../gateways/nginx.ts';
import { startSharing, type Sharing } from '../gateways/sharing.ts';
import { CHAT_ANSWER, chatBody } from '../load/answers.ts';
import { startHandEngine, wholeAnswer, type Asked } from '../load/hand.ts';
import { ROUTES } from '../load/leaving.ts';
import { holdPlaces, type Held } from '../load/places.ts';
import { postTo } from '../load/raw.ts';
import { arrivals, lineTo, replay, type Line, type Replayed } from '../load/trace.ts';
import { LOAD_CORE, pin } from '../machine.ts';
import type { Bench, Measure, Sample, Subject } from '../measure.ts';
import { quantile } from '../rounds.ts';

const GATEWAYS = 4;
const RATE = { count: 10, per_ms: 1_000 };
const BURST = 20;
const PACE = paceOf(RATE, BURST);
const PLACES = 10;
/** What a burst needs, and the slower of two answers leaves in use. */
const CONNECTIONS = 64;
/** nginx decides by a clock of whole milliseconds, read once a round of its loop (ngx_current_msec). */
const NGINX_EARLY_US = 1_000;
const TRACE_KEYS = [1, 2, 3].map((n) => `sk-bench-trace-${n}`);
const PLACES_KEY = 'sk-bench-places';

export const exactness: Measure = {
  name: 'exactness',
  title: `${RATE.count}/s, burst ${BURST}, ${PLACES} places, by ${GATEWAYS} gateways on one Redis and by one nginx`,
  base: 'nginx',
  figures: [
    { name: 'requests', title: 'random traces', unit: 'requests', digits: 0 },
    { name: 'admitted', title: 'admitted', unit: 'requests', digits: 0 },
    { name: 'exact', title: 'exact arithmetic at the times sent', unit: 'requests', digits: 0 },
    { name: 'off', title: 'admitted − exact, the worst trace', unit: 'requests', digits: 0 },
    { name: 'off_nginx', title: 'admitted − nginx, the worst trace', unit: 'requests', digits: 0 },
    {
      name: 'too_many',
      title: 'admitted beyond the limit',
      unit: 'requests',
      digits: 0,
      target: { text: '0, whenever within the uncertainty each was decided', met: (own) => own === 0 },
      worst: 'high',
    },
    {
      name: 'too_few',
      title: 'refused within the limit',
      unit: 'requests',
      digits: 0,
      target: { text: '0, whenever within the uncertainty each was decided', met: (own) => own === 0 },
      worst: 'high',
    },
    { name: 'span_p50', title: 'uncertainty: sent until told, p50', unit: 'ms', digits: 2 },
    { name: 'span_p99', title: 'uncertainty: sent until told, p99', unit: 'ms', digits: 2 },
    { name: 'alone', title: 'decided without Redis', unit: 'requests', digits: 0 },
    {
      name: 'most',
      title: 'places held at the same time, at most',
      unit: 'streams',
      digits: 0,
      target: { text: `≤ ${PLACES}`, met: (own) => own <= PLACES },
      worst: 'high',
    },
    {
      name: 'fewest',
      title: 'places held when more were asked for, at least',
      unit: 'streams',
      digits: 0,
      target: { text: `${PLACES}`, met: (own) => own === PLACES },
      worst: 'low',
    },
  ],
  async open(bench) {
    const { quick } = bench;
    // Before anything is started, which would go with it.
    pin(process.pid, LOAD_CORE);
    await using started = new AsyncDisposableStack();
    const asked = ({ body, socket }: Asked): unknown =>
      socket.write(body.includes('"stream":true') ? ROUTES.chat_streamed.begin : wholeAnswer(CHAT_ANSWER));
    const engine = started.adopt(await startHandEngine(asked), (it) => it.stop());
    const rated = `{ requests: ${RATE.count}/s, burst: ${BURST} }`;
    const keys = {
      ...Object.fromEntries(TRACE_KEYS.map((key) => [key, rated])),
      [PLACES_KEY]: `{ parallel: ${PLACES} }`,
    };
    const sharing = started.adopt(await startSharing(engine.url, GATEWAYS, keys, quick ? 32 : 640), (it) => it.stop());
    const held_to = { per_second: RATE.count, burst: BURST, places: PLACES };
    const server = started.adopt(await startLimiting(engine.url, held_to), (it) => it.stop());
    const all = started.move();

    const rounds: Promise<readonly [Sample, Sample]>[] = [];
    /** Both subjects are measured at once, by whoever is asked first. */
    const both = (round: number): Promise<readonly [Sample, Sample]> =>
      (rounds[round] ??= compare(sharing, server, round, bench));
    const subjectOf = (name: string, version: string, at: 0 | 1): Subject => {
      let round = 0;
      return { name, version, round: async () => (await both(round++))[at], close: () => all.disposeAsync() };
    };
    const found = nginx.look();
    return [
      subjectOf(`lanyard × ${GATEWAYS}`, lanyard.look().version, 0),
      subjectOf('nginx', 'version' in found ? found.version : '', 1),
    ];
  },
};

async function compare(
  sharing: Sharing,
  server: Door,
  round: number,
  { quick, note }: Bench,
): Promise<readonly [Sample, Sample]> {
  const alone_before = await sharing.alone();
  /** Undefined, with a note, where a busy machine let a gateway decide without Redis: that is another promise. */
  const byRedis = async <T>(what: string, run: () => Promise<T>, told: (it: T) => string): Promise<T | undefined> => {
    const before = await sharing.alone();
    const it = await run();
    const alone = (await sharing.alone()) - before;
    if (alone === 0) return it;
    note(`left out: ${what}: Redis was too slow for ${alone} decisions on this busy machine (${told(it)})`);
    return undefined;
  };

  const traces: Replayed[] = [];
  const count = quick ? 1 : TRACE_KEYS.length;
  for (let seed = round * count; seed < (round + 1) * count; seed += 1) {
    // By the time a key's turn comes again its bucket is empty.
    const key = TRACE_KEYS[seed % TRACE_KEYS.length] ?? '';
    const times = arrivals(seed, quick ? 3_000 : 6_000);
    const run = (): Promise<Replayed> => trace(sharing.doors, server, key, times, seed);
    const both = await byRedis(
      `trace ${seed}`,
      run,
      ({ here }) => `${tooMany(PACE, here)} too many, ${tooFew(PACE, here)} too few`,
    );
    if (both !== undefined) traces.push(both);
  }
  const hold = (doors: readonly Door[]): Promise<Held> =>
    holdPlaces(
      doors.map((one) => doorOf(one, PLACES_KEY)),
      chatBody(MODEL, 256, { stream: true }),
      quick ? 3 : 10,
      seeded(round),
    );
  const here = await byRedis(
    'places',
    () => hold(sharing.doors),
    ({ most, fewest }) => `${fewest} to ${most} held`,
  );
  const there = await hold([server]);
  const alone = (await sharing.alone()) - alone_before;
  if (traces.length === 0) return [{ alone, ...here }, { ...there }];
  const off_nginx = worst(traces.map(({ here, there }) => admitted(here) - admitted(there)));
  const early = traces.map((one) => one.there.map((each) => ({ ...each, sent_us: each.sent_us - NGINX_EARLY_US })));
  return [
    { ...judge(traces.map((one) => one.here)), off_nginx, alone, ...here },
    { ...judge(early), ...there },
  ];
}

async function trace(
  doors: readonly Door[],
  server: Door,
  key: string,
  times: readonly number[],
  seed: number,
): Promise<Replayed> {
  const lines: Line[] = doors.map((one) => {
    const door = doorOf(one, key);
    return lineTo(door, postTo(door, 'chat/completions', chatBody(MODEL, 256)));
  });
  const other = lineTo(
    server,
    Buffer.from(`GET /rate HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer ${key}\r\n\r\n`),
  );
  await Promise.all([...lines, other].map((line) => line.open(CONNECTIONS)));
  try {
    return await replay(times, lines, other, seed);
  } finally {
    for (const line of [...lines, other]) line.close();
  }
}

function judge(traces: readonly (readonly Decision[])[]): Sample {
  const spans = traces.flat().map(({ sent_us, told_us }) => (told_us - sent_us) / 1_000);
  const sum = (count: (decisions: readonly Decision[]) => number): number =>
    traces.reduce((total, decisions) => total + count(decisions), 0);
  const exact = (decisions: readonly Decision[]): number =>
    exactly(
      PACE,
      decisions.map((one) => Math.floor(one.sent_us)),
    );
  return {
    requests: sum((decisions) => decisions.length),
    admitted: sum(admitted),
    exact: sum(exact),
    off: worst(traces.map((decisions) => admitted(decisions) - exact(decisions))),
    too_many: sum((decisions) => tooMany(PACE, decisions)),
    too_few: sum((decisions) => tooFew(PACE, decisions)),
    span_p50: quantile(spans, 0.5),
    span_p99: quantile(spans, 0.99),
  };
}

function admitted(decisions: readonly Decision[]): number {
  return decisions.filter((one) => one.admitted).length;
}

/** The furthest from 0. */
function worst(values: readonly number[]): number {
  return values.reduce((worst, one) => (Math.abs(one) > Math.abs(worst) ? one : worst), 0);
}

function doorOf(door: Door, key: string): Door {
  return { ...door, headers: { authorization: `Bearer ${key}` } };
}
