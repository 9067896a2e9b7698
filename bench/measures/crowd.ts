// Crowds of streams through one gateway. Each meets a gateway that has just been started and has carried a few streams, so
// that its code is compiled and nothing of an earlier, larger crowd is left in its memory.
import { MODEL, type Gateway } from '../gateways/gateway.ts';
import { lanyard } from '../gateways/lanyard.ts';
import { runLoad } from '../load/run.ts';
import { startStreamingEngine } from '../load/streaming-engine.ts';
import type { StreamLoad, StreamTimes } from '../load/streams.ts';
import type { Sample, Subject } from '../measure.ts';

export type Crowd = Pick<StreamLoad, 'streams' | 'every_ms' | 'opened_per_second' | 'settle_seconds' | 'seconds'>;

const FEW: Crowd = { streams: 50, every_ms: 20, opened_per_second: 500, settle_seconds: 0, seconds: 1 };
const LOAD_SECONDS_MAX = 120;

/** @param sampleOf what is told of one crowd; `has_process`: the gateway's memory and time are known */
export function openStreams(
  { gateway, version }: { gateway: Gateway; version: string },
  crowds: readonly Crowd[],
  sampleOf: (crowd: Crowd, seen: StreamTimes, has_process: boolean) => Sample,
  note: (text: string) => void,
): Subject {
  return {
    name: gateway.name,
    version,
    async round() {
      const sample: Record<string, number> = {};
      for (const crowd of crowds) {
        try {
          const { seen, has_process } = await gather(gateway, crowd);
          Object.assign(sample, sampleOf(crowd, seen, has_process));
        } catch (error) {
          // That a rival cannot is a result; that Lanyard cannot is a bug.
          if (gateway.name.startsWith(lanyard.name) || !(error instanceof Error)) throw error;
          note(`left out: ${gateway.name} with ${crowd.streams} streams: ${error.message}`);
        }
      }
      return sample;
    },
    close: () => Promise.resolve(),
  };
}

async function gather(gateway: Gateway, crowd: Crowd): Promise<{ seen: StreamTimes; has_process: boolean }> {
  // Ports of its own, too: those that an earlier crowd has left are not free for a minute.
  const engine = await startStreamingEngine();
  try {
    const running = await gateway.start(engine.url);
    try {
      const { url, base, headers, pid } = running;
      const load = (one: Crowd): StreamLoad => ({
        ...one,
        door: { url, base, headers },
        model: gateway.model ?? MODEL,
        engine: engine.url,
        engine_pid: engine.pid,
        ...(pid !== undefined && { gateway_pid: pid }),
      });
      if (pid !== undefined) await runLoad<StreamTimes>('./streams.ts', load(FEW), LOAD_SECONDS_MAX);
      const seen = await runLoad<StreamTimes>('./streams.ts', load(crowd), LOAD_SECONDS_MAX);
      return { seen, has_process: pid !== undefined };
    } finally {
      await running.stop();
    }
  } finally {
    await engine.stop();
  }
}
