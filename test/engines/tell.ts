// Telling one answer: the engine's chunks in order, at its pace, and the fault that was asked for where it belongs.
import type { Ask, Said } from './answers.ts';
import type { Break, Fault } from './faults.ts';
import type { Pipe } from './pipe.ts';
import type { Shape, Telling } from './shapes/shape.ts';
import { setImmediate } from 'node:timers/promises';
import { usage_of } from './answers.ts';
import { calls_of, pieces, thought, thoughts_of, with_delta } from './extras.ts';
import { breaks_at, is_break, pick } from './faults.ts';
import { Gone, pause } from './pipe.ts';

/** What `tell` may do to the connection, and what it reports while it goes. */
export interface Line {
  readonly pipe: Pipe;
  readonly gone: AbortSignal;
  readonly faults: readonly Fault[];
  /** RST. */
  reset(): Promise<never>;
  /** FIN, the body's end left out. */
  fin(): Promise<never>;
  /** Bytes past HTTP's rules, straight to the socket. */
  raw(bytes: string): Promise<void>;
  /** Until `release()`. */
  held(): Promise<void>;
  /** Until the peer closes. */
  forever(): Promise<never>;
  sent(what: { tokens?: number; events?: number; bytes: number }): void;
}

interface Event {
  readonly data: string;
  readonly tokens: number;
}

export async function tell_stream(shape: Shape, telling: Telling, said: Said, tps: number, line: Line): Promise<void> {
  const { faults, pipe, gone } = line;
  let events = 0;
  const write = async (text: string, tokens = 0, count = 0): Promise<void> => {
    const bytes = Buffer.from(text);
    await pipe.write(bytes);
    line.sent({ tokens, events: count, bytes: bytes.length });
  };
  const before = async (): Promise<boolean> => {
    const fault = breaks_at(faults, events);
    return fault !== undefined && (await strike(fault, shape, telling, line));
  };

  if (pick(faults, 'bom')) await write('\uFEFF');
  const started = performance.now();
  let paced = 0;
  for (const event of events_of(shape, telling, said, faults)) {
    if (await before()) return;
    if (event.tokens > 0 && tps > 0) {
      const wait = started + ((paced += event.tokens) * 1000) / tps - performance.now();
      if (wait > 0) await pause(wait, gone);
    } else if (events % 64 === 63) {
      // Even as fast as possible, the peer's leaving has to be noticed.
      await setImmediate();
      if (gone.aborted) throw new Gone();
    }
    await write(framed(event.data, events, faults), event.tokens, 1);
    events += 1;
  }
  if (await before()) return;
  const late = pick(faults, 'after_done');
  if (late) await write(late.bytes ?? 'data: {"late":true}\n\n');
  await pipe.end();
}

/** An unstreamed answer: its body in two halves, so that there is a middle for a fault to strike in. */
export async function tell_whole(
  body: Buffer,
  shape: Shape,
  telling: Telling,
  tokens: number,
  line: Line,
): Promise<void> {
  const { faults, pipe } = line;
  const middle = Math.floor(body.length / 2);
  const struck = async (at: number): Promise<boolean> => {
    const fault = breaks_at(faults, at);
    return fault !== undefined && (await strike(fault, shape, telling, line));
  };
  const rest = async (from: number, to: number): Promise<void> => {
    await pipe.write(body.subarray(from, to));
    line.sent({ bytes: to - from, tokens: to === body.length ? tokens : 0, events: 1 });
  };
  if (await struck(0)) return;
  // Whatever a later count says, it is the middle: there are no events to count.
  const later = faults.filter(is_break).filter(({ events = 1 }) => events > 0);
  await rest(0, later.length > 0 ? middle : body.length);
  for (const fault of later) if (await strike(fault, shape, telling, line)) return;
  if (later.length > 0) await rest(middle, body.length);
  await pipe.end();
}

function* events_of(shape: Shape, telling: Telling, said: Said, faults: readonly Fault[]): Generator<Event> {
  const { ask } = telling;
  const choices = choices_of(shape, ask);
  let told = 0;
  const event = (chunk: object, tokens = 0): Event => {
    told += tokens;
    const whole = pick(faults, 'continuous_usage') ? { ...chunk, usage: usage_of(ask, told) } : chunk;
    return { data: ask.native ? `${JSON.stringify(whole)}\n` : `data: ${JSON.stringify(whole)}\n\n`, tokens };
  };
  const each = Array.from({ length: choices }, (_, index) => index);

  for (const index of each) {
    const open = shape.open(telling, index);
    if (open) yield event(open);
  }
  const huge = pick(faults, 'huge_event');
  if (huge) yield event(shape.token(telling, 'x'.repeat(huge.bytes), 0), 1);
  const rounds = pick(faults, 'endless') ? Infinity : 1;
  const calls = calls_of(ask);
  for (const text of thoughts_of(ask, shape.kind)) {
    for (const index of each) yield event(with_delta(shape.token(telling, '', index), thought(shape.kind, text)), 1);
  }
  for (const [at, called] of calls.entries()) {
    for (const delta of pieces(shape.kind, called, at)) {
      for (const index of each) yield event(with_delta(shape.token(telling, '', index), delta), 1);
    }
  }
  for (let round = 0; round < rounds; round += 1) {
    for (const token of calls.length > 0 ? [] : said.tokens) {
      for (const index of each) yield event(shape.token(telling, token, index), 1);
    }
  }

  if (pick(faults, 'no_finish')) {
    yield event(shape.token(telling, '', 0));
    return;
  }
  for (const index of each)
    yield event(
      shape.finish(telling, { ...said, told, ...(calls.length > 0 && { reason: 'tool_calls' as const }) }, index),
    );
  // Its last line tells everything.
  if (ask.native) return;
  if (ask.include_usage)
    yield { data: `data: ${JSON.stringify(shape.usage(telling, usage_of(ask, told)))}\n\n`, tokens: 0 };
  if (!pick(faults, 'no_done')) yield { data: 'data: [DONE]\n\n', tokens: 0 };
}

/** More than one choice only where this engine knows `n`. */
export function choices_of(shape: Shape, ask: Ask): number {
  const n = ask.body['n'];
  return shape.choices && typeof n === 'number' && n > 1 ? n : 1;
}

/** An event with this fault's line ends and the lines other servers put around it. */
function framed(data: string, events: number, faults: readonly Fault[]): string {
  let text = data;
  if (pick(faults, 'comments')) {
    const ping = events % 2 === 0 ? ':\n\n' : ': a comment\n';
    text = `${ping}event: message\nid: ${events}\nretry: 3000\n${data}`;
  }
  return pick(faults, 'crlf') ? text.replaceAll('\n', '\r\n') : text;
}

/** Carries the fault out; true when nothing more is to be written. */
async function strike(fault: Break, shape: Shape, telling: Telling, line: Line): Promise<boolean> {
  if (fault.kind === 'hold_after') {
    await line.held();
    return false;
  }
  const ends = {
    hang_after: () => line.forever(),
    die_after: () => line.reset(),
    fin_after: () => line.fin(),
    end_after: () => line.pipe.end(),
    bad_chunk: async () => {
      await line.raw('not-a-size\r\ndata: x\r\n');
      await line.fin();
    },
    error_event_after: async () => {
      await line.pipe.write(Buffer.from(shape.failure(telling)));
      await line.pipe.end();
    },
    raw_json_after: async () => {
      const { body } = shape.mistake('internal', { ask: telling.ask, prompt_tokens: 0, context: 0 });
      await line.pipe.write(Buffer.from(JSON.stringify(body)));
      await line.pipe.end();
    },
  } satisfies Record<Exclude<Break['kind'], 'hold_after'>, () => Promise<void>>;
  await ends[fault.kind]();
  return true;
}
