// A chat of 1 KB, unstreamed: how many a second one core carries, what each costs it, and how much later the answers come.
import { direct } from '../gateways/direct.ts';
import { MODEL, present, type Gateway, type Running } from '../gateways/gateway.ts';
import { lanyard } from '../gateways/lanyard.ts';
import { nginx } from '../gateways/nginx.ts';
import { others } from '../gateways/others.ts';
import { portkey } from '../gateways/portkey.ts';
import { chatBody } from '../load/answers.ts';
import { startMockEngine } from '../load/engine.ts';
import type { OpenLoad, OpenTimes } from '../load/open.ts';
import { runLoad } from '../load/run.ts';
import { closedLoad, type Closed } from '../load/wrk.ts';
import { cpuMs } from '../machine.ts';
import type { Measure, Sample, Subject } from '../measure.ts';
import { quantile } from '../rounds.ts';

/** Connections of closed load; the best that keeps p99 below P99_MS_MAX counts. */
const SWEEP = [4, 16, 64];
const P99_MS_MAX = 10;
/** Open load that every gateway measured here can carry. */
const PER_SECOND = { 1: 200, 16: 500 } as const;

export const requests: Measure = {
  name: 'requests',
  title: 'A 1 KB chat, unstreamed',
  base: 'nginx',
  figures: [
    {
      name: 'per_core',
      title: `requests/s per core, p99 < ${P99_MS_MAX} ms`,
      unit: '/s',
      digits: 0,
      target: {
        text: '≥ 0.25 × nginx; aim 0.4 × nginx',
        met: (_own, ratio) => (ratio('nginx') ?? 0) >= 0.25,
      },
    },
    {
      name: 'cpu_us',
      title: 'CPU a request, 16 at once',
      unit: 'µs',
      // Portkey's p99 is over the bound at any load, so its requests per core are told by what one costs.
      target: { text: '≤ portkey / 8', met: (_own, ratio) => (ratio('portkey') ?? 0) <= 1 / 8 },
    },
    { name: 'p50_1', title: 'p50, one at a time', unit: 'ms', digits: 2, added_to: 'direct' },
    { name: 'p99_1', title: `p99, one at a time, ${PER_SECOND[1]}/s open`, unit: 'ms', digits: 2, added_to: 'direct' },
    {
      name: 'p50_16',
      title: `p50, up to 16 at once, ${PER_SECOND[16]}/s open`,
      unit: 'ms',
      digits: 2,
      added_to: 'direct',
    },
    {
      name: 'p99_16',
      title: `p99, up to 16 at once, ${PER_SECOND[16]}/s open`,
      unit: 'ms',
      digits: 2,
      added_to: 'direct',
    },
  ],
  async open({ quick, note }) {
    const engine = await startMockEngine();
    const here = present([direct, nginx, lanyard, portkey, ...others], note);
    const subjects: Subject[] = [];
    for (const { gateway, version } of here) {
      const running = await gateway.start(engine.url);
      const body = chatBody(gateway.model ?? MODEL);
      // Its code is compiled as it runs: the first seconds are of another program.
      if (gateway !== direct) await closedLoad(running, body, { connections: 16, seconds: quick ? 1 : 8 });
      subjects.push({
        name: gateway.name,
        version,
        round: () => round(gateway, running, body, quick),
        close: () => running.stop(),
      });
    }
    const [first] = subjects;
    if (first === undefined) return subjects;
    const close = async (): Promise<void> => {
      await first.close();
      await engine.stop();
    };
    return [{ ...first, close }, ...subjects.slice(1)];
  },
};

async function round(gateway: Gateway, running: Running, body: string, quick: boolean): Promise<Sample> {
  const seconds = quick ? 1 : 3;
  const sample: Record<string, number> = {};
  for (const connections of quick ? [16] : SWEEP) {
    const before = running.pid === undefined ? 0 : cpuMs(running.pid);
    const seen = await closedLoad(running, body, { connections, seconds });
    const cpu_ms = running.pid === undefined ? undefined : cpuMs(running.pid) - before;
    if (seen.p99 < P99_MS_MAX) {
      sample['per_core'] = Math.max(sample['per_core'] ?? 0, perCore(seen, cpu_ms));
    }
    if (connections === 16 && cpu_ms !== undefined) sample['cpu_us'] = (cpu_ms * 1000) / seen.requests;
  }
  sample['p50_1'] = (await closedLoad(running, body, { connections: 1, seconds: 1 })).p50;
  for (const connections of [1, 16] as const) {
    const load: OpenLoad = {
      base: running.base,
      headers: running.headers,
      body,
      per_second: PER_SECOND[connections],
      connections,
      seconds: quick ? 1 : 4,
    };
    const { times, failed } = await runLoad<OpenTimes>('./open.ts', load, 60);
    if (failed > 0) throw new Error(`${failed} requests failed at ${gateway.name}`);
    if (connections === 16) sample['p50_16'] = quantile(times, 0.5);
    sample[`p99_${connections}`] = quantile(times, 0.99);
  }
  return sample;
}

/** Where load and mock were the slower side, the gateway's core was not full: what it would carry if it were. */
function perCore({ requests, seconds }: Closed, cpu_ms: number | undefined): number {
  const share = cpu_ms === undefined ? 1 : Math.min(1, cpu_ms / 1000 / seconds);
  return requests / seconds / share;
}
