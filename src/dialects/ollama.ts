// Ollama's own routes (api/types.go, August 2026): one JSON object a line, the last one with the reason and the counts.
import { ask } from './ollama-ask.ts';
import { namesOf, type Dialect, type Meeting, type Translator } from './dialect.ts';
import { parseAnswer, readString } from '../wire/body.ts';
import { toBase64 } from '../wire/embeddings.ts';
import { GatewayError } from '../wire/errors.ts';
import { isRecord, parseRecord, type Json } from '../wire/record.ts';
import { DONE, eventOf } from '../wire/sse.ts';

/** A longer line is none of Ollama's. */
const LINE_BYTES_MAX = 1 << 20;
const UNREADABLE = eventOf({ error: { message: '', type: 'unreadable' } });

export const ollamaNative = { ask, whole, stream } as const satisfies Dialect;

function whole(answer: Buffer, meeting: Meeting): Buffer {
  const told = parseAnswer(answer);
  // An error with 200 stays one.
  if (typeof told['error'] === 'string') return answer;
  if (meeting.call.endpoint === 'embeddings') return embeddings(told, meeting);
  if (!isRecord(told['message']) && typeof told['response'] !== 'string') throw senseless();
  const [text, called] = saidIn(told, meeting);
  const finish_reason = reasonOf(told, called.length > 0);
  // Nothing has left yet: a runner that died in the middle is a failure, and no short answer.
  if (finish_reason === null) {
    const message = 'The backend broke off in the middle of its answer.';
    throw new GatewayError('upstream_stream_aborted', message, { cause: 'no done_reason' });
  }
  const choice = {
    index: 0,
    ...(meeting.call.endpoint === 'completions'
      ? { text: text.content ?? '' }
      : { message: { role: 'assistant', ...text, ...(called.length > 0 && { tool_calls: called }) } }),
    logprobs: null,
    finish_reason,
  };
  return json({ ...namesOf(meeting), choices: [choice], usage: usageOf(told) });
}

function embeddings(told: Json, { call, name }: Meeting): Buffer {
  const vectors = told['embeddings'];
  if (!Array.isArray(vectors)) throw senseless();
  const tokens = count(told['prompt_eval_count']);
  const data = vectors.map((embedding: unknown, index) => ({ object: 'embedding', index, embedding }));
  const answer = json({ object: 'list', data, model: name, usage: { prompt_tokens: tokens, total_tokens: tokens } });
  // /api/embed knows floats only.
  const field = call.fields.members.get('encoding_format');
  return field !== undefined && readString(call.body, field) === 'base64' ? toBase64(answer) : answer;
}

function stream(meeting: Meeting): Translator {
  const names = namesOf(meeting);
  const chat = meeting.call.endpoint === 'chat/completions';
  let rest = Buffer.alloc(0);
  let opened = false;
  let tools = 0;

  const line = (text: string): string => {
    const told = parseRecord(text);
    if (told === undefined) return text.trim() === '' ? '' : UNREADABLE;
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
    const done = told['done'] === true;
    const finish_reason = done ? reasonOf(told, tools > 0) : null;
    if (finish_reason !== null)
      events.push(chat ? { index: 0, delta: {}, finish_reason } : { index: 0, text: '', finish_reason });
    const usage = done ? eventOf({ ...names, choices: [], usage: usageOf(told) }) : '';
    // What ends without a reason is not whole, and nothing may say that it is.
    const end = finish_reason === null ? '' : DONE.toString();
    return `${events.map((choice) => eventOf({ ...names, choices: [choice] })).join('')}${usage}${end}`;
  };

  return {
    push(bytes) {
      const all = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
      const end = all.lastIndexOf(0x0a) + 1;
      rest = Buffer.from(all.subarray(end));
      const over = rest.length > LINE_BYTES_MAX ? UNREADABLE : '';
      if (end === 0) return Buffer.from(over);
      return Buffer.from(all.toString('utf8', 0, end).split('\n').map(line).join('') + over);
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
  // Without one its runner has died (llm/server.go: DoneReasonConnectionClosed).
  if (typeof done_reason !== 'string' || done_reason === '') return null;
  return called && done_reason === 'stop' ? 'tool_calls' : done_reason;
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

function senseless(): GatewayError {
  const message = 'The backend sent an answer in no form that is known.';
  return new GatewayError('upstream_invalid', message, { cause: 'no answer of Ollama' });
}
