// The frames of a mock's stream: all of one length, each with its number and the time it was sent at, so that whoever
// reads them knows what is missing, what was changed, and how long each was under way. And how a load asks for them: in
// the message's own words, which every gateway passes on, unlike fields it does not know.
import { ENGINE_MODEL } from '../gateways/gateway.ts';

const CHUNK = `{"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1764380000,"model":"${ENGINE_MODEL}"`;
const BEFORE = `data: ${CHUNK},"choices":[{"index":0,"delta":{"content":" word #`;
const AFTER = '"},"logprobs":null,"finish_reason":null}]}';
const NUMBER_DIGITS = 7;
/** Of microseconds: enough for thirty years since the machine was started. */
const TIME_DIGITS = 15;
const MARK = /#(\d{7})@(\d{15})/;

export const FINISH = `data: ${CHUNK},"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}`;
export const USAGE = `data: ${CHUNK},"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":80,"total_tokens":100}}`;
export const DONE = 'data: [DONE]';

/** One event without its blank line. */
export function frame(number: number, sent_us: number): string {
  const text = String(number).padStart(NUMBER_DIGITS, '0');
  return `${BEFORE}${text}@${String(Math.floor(sent_us)).padStart(TIME_DIGITS, '0')}${AFTER}`;
}

const FRAME_LENGTH = frame(0, 0).length;

interface Frame {
  readonly number: number;
  readonly sent_us: number;
  /** Every byte is as it was sent. */
  readonly intact: boolean;
}

/** Undefined for an event that is no frame of ours, not even a changed one. */
export function readFrame(event: string): Frame | undefined {
  const mark = MARK.exec(event);
  if (mark === null) return undefined;
  const intact = event.length === FRAME_LENGTH && event.startsWith(BEFORE) && event.endsWith(AFTER);
  return { number: Number(mark[1]), sent_us: Number(mark[2]), intact };
}

/** The clock that all processes of one machine share (CLOCK_MONOTONIC), in microseconds. */
export function nowUs(): number {
  return Number(process.hrtime.bigint()) / 1000;
}

export function askFrames(every_ms: number): string {
  return `Tell me a word every ${every_ms} ms, please.`;
}

export function readAsk(body: string): number | undefined {
  const every_ms = /a word every (\d+) ms/.exec(body)?.[1];
  return every_ms === undefined ? undefined : Number(every_ms);
}
