// Chats with a picture in them, unstreamed, one after another, beside a few streams: what a large body costs the gateway in
// time and memory, and how long it holds up those who only stream.
import { direct } from '../gateways/direct.ts';
import { MODEL, present, type Gateway, type Running } from '../gateways/gateway.ts';
import { lanyard } from '../gateways/lanyard.ts';
import { nginx } from '../gateways/nginx.ts';
import { others } from '../gateways/others.ts';
import { portkey } from '../gateways/portkey.ts';
import { watchStalls } from '../gateways/stalls.ts';
import type { BodiesSent, BodyLoad } from '../load/bodies.ts';
import { runLoad, startLoad } from '../load/run.ts';
import { startStreamingEngine, type StreamingEngine } from '../load/streaming-engine.ts';
import type { StreamLoad, StreamTimes } from '../load/streams.ts';
import { cpuMs, forgetPeak, peakKb, rssKb } from '../machine.ts';
import type { Figure, Measure, Sample } from '../measure.ts';
import { median } from '../rounds.ts';

interface Size {
  readonly name: string;
  readonly bytes: number;
  /** One after another, in one round. */
  readonly count: number;
}

const SIZES: readonly Size[] = [
  { name: '100kb', bytes: 100_000, count: 100 },
  { name: '1mb', bytes: 1_000_000, count: 30 },
  { name: '10mb', bytes: 10_000_000, count: 6 },
  { name: '20mb', bytes: 20_000_000, count: 5 },
];
/** The same for all, so that a slow gateway does not make the round longer. */
const SIZE_SECONDS_MAX = 4;
const STREAMS = { streams: 20, every_ms: 20, opened_per_second: 500, settle_seconds: 0.3 };
const STREAM_SECONDS_MAX = 60;

export const bodies: Measure = {
  name: 'bodies',
  title: `Large bodies beside ${STREAMS.streams} streams of ${1000 / STREAMS.every_ms} frames/s`,
  base: 'nginx',
  figures: SIZES.flatMap(figuresOf),
  open: ({ quick, note }) =>
    Promise.resolve(
      present([direct, nginx, lanyard, portkey, ...others], note).map(({ gateway, version }) => ({
        name: gateway.name,
        version,
        round: () => round(gateway, quick),
        close: () => Promise.resolve(),
      })),
    ),
};

function figuresOf({ name, bytes }: Size): Figure[] {
  const size = bytes < 1e6 ? `${bytes / 1e3} KB` : `${bytes / 1e6} MB`;
  const largest = bytes === 20_000_000;
  return [
    { name: `ms_${name}`, title: `${size}: p50`, unit: 'ms', added_to: 'direct' },
    { name: `cpu_ms_${name}`, title: `${size}: CPU a request`, unit: 'ms' },
    { name: `peak_mb_${name}`, title: `${size}: peak resident above idle`, unit: 'MB' },
    {
      name: `peak_bodies_${name}`,
      title: `${size}: the same`,
      unit: 'bodies',
      ...(largest && { target: { text: '≤ 2 × the body', met: (own: number) => own <= 2 } }),
    },
    {
      name: `stall_ms_${name}`,
      title: `${size}: longest stall, inside`,
      unit: 'ms',
      ...(largest && { target: { text: '< 20 ms; aim 5', met: (own: number) => own < 20 } }),
    },
    { name: `gap_ms_${name}`, title: `${size}: longest hold-up of a stream`, unit: 'ms', added_to: 'direct' },
  ];
}

async function round(gateway: Gateway, quick: boolean): Promise<Sample> {
  const engine = await startStreamingEngine();
  const stalls = watchStalls();
  try {
    const running = await gateway.start(engine.url, { imports: [stalls.module] });
    try {
      const on_node = gateway === lanyard || gateway === portkey;
      const longest = on_node ? (): Promise<number> => stalls.longest(running.pid!) : undefined;
      return await sendAll(gateway.model ?? MODEL, running, engine, longest, quick);
    } finally {
      await running.stop();
    }
  } finally {
    stalls.close();
    await engine.stop();
  }
}

async function sendAll(
  model: string,
  { url, base, headers, pid }: Running,
  engine: StreamingEngine,
  longestStall: (() => Promise<number>) | undefined,
  quick: boolean,
): Promise<Sample> {
  const door = { url, base, headers };
  const send = (bytes: number, count: number): Promise<BodiesSent> => {
    const load: BodyLoad = { door, model, bytes, count, seconds: SIZE_SECONDS_MAX };
    return runLoad<BodiesSent>('./bodies.ts', load, SIZE_SECONDS_MAX + 30);
  };
  const load: StreamLoad = {
    ...STREAMS,
    door,
    model,
    engine: engine.url,
    engine_pid: engine.pid,
    seconds: STREAM_SECONDS_MAX,
  };
  const streams = startLoad<StreamTimes>('./streams.ts', load, STREAM_SECONDS_MAX + 30);
  streams.told.catch(() => undefined);

  // Its code is compiled as it runs: the first hundred are of another program.
  await send(10_000, quick ? 30 : 500);
  const idle_kb = pid === undefined ? 0 : rssKb(pid);
  const streams_cpu = pid === undefined ? 0 : await cpuShare(pid, quick ? 300 : 1000);
  const sample: Record<string, number> = {};
  const spans: { name: string; sent: BodiesSent }[] = [];
  for (const { name, bytes, count } of SIZES) {
    await longestStall?.();
    if (pid !== undefined) forgetPeak(pid);
    const before = { cpu_ms: pid === undefined ? 0 : cpuMs(pid), at: performance.now() };
    const sent = await send(bytes, quick ? Math.ceil(count / 10) : count);
    spans.push({ name, sent });
    sample[`ms_${name}`] = median(sent.times);
    if (longestStall !== undefined) sample[`stall_ms_${name}`] = await longestStall();
    if (pid === undefined) continue;
    const of_streams = (performance.now() - before.at) * streams_cpu;
    sample[`cpu_ms_${name}`] = (cpuMs(pid) - before.cpu_ms - of_streams) / sent.times.length;
    sample[`peak_mb_${name}`] = (peakKb(pid) - idle_kb) / 1024;
    sample[`peak_bodies_${name}`] = ((peakKb(pid) - idle_kb) * 1024) / bytes;
  }
  streams.stop();
  const seen = await streams.told;
  if (seen.lost > 0) throw new Error(`${seen.lost} frames of the streams were lost`);
  for (const { name, sent } of spans) sample[`gap_ms_${name}`] = longestGap(seen, sent);
  return sample;
}

/** Of a core, by what runs anyway. */
async function cpuShare(pid: number, ms: number): Promise<number> {
  const [cpu, at] = [cpuMs(pid), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, ms));
  return (cpuMs(pid) - cpu) / (performance.now() - at);
}

/** While bodies were sent, and a tenth of a second after: the frames that were held up come then. */
function longestGap({ gap_max, from_us }: StreamTimes, sent: BodiesSent): number {
  const tenth = (at_us: number): number => Math.floor((at_us - from_us) / 100_000);
  return Math.max(0, ...gap_max.slice(tenth(sent.from_us), tenth(sent.to_us) + 2));
}
