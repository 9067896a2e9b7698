// Callers who leave while they wait for a slot: nothing must ever reach the engine for them. When the gateway forgot them is
// known by its own metric, read again and again: a reading takes a millisecond or two, and that is how exact it is.
import { Agent, request } from 'node:http';
import { MODEL, type Running } from '../gateways/gateway.ts';
import { quantile } from '../rounds.ts';
import { ROUTES, type Leavers } from './leaving.ts';
import { dial, postTo } from './raw.ts';

const WAIT_MS_MAX = 5_000;

export interface Queued {
  readonly queued_p50: number;
  readonly queued_p99: number;
  /** Requests of those who had left that reached the engine all the same. */
  readonly queued_asked: number;
}

/** @param door a gateway whose engine has one slot */
export async function leaveQueue(leavers: Leavers, door: Running, cases: number): Promise<Queued> {
  const { path, words, ask } = ROUTES.chat_streamed;
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const holder = await leavers.hold({ door, model: MODEL, route: ROUTES.chat_streamed }, 'midway');
  const asked = leavers.asked;
  const waits: number[] = [];
  for (let n = 0; n < cases; n += 1) {
    const caller = await dial(door);
    const body = JSON.stringify({ model: MODEL, ...words('left'), ...ask });
    caller.ask(postTo(door, path, body)).catch(() => undefined);
    await untilQueued(door, agent, 1);
    const left = performance.now();
    caller.socket.end();
    await untilQueued(door, agent, 0);
    waits.push(performance.now() - left);
    caller.socket.destroy();
  }
  // The slot is free again: whoever still waited would get it.
  await holder.leave('fin');
  await (await leavers.hold({ door, model: MODEL, route: ROUTES.chat_streamed }, 'midway')).leave('fin');
  agent.destroy();
  return {
    queued_p50: quantile(waits, 0.5),
    queued_p99: quantile(waits, 0.99),
    queued_asked: leavers.asked - asked - 1,
  };
}

async function untilQueued(door: Running, agent: Agent, count: number): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!(await metrics(door, agent)).includes(`\nlanyard_queued ${count}\n`)) {
    if (performance.now() > deadline) throw new Error(`the queue never held ${count}`);
  }
}

function metrics({ url, headers }: Running, agent: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    request(`${url}/metrics`, { agent, headers }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part: string) => (text += part));
      answer.once('end', () => resolve(text)).once('error', reject);
    })
      .once('error', reject)
      .end();
  });
}
