// Ollama's own routes (api/types.go, August 2026): one JSON object a line, the last one with the reason and the counts.
import { ask } from './ollama-ask.ts';
import { namesOf, type Dialect, type Meeting, type Translator } from './dialect.ts';
import { parseAnswer } from '../wire/body.ts';
import { isRecord, parseRecord, type Json } from '../wire/record.ts';
import { eventOf } from '../wire/sse.ts';

export const ollamaNative = { ask, whole, stream } as const satisfies Dialect;

function whole(answer: Buffer, meeting: Meeting): Buffer {
  const told = parseAnswer(answer);
  // An error with 200 stays one.
  if (typeof told['error'] === 'string') return answer;
  if (meeting.call.endpoint === 'embeddings') return json(embeddings(told, meeting));
  const [text, called] = saidIn(told, meeting);
  const choice = {
    index: 0,
    ...(meeting.call.endpoint === 'completions'
      ? { text: text.content ?? '' }
      : { message: { role: 'assistant', ...text, ...(called.length > 0 && { tool_calls: called }) } }),
    logprobs: null,
    finish_reason: reasonOf(told, called.length > 0),
  };
  return json({ ...namesOf(meeting), choices: [choice], usage: usageOf(told) });
}

function embeddings(told: Json, meeting: Meeting): object {
  const vectors = Array.isArray(told['embeddings']) ? told['embeddings'] : [];
  const tokens = count(told['prompt_eval_count']);
  const data = vectors.map((embedding: unknown, index) => ({ object: 'embedding', index, embedding }));
  return { object: 'list', data, model: meeting.name, usage: { prompt_tokens: tokens, total_tokens: tokens } };
}

function stream(meeting: Meeting): Translator {
  const names = namesOf(meeting);
  const chat = meeting.call.endpoint === 'chat/completions';
  let rest = Buffer.alloc(0);
  let opened = false;
  let tools = 0;

  const line = (text: string): string => {
    const told = parseRecord(text);
    if (told === undefined) return text.trim() === '' ? '' : eventOf({ error: { message: '', type: 'unreadable' } });
    if (typeof told['error'] === 'string') return eventOf({ error: { message: told['error'] } });
    const [said, called] = saidIn(told, meeting, tools);
    tools += called.length;
    const events: object[] = [];
    const some = (said.content ?? '') !== '' || said.reasoning !== undefined || called.length > 0;
    if (some || !opened) {
      const delta = {
        ...(!opened && { role: 'assistant' }),
        ...said,
        ...(called.length > 0 && { tool_calls: called }),
      };
      events.push(
        chat ? { index: 0, delta, finish_reason: null } : { index: 0, text: said.content ?? '', finish_reason: null },
      );
      opened = true;
    }
    if (told['done'] !== true) return events.map((choice) => eventOf({ ...names, choices: [choice] })).join('');
    const finish_reason = reasonOf(told, tools > 0);
    events.push(chat ? { index: 0, delta: {}, finish_reason } : { index: 0, text: '', finish_reason });
    const told_events = events.map((choice) => eventOf({ ...names, choices: [choice] })).join('');
    return `${told_events}${eventOf({ ...names, choices: [], usage: usageOf(told) })}data: [DONE]\n\n`;
  };

  return {
    push(bytes) {
      const all = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
      const end = all.lastIndexOf(0x0a) + 1;
      rest = Buffer.from(all.subarray(end));
      if (end === 0) return Buffer.alloc(0);
      return Buffer.from(all.toString('utf8', 0, end).split('\n').map(line).join(''));
    },
    end: () => Buffer.from(rest.length === 0 ? '' : line(rest.toString('utf8'))),
  };
}

interface Text {
  readonly content?: string;
  readonly reasoning?: string;
}

/** What one object says: /api/chat in a message, /api/generate beside it; and the tools it calls, counted on from `from`. */
function saidIn(told: Json, { id }: Meeting, from = 0): [Text, object[]] {
  const message = isRecord(told['message'])
    ? told['message']
    : { content: told['response'], thinking: told['thinking'] };
  const { content, thinking, tool_calls } = message as Json;
  const called = (Array.isArray(tool_calls) ? tool_calls : []).filter(isRecord).map((each, at) => {
    const { name, arguments: given } = isRecord(each['function']) ? each['function'] : ({} as Json);
    const own = typeof each['id'] === 'string' && each['id'] !== '' ? each['id'] : `call_${id}_${from + at}`;
    return { index: from + at, id: own, type: 'function', function: { name, arguments: JSON.stringify(given ?? {}) } };
  });
  const reasoning = typeof thinking === 'string' && thinking !== '' ? { reasoning: thinking } : {};
  return [{ content: typeof content === 'string' ? content : '', ...reasoning }, called];
}

function reasonOf({ done_reason }: Json, called: boolean): string | null {
  if (called) return 'tool_calls';
  // Without one its runner has died (server/routes.go).
  return typeof done_reason === 'string' && done_reason !== '' ? done_reason : null;
}

function usageOf(told: Json): object {
  const prompt_tokens = count(told['prompt_eval_count']);
  const completion_tokens = count(told['eval_count']);
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}

function count(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}

function json(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}
