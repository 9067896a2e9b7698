// So many streams open at once, a program of its own: opens them, checks every frame of each, and tells of a window in
// which all are open what the frames' times were, and what the gateway's process used. Then it has the mock end them, and
// counts what has not come.
//
//     node bench/load/streams.ts '{"door":…,"engine":…,"streams":500,"every_ms":50,…}'
import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { cpuMs, rssKb } from '../machine.ts';
import { median, quantile } from '../rounds.ts';
import type { Door } from '../gateways/gateway.ts';
import { chatBody, requestHead } from './answers.ts';
import { DONE, FINISH, askFrames, nowUs, readFrame } from './frames.ts';
import { MessageReader } from './message.ts';
import type { Ended } from './streaming-engine.ts';

export interface StreamLoad {
  readonly door: Door;
  readonly model: string;
  /** The mock's own URL: it is told there to end the streams. */
  readonly engine: string;
  readonly streams: number;
  readonly every_ms: number;
  readonly opened_per_second: number;
  /** From the last stream's first frame to the window. */
  readonly settle_seconds: number;
  /** Of the window; SIGTERM ends it sooner. */
  readonly seconds: number;
  /** The processes whose time and memory are told. */
  readonly gateway_pid?: number;
  readonly engine_pid: number;
}

/** Times in milliseconds. */
export interface StreamTimes {
  /** Frames received in the window. */
  readonly frames: number;
  readonly seconds: number;
  /** Sent and never received, or received changed, or only after LATE_MS. */
  readonly lost: number;
  /** From request to first frame, as the streams were opened one after another. */
  readonly first_p50: number;
  readonly first_p99: number;
  /** From the mock to here. */
  readonly delay_p50: number;
  readonly delay_p99: number;
  /** How much longer the gap between two frames came than it was sent. */
  readonly gap_p99: number;
  /** The longest of these in each tenth of a second of the window, which began at `from_us`. */
  readonly gap_max: readonly number[];
  readonly from_us: number;
  /** Of the gateway, in the window. */
  readonly cpu_ms: number;
  /** Of mock and load, in the window. */
  readonly load_cpu_ms: number;
  readonly rss_kb: number;
  /** Before the first stream was opened. */
  readonly rss_before_kb: number;
}

/** Asked and without a first frame yet. */
const OPENING_MAX = 64;
/** More than it takes by itself to open all. */
const OPENING_MORE_MS_MAX = 10_000;
const LATE_MS = 5_000;
const MEMORY_READ_MS = 400;
const TENTH_US = 100_000;

class Tally {
  readonly first: number[] = [];
  readonly delays: number[] = [];
  readonly gaps: number[] = [];
  readonly gap_max: number[] = [];
  /** Events received as they were sent, over the whole time. */
  intact = 0;
  answered = 0;
  failure: Error | undefined;
  from_us = Infinity;
  to_us = Infinity;

  take(sent_us: number, now_us: number, gap_ms: number): void {
    if (now_us < this.from_us || now_us >= this.to_us) return;
    this.delays.push((now_us - sent_us) / 1000);
    if (Number.isNaN(gap_ms)) return;
    this.gaps.push(gap_ms);
    const tenth = Math.floor((now_us - this.from_us) / TENTH_US);
    this.gap_max[tenth] = Math.max(this.gap_max[tenth] ?? 0, gap_ms);
  }
}

async function load(told: StreamLoad): Promise<StreamTimes> {
  const { gateway_pid: pid, engine_pid } = told;
  const stopped = new Promise<void>((resolve) => process.once('SIGTERM', () => resolve()));
  const tally = new Tally();
  const rss_before_kb = pid === undefined ? 0 : rssKb(pid);
  await openAll(told, tally);
  await pause(told.settle_seconds * 1000);

  const before = { cpu: pid === undefined ? 0 : cpuMs(pid), load: cpuMs(engine_pid) + ownCpuMs() };
  tally.from_us = nowUs();
  const rss: number[] = [];
  const reading = setInterval(() => {
    if (pid !== undefined) rss.push(rssKb(pid));
  }, MEMORY_READ_MS);
  await Promise.race([pause(told.seconds * 1000, undefined, { ref: false }), stopped]);
  clearInterval(reading);
  tally.to_us = nowUs();
  const cpu_ms = pid === undefined ? 0 : cpuMs(pid) - before.cpu;
  const load_cpu_ms = cpuMs(engine_pid) + ownCpuMs() - before.load;

  const lost = await endAll(told.engine, tally);
  if (tally.failure !== undefined) throw tally.failure;
  return {
    frames: tally.delays.length,
    seconds: (tally.to_us - tally.from_us) / 1e6,
    lost,
    first_p50: quantile(tally.first, 0.5),
    first_p99: quantile(tally.first, 0.99),
    delay_p50: quantile(tally.delays, 0.5),
    delay_p99: quantile(tally.delays, 0.99),
    gap_p99: quantile(tally.gaps, 0.99),
    gap_max: Array.from(tally.gap_max, (gap) => gap ?? 0),
    from_us: tally.from_us,
    cpu_ms,
    load_cpu_ms,
    rss_kb: median(rss),
    rss_before_kb,
  };
}

async function openAll(told: StreamLoad, tally: Tally): Promise<void> {
  const { streams, opened_per_second } = told;
  const ms_max = (streams / opened_per_second) * 1000 + OPENING_MORE_MS_MAX;
  const start = performance.now();
  for (let opened = 0; tally.answered < streams;) {
    const passed_ms = performance.now() - start;
    if (passed_ms > ms_max) throw new Error(`not all of ${streams} streams had begun after ${ms_max / 1000} s`);
    if (tally.failure !== undefined) throw tally.failure;
    const due = Math.min(streams, (passed_ms * opened_per_second) / 1000);
    for (; opened < due && opened - tally.answered < OPENING_MAX; opened += 1) openOne(told, tally);
    await pause(1);
  }
}

/** What every socket reads into, one at a time: nothing is kept of it. */
const RECEIVED = Buffer.allocUnsafeSlow(64 * 1024);

function openOne({ door, model, every_ms }: StreamLoad, tally: Tally): void {
  const { hostname, port } = new URL(door.base);
  const body = chatBody(model, 0, { stream: true, messages: [{ role: 'user', content: askFrames(every_ms) }] });
  const request = requestHead(door, body.length) + body;
  let asked_us = 0;
  let now_us = 0;
  let text = '';
  let expected = 0;
  let sent_us = Number.NaN;
  let received_us = Number.NaN;
  let over = false;

  const take = (event: string): void => {
    // Whatever is no data may be there and says nothing: `: keep-alive`.
    if (event.startsWith(':')) return;
    const frame = readFrame(event);
    if (frame === undefined) {
      if (event === FINISH || event === DONE) tally.intact += 1;
      if (event === DONE) over = true;
      return;
    }
    // One that comes twice, or late, is as good as changed.
    if (frame.intact && frame.number >= expected) tally.intact += 1;
    expected = frame.number + 1;
    if (frame.number === 0) {
      tally.answered += 1;
      tally.first.push((now_us - asked_us) / 1000);
    }
    tally.take(frame.sent_us, now_us, (now_us - received_us - (frame.sent_us - sent_us)) / 1000);
    sent_us = frame.sent_us;
    received_us = now_us;
  };
  const reader = new MessageReader({
    head(head) {
      if (!head.startsWith('HTTP/1.1 200 '))
        tally.failure = new Error(`a stream was answered ${head.split('\r\n')[0]}`);
    },
    body(bytes, from, to) {
      text += bytes.toString('latin1', from, to);
      let at = 0;
      for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n', at)) {
        take(text.slice(at, end));
        at = end + 2;
      }
      text = text.slice(at);
    },
    end: () => void socket.destroy(),
  });
  const socket = connect({
    host: hostname,
    port: Number(port),
    noDelay: true,
    onread: {
      buffer: RECEIVED,
      callback(bytes) {
        now_us = nowUs();
        reader.push(RECEIVED.subarray(0, bytes));
        return true;
      },
    },
  });
  socket.once('connect', () => {
    asked_us = nowUs();
    socket.write(request);
  });
  socket.once('error', (error) => (tally.failure ??= error));
  socket.once('close', () => {
    if (!over) tally.failure ??= new Error(`a stream broke off after ${expected} frames`);
  });
}

/** How many events never came, or came changed. */
async function endAll(engine: string, tally: Tally): Promise<number> {
  const answer = await fetch(`${engine}/end`, { method: 'POST', signal: AbortSignal.timeout(LATE_MS) });
  const { events } = (await answer.json()) as Ended;
  const deadline = performance.now() + LATE_MS;
  while (tally.intact < events && tally.failure === undefined && performance.now() < deadline) await pause(10);
  return events - tally.intact;
}

function ownCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

if (import.meta.main) {
  const times = await load(JSON.parse(process.argv[2] ?? '') as StreamLoad);
  process.stdout.write(`${JSON.stringify(times)}\n`, () => process.exit());
}
