// A whole answer told as a stream, for a caller who asked for one of a backend that has none: at once, in as few events as
// say it all.
import { isRecord } from './record.ts';
import { DONE, eventOf } from './sse.ts';

/** The events of a chat or completion, `[DONE]` last; `undefined` for anything else. */
export function asStream(answer: Readonly<Record<string, unknown>>): Buffer | undefined {
  const { choices, usage, object, ...names } = answer;
  if (!Array.isArray(choices) || choices.length === 0 || !choices.every(isRecord)) return undefined;
  const chunk = object === 'text_completion' ? object : 'chat.completion.chunk';
  const event = (list: readonly object[], more: object = {}): string =>
    eventOf({ ...names, object: chunk, choices: list, ...more });
  const events = choices.flatMap((choice, at) => {
    const { message, finish_reason = null, index = at, ...said } = choice;
    if (!isRecord(message)) return [event([{ index, ...said, finish_reason }])];
    const { tool_calls } = message;
    const calls = Array.isArray(tool_calls) && tool_calls.length > 0 ? tool_calls.filter(isRecord) : [];
    // Numbered by their places: some have an index here too, and all the same one.
    const delta = {
      ...message,
      ...(calls.length > 0 && { tool_calls: calls.map((call, n) => ({ ...call, index: n })) }),
    };
    return [event([{ index, delta, ...said, finish_reason: null }]), event([{ index, delta: {}, finish_reason }])];
  });
  if (isRecord(usage)) events.push(event([], { usage }));
  return Buffer.concat([Buffer.from(events.join('')), DONE]);
}
