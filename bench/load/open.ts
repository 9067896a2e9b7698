// Open load, a program of its own: requests at their times whether or not earlier ones have been answered, each timed from
// when it was due. So an answer that held up others counts for all of them, which closed load hides.
//
//     node bench/load/open.ts '{"base":…,"headers":{…},"body":…,"per_second":500,"connections":16,"seconds":4}'
import { Agent, request } from 'node:http';

export interface OpenLoad {
  readonly base: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly per_second: number;
  /** How many may be under way; what is due while all are is sent as soon as one is back, and timed from when it was due. */
  readonly connections: number;
  readonly seconds: number;
}

/** The load's own code is compiled as it runs: what is sent this early is not timed. */
const WARM_SECONDS = 1;

/** Milliseconds each answer took from when its request was due. */
export interface OpenTimes {
  readonly times: readonly number[];
  readonly failed: number;
}

async function load({ base, headers, body, per_second, connections, seconds }: OpenLoad): Promise<OpenTimes> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections, scheduling: 'fifo' });
  const url = new URL(`${base}/chat/completions`);
  const options = {
    agent,
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
  };
  const start = performance.now();
  const counted = start + WARM_SECONDS * 1000;
  const times: number[] = [];
  let failed = 0;
  const ask = (due: number): Promise<void> =>
    new Promise((resolve) => {
      const failing = (): void => {
        failed += 1;
        resolve();
      };
      request(url, options, (answer) => {
        answer.resume();
        answer.once('error', failing);
        answer.once('end', () => {
          if (answer.statusCode !== 200) failed += 1;
          else if (due >= counted) times.push(performance.now() - due);
          resolve();
        });
      })
        .once('error', failing)
        .end(body);
    });
  const count = Math.round(per_second * (seconds + WARM_SECONDS));
  const all: Promise<void>[] = [];
  for (let sent = 0; sent < count;) {
    const due = start + (sent * 1000) / per_second;
    const now = performance.now();
    if (now < due) {
      // A timer is a millisecond late; what is due sooner is waited for by turning.
      await new Promise((resolve) => (due - now > 2 ? setTimeout(resolve, due - now - 1.5) : setImmediate(resolve)));
      continue;
    }
    all.push(ask(due));
    sent += 1;
  }
  await Promise.all(all);
  agent.destroy();
  return { times, failed };
}

if (import.meta.main) {
  const times = await load(JSON.parse(process.argv[2] ?? '') as OpenLoad);
  process.stdout.write(`${JSON.stringify(times)}\n`);
}
