// Callers who leave: how long an engine goes on working for nobody, by route and by moment, from the caller's FIN until the
// engine's socket goes. nginx, which does nothing else, is the floor.
import { MODEL, present, type Gateway, type Running } from '../gateways/gateway.ts';
import { lanyard } from '../gateways/lanyard.ts';
import { nginx } from '../gateways/nginx.ts';
import { portkey } from '../gateways/portkey.ts';
import { GIVE_UP_MS, MOMENTS, ROUTES, startLeavers, type Leavers, type Moment, type Route } from '../load/leaving.ts';
import { leaveQueue } from '../load/queue.ts';
import { LOAD_CORE, pin } from '../machine.ts';
import type { Figure, Measure, Sample, Subject } from '../measure.ts';
import { quantile } from '../rounds.ts';

/** Held at the same time; each leaves at a moment of its own. */
const LANES = 8;
const CROWD = 100;
const TARGET: Figure['target'] = { text: '< 100 ms; aim < 20 ms', met: (own) => own < 100 };

const PAIRS = Object.entries(ROUTES).flatMap(([route, { name }]) =>
  MOMENTS.map((moment) => ({ figure: `${route}_${moment}`, what: `${name}, ${moment}` })),
);

export const cancel: Measure = {
  name: 'cancel',
  title: 'From the caller’s FIN to the engine’s socket closing (waiting: nothing answered yet; midway: a part is)',
  base: 'nginx',
  figures: [
    ...PAIRS.flatMap(({ figure, what }): Figure[] => [
      { name: `${figure}_p50`, title: `${what}, p50`, unit: 'ms', digits: 2 },
      { name: `${figure}_p99`, title: `${what}, p99`, unit: 'ms', digits: 2, target: TARGET },
    ]),
    { name: 'reset_p99', title: 'all of them, by RST, p99', unit: 'ms', digits: 2, target: TARGET },
    { name: 'crowd', title: `${CROWD} at once, the last`, unit: 'ms', digits: 1, target: TARGET },
    {
      name: 'never',
      title: `not closed within ${GIVE_UP_MS} ms`,
      unit: '%',
      digits: 1,
      target: { text: '0', met: (own) => own === 0 },
      worst: 'high',
    },
    { name: 'queued_p50', title: 'in the queue, until it says so, p50', unit: 'ms', digits: 2 },
    { name: 'queued_p99', title: 'in the queue, until it says so, p99', unit: 'ms', digits: 2, target: TARGET },
    {
      name: 'queued_asked',
      title: 'left the queue, and the engine was asked',
      unit: 'requests',
      digits: 0,
      target: { text: '0', met: (own) => own === 0 },
      worst: 'high',
    },
  ],
  async open({ quick, note }) {
    // Before anything is started, which would go with it.
    pin(process.pid, LOAD_CORE);
    await using started = new AsyncDisposableStack();
    const leavers = started.adopt(await startLeavers(), (it) => it.stop());
    const start = async (gateway: Gateway): Promise<Running> =>
      started.adopt(await gateway.start(leavers.engine), (it) => it.stop());
    const narrow = started.adopt(await lanyard.start(leavers.engine, { slots: 1 }), (it) => it.stop());
    const subjects: Subject[] = [];
    for (const { gateway, version } of present([nginx, lanyard, portkey], note)) {
      const running = await start(gateway);
      // Its code is compiled as it runs.
      if (!quick) await round(leavers, gateway, running, 80);
      subjects.push({
        name: gateway.name,
        version,
        round: async () => ({
          ...(await round(leavers, gateway, running, quick ? 20 : 200)),
          ...(gateway === lanyard ? await leaveQueue(leavers, narrow, quick ? 10 : 50) : {}),
        }),
        close: () => all.disposeAsync(),
      });
    }
    const all = started.move();
    return subjects;
  },
};

async function round(leavers: Leavers, gateway: Gateway, door: Running, cases: number): Promise<Sample> {
  const model = gateway.model ?? MODEL;
  const sample: Record<string, number> = {};
  const resets: number[] = [];
  const all: number[] = [];
  for (const [name, route] of Object.entries(ROUTES)) {
    for (const moment of MOMENTS) {
      const waits = await leave({ leavers, door, model, route, moment }, 'fin', cases);
      sample[`${name}_${moment}_p50`] = quantile(waits, 0.5);
      sample[`${name}_${moment}_p99`] = quantile(waits, 0.99);
      const by_reset = await leave({ leavers, door, model, route, moment }, 'reset', Math.ceil(cases / 8));
      resets.push(...by_reset);
      all.push(...waits, ...by_reset);
    }
  }
  sample['reset_p99'] = quantile(resets, 0.99);
  sample['crowd'] = await leaveTogether(leavers, door, model);
  sample['never'] = (100 * all.filter((ms) => ms >= GIVE_UP_MS).length) / all.length;
  return sample;
}

interface Case {
  readonly leavers: Leavers;
  readonly door: Running;
  readonly model: string;
  readonly route: Route;
  readonly moment: Moment;
}

/** A gateway that has let none of the first leave lets none. */
async function leave({ leavers, moment, ...to }: Case, how: 'fin' | 'reset', cases: number): Promise<number[]> {
  const waits: number[] = [];
  let begun = 0;
  const lane = async (): Promise<void> => {
    while (begun < cases && !(waits.length >= LANES && waits.every((ms) => ms >= GIVE_UP_MS))) {
      begun += 1;
      waits.push(await (await leavers.hold(to, moment)).leave(how));
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return waits;
}

async function leaveTogether(leavers: Leavers, door: Running, model: string): Promise<number> {
  const to = { door, model, route: ROUTES.chat_streamed };
  const held = await Promise.all(Array.from({ length: CROWD }, () => leavers.hold(to, 'midway')));
  const since = performance.now();
  await Promise.all(held.map((one) => one.leave('fin')));
  return performance.now() - since;
}
