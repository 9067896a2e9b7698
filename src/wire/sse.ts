// A backend's event stream on its way to the caller: bytes in as they come, bytes out as whole events. An event that
// needs no change leaves as the very bytes it came in; only what a stream must not carry (comments, `id:`, `event:`,
// the usage chunk nobody asked for) is taken out. On the way it learns the usage, and whether the stream is complete.
//
// Events are told apart by bytes, not text, so that a split multi-byte character is never decoded. JSON is parsed only
// for the few events that finish a choice, carry usage, may be an error, or hold what engines say differently (mend.ts).
import { GatewayError } from './errors.ts';
import { isRecord, parseRecord } from './record.ts';
import { meaningOf, readRefusal } from './refusals.ts';
import type { Mender } from './mend.ts';
import { estimated, readUsage, type Usage } from './usage.ts';

interface Options {
  /** The caller did not ask for the usage chunk: many clients crash on its empty `choices`. */
  readonly strip_usage: boolean;
  readonly mender: Mender;
  /** Tokens of the prompt, for the usage of an engine that counts none. */
  readonly prompt_tokens: () => number;
  /** How many choices must finish before a clean end without `[DONE]` counts as complete. */
  readonly choices: number;
  /** Blanked out of an error's message. */
  readonly secrets: readonly string[];
  /** The largest single event, in bytes. */
  readonly event_bytes_max?: number;
}

export const DONE = Buffer.from('data: [DONE]\n\n');
export const KEEP_ALIVE = Buffer.from(': keep-alive\n\n');

const NOTHING = Buffer.alloc(0);
const LF = 0x0a;
const CR = 0x0d;
const DATA = Buffer.from('data: ');
const BOM = Buffer.from([0xef, 0xbb, 0xbf]);
const END_OF_EVENT = Buffer.from('\n\n');
// Inside a JSON string these would be written with escaped quotes, so a match is always a real member name.
const USAGE = Buffer.from('"usage"');
const FINISH = Buffer.from('"finish_reason"');
const ERROR = Buffer.from('"error"');
const TOOLS = Buffer.from('"tool_calls"');
/** `reasoning` and `reasoning_content`. */
const REASONING = Buffer.from('"reasoning');

/** One event of a stream, as bytes on the wire have it. */
export function eventOf(data: object): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}

export class EventStream {
  usage: Usage | undefined;
  /** `[DONE]` was seen: whatever follows is not part of the answer. */
  done = false;
  /** Set when the backend told of an error in the stream; the bytes before it are still good. */
  failure: GatewayError | undefined;
  /** Whether the usage is a guess. */
  usage_estimated = false;
  /** Events that told something, `[DONE]` left out. */
  events = 0;
  /** Events whose data is not JSON: passed on unchanged, and counted. */
  invalid = 0;

  readonly #options: Options;
  readonly #event_bytes_max: number;
  readonly #finished = new Set<number>();
  /** The last event that was parsed and had choices, as it was mended: its names are those of the answer. */
  #last: Record<string, unknown> | undefined;
  #rest: Buffer = NOTHING;
  #begun = false;

  constructor(options: Options) {
    this.#options = options;
    this.#event_bytes_max = options.event_bytes_max ?? 1 << 20;
  }

  /** Whether a clean end here is the whole answer. */
  get complete(): boolean {
    return this.done || this.#finished.size >= this.#options.choices;
  }

  /**
   * Takes the next bytes, gives what may go to the caller now: whole events, possibly none. They may be views of what was
   * given.
   */
  push(chunk: Buffer): Buffer {
    if (this.done || this.failure !== undefined) return NOTHING;
    const bytes = this.#normalise(this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk);
    if (bytes === undefined) return NOTHING;

    const out: Buffer[] = [];
    const next = { ...NOWHERE };
    let kept = 0;
    let at = 0;
    while (at < bytes.length && !this.done) {
      const line_end = bytes.indexOf(LF, at);
      if (line_end === -1) break;
      if (line_end === at) {
        // A blank line that ends nothing.
        if (kept < at) out.push(bytes.subarray(kept, at));
        kept = at += 1;
        continue;
      }
      const single = bytes[line_end + 1] === LF;
      const blank = single ? line_end : bytes.indexOf(END_OF_EVENT, line_end);
      if (blank === -1 || blank + 1 >= bytes.length) {
        // An error written as bare JSON is often the last thing before the socket closes, with no blank line after it.
        if (bytes[at] !== 0x7b) break;
      }
      const end = blank === -1 ? line_end + 1 : blank + 2;
      const clean = single && startsWith(bytes, at, DATA);
      const kept_event = clean
        ? this.#inspect(bytes, at + DATA.length, line_end, next)
        : this.#mend(bytes.subarray(at, end));
      if (this.failure !== undefined) {
        if (kept < at) out.push(bytes.subarray(kept, at));
        return join(out);
      }
      if (kept_event !== undefined) {
        if (kept < at) out.push(bytes.subarray(kept, at));
        if (kept_event.length > 0) out.push(kept_event);
        kept = end;
      }
      at = end;
    }
    if (kept < at) out.push(bytes.subarray(kept, at));
    // A copy: the bytes are the reader's.
    this.#rest = this.done || at === bytes.length ? NOTHING : Buffer.from(bytes.subarray(at));
    if (this.#rest.length > this.#event_bytes_max) {
      this.failure = new GatewayError('upstream_invalid', 'The backend sent an event too large to pass on.', {
        cause: 'event over event_bytes_max',
      });
    }
    return join(out);
  }

  /** What is left when the backend's stream ends cleanly: a last event that lacks its blank line. */
  end(): Buffer {
    if (this.#rest.length === 0 || this.done) return NOTHING;
    return this.push(END_OF_EVENT);
  }

  /** What may go where the backend's own end is missing: the usage the caller asked for, and `[DONE]`. */
  close(): Buffer {
    if (this.done) return NOTHING;
    return Buffer.concat([this.#missingUsage(), DONE]);
  }

  /** Looks into one clean event: nothing to change (`undefined`), or what goes in its place, possibly nothing. */
  #inspect(bytes: Buffer, from: number, to: number, next: Cursors): Buffer | undefined {
    if (bytes[from] === 0x5b && bytes.toString('latin1', from, to).trimEnd() === '[DONE]') {
      this.done = true;
      const usage = this.#missingUsage();
      return usage.length === 0 ? undefined : Buffer.concat([usage, DONE]);
    }
    this.events += 1;
    if (next.usage < from) next.usage = find(bytes, USAGE, from);
    if (next.finish < from) next.finish = find(bytes, FINISH, from);
    if (next.error < from) next.error = find(bytes, ERROR, from);
    if (next.tools < from) next.tools = find(bytes, TOOLS, from);
    if (next.reasoning < from) next.reasoning = find(bytes, REASONING, from);
    const tells =
      (next.usage < to && !isNull(bytes, next.usage + USAGE.length)) ||
      (next.finish < to && !isNull(bytes, next.finish + FINISH.length)) ||
      next.error < to ||
      next.tools < to ||
      next.reasoning < to ||
      this.#last === undefined ||
      this.#options.mender.every;
    return tells ? this.#read(bytes.subarray(from, to)) : undefined;
  }

  /** Parses an event that has something to tell, or may have something to mend. */
  #read(data: Buffer): Buffer | undefined {
    const event = parseRecord(data.toString('utf8'));
    if (event === undefined) {
      this.invalid += 1;
      return undefined;
    }
    if (isRecord(event['error']) || typeof event['error'] === 'string') {
      this.failure = streamFailure(data, this.#options.secrets);
      return NOTHING;
    }
    const { mender } = this.#options;
    const choices = Array.isArray(event['choices']) ? event['choices'] : [];
    if (this.#last === undefined && choices.length > 0) mender.first(event);
    const mended = mender.event(event);
    if (choices.length > 0) this.#last = mended;
    for (const choice of choices) {
      if (isRecord(choice) && typeof choice['finish_reason'] === 'string' && choice['finish_reason'] !== '') {
        this.#finished.add(typeof choice['index'] === 'number' ? choice['index'] : 0);
      }
    }
    const usage = readUsage(event['usage']);
    if (usage !== undefined) this.usage = usage;
    if (usage !== undefined && choices.length === 0 && this.#options.strip_usage) return NOTHING;
    return mended === event ? undefined : Buffer.from(eventOf(mended));
  }

  /** The usage chunk for a caller who asked for it, of an engine that gave none. */
  #missingUsage(): Buffer {
    if (this.usage !== undefined || this.#last === undefined) return NOTHING;
    const tokens_in = this.#options.prompt_tokens();
    // Nearly every event of every engine is one token.
    this.usage_estimated = true;
    this.usage = { tokens_in, tokens_out: this.events };
    if (this.#options.strip_usage) return NOTHING;
    return Buffer.from(eventOf({ ...this.#last, choices: [], usage: estimated(tokens_in, this.events) }));
  }

  /**
   * An event that is not one clean data line. Comments (llama.cpp pings with a bare `:`), `id:`, `event:` and `retry:`
   * are dropped; data lines are joined to one; `error:` (older llama.cpp) and bare JSON (OpenVINO Model Server) are failures.
   */
  #mend(event: Buffer): Buffer {
    const data: string[] = [];
    let named_error = false;
    for (const line of event.toString('utf8').split('\n')) {
      if (line.startsWith('data:')) data.push(line.slice(line.startsWith('data: ') ? 6 : 5));
      else if (line.startsWith('event: error') || line.startsWith('event:error')) named_error = true;
      else if (line.startsWith('{') || line.startsWith('error:')) {
        this.failure = streamFailure(Buffer.from(line.replace(/^error:\s*/, '')), this.#options.secrets);
        return NOTHING;
      }
    }
    if (data.length === 0) return NOTHING;
    const joined = Buffer.from(`data: ${data.join(' ')}\n\n`);
    if (named_error) {
      this.failure = streamFailure(joined.subarray(DATA.length), this.#options.secrets);
      return NOTHING;
    }
    return this.#inspect(joined, DATA.length, joined.length - 2, { ...NOWHERE }) ?? joined;
  }

  /** Line ends to LF, a byte order mark off; undefined when more bytes are needed to tell. */
  #normalise(bytes: Buffer): Buffer | undefined {
    let text = bytes;
    if (!this.#begun) {
      if (text.length < BOM.length && BOM.subarray(0, text.length).equals(text)) {
        this.#rest = text;
        return undefined;
      }
      this.#begun = true;
      if (startsWith(text, 0, BOM)) text = text.subarray(BOM.length);
    }
    if (!text.includes(CR)) return text;
    // JSON never holds a raw CR. One at the very end may be half of a CRLF, so the bytes wait for the next.
    if (text.at(-1) === CR) {
      this.#rest = text;
      return undefined;
    }
    return Buffer.from(text.toString('latin1').replace(/\r\n?/g, '\n'), 'latin1');
  }
}

/** Where each name stands next in what was read. */
interface Cursors {
  usage: number;
  finish: number;
  error: number;
  tools: number;
  reasoning: number;
}

const NOWHERE: Readonly<Cursors> = { usage: -1, finish: -1, error: -1, tools: -1, reasoning: -1 };

function streamFailure(data: Buffer, secrets: readonly string[]): GatewayError {
  const refusal = readRefusal(500, data, 'application/json');
  const meaning = meaningOf(500, refusal, { secrets });
  // Without a status, an error whose meaning is not known is only that: the stream broke off.
  if (meaning.code !== 'upstream_error') return meaning;
  return new GatewayError('upstream_stream_aborted', 'The backend reported an error and ended the stream.', {
    cause: 'error event',
  });
}

function find(bytes: Buffer, needle: Buffer, from: number): number {
  const at = bytes.indexOf(needle, from);
  return at === -1 ? Number.MAX_SAFE_INTEGER : at;
}

function isNull(bytes: Buffer, after_name: number): boolean {
  let at = after_name;
  while (bytes[at] === 0x3a || bytes[at] === 0x20) at += 1;
  return bytes[at] === 0x6e;
}

function startsWith(bytes: Buffer, at: number, prefix: Buffer): boolean {
  return bytes.compare(prefix, 0, prefix.length, at, Math.min(at + prefix.length, bytes.length)) === 0;
}

function join(parts: readonly Buffer[]): Buffer {
  return parts.length === 0 ? NOTHING : parts.length === 1 ? (parts[0] ?? NOTHING) : Buffer.concat(parts);
}
