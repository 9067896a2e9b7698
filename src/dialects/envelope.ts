// The service behind a token exchange. Chats go to it as they came, nothing added; its answers come in an envelope:
//
//     {"data": {"content": {"content": "text", "tool_calls": [{"name": "f", "arguments": "{…}"}]}}}
//     {"data": {"content": [0.1, …]}}
//
// Embeddings are asked one text a request. What answers in OpenAI's own form is understood as well.
import { namesOf, type Dialect, type Meeting, type Said } from './dialect.ts';
import { parseAnswer, pieces, renameMember, scanArray, setMember, valueKind, type Edit } from '../wire/body.ts';
import { GatewayError } from '../wire/errors.ts';
import { isRecord, type Json } from '../wire/record.ts';
import { meaningOf, readRefusal } from '../wire/refusals.ts';

export const envelope = { ask, whole } as const satisfies Dialect;

function ask({ call, name, exchange }: Meeting): Said {
  const { body, fields, endpoint } = call;
  const url = endpoint === 'embeddings' ? exchange?.embedding_url : exchange?.chat_url;
  if (url === undefined) {
    const message = 'The backend that serves this model does not support this endpoint.';
    throw new GatewayError('unsupported_endpoint', message, { cause: 'no embedding_url' });
  }
  const edits: Edit[] = [setMember(body, fields, 'model', JSON.stringify(name))];
  if (endpoint === 'embeddings' && exchange?.form === 'envelope') edits.push(...asText(call));
  const { origin, pathname } = new URL(url);
  return { origin, path: pathname, body: pieces(body, edits) };
}

/** `input` is `text` here, and always one text: more are asked apart. */
function asText({ body, fields }: Meeting['call']): Edit[] {
  const field = fields.members.get('input');
  if (field === undefined) return [];
  const renamed = renameMember(body, fields, 'input', 'text');
  const [only, ...others] = valueKind(body, field) === 'array' ? scanArray(body, field) : [];
  if (only === undefined || others.length > 0 || valueKind(body, only) !== 'string') return [renamed];
  return [renamed, setMember(body, fields, 'input', body.toString('utf8', only.value_start, only.value_end))];
}

function whole(answer: Buffer, meeting: Meeting): Buffer {
  const told = parseAnswer(answer);
  const { data, errorCode } = told;
  const status = Number(errorCode ?? 0);
  if (status !== 0 && status !== 200) {
    const refusal = readRefusal(status, answer, 'application/json');
    throw meaningOf(status >= 400 && status <= 599 ? status : 500, refusal, { secrets: meeting.secrets });
  }
  if (told['choices'] !== undefined || Array.isArray(data) || isTold(told['error'])) return answer;
  if (!isRecord(data)) throw senseless();
  const { content } = data;
  if (meeting.call.endpoint === 'embeddings') {
    if (!Array.isArray(content) || !content.every((one) => typeof one === 'number')) throw senseless();
    return json({ object: 'list', data: [{ object: 'embedding', index: 0, embedding: content }], model: meeting.name });
  }
  const said = typeof content === 'string' ? { content } : content;
  if (!isRecord(said)) throw senseless();
  const tool_calls = Array.isArray(said['tool_calls']) ? said['tool_calls'].filter(isRecord).map(toolCall) : [];
  const reason = said['finish_reason'];
  const message = {
    role: 'assistant',
    content: typeof said['content'] === 'string' ? said['content'] : null,
    ...(tool_calls.length > 0 && { tool_calls }),
  };
  const finish_reason = typeof reason === 'string' ? reason : tool_calls.length > 0 ? 'tool_calls' : 'stop';
  const { usage } = data;
  return json({
    ...namesOf({ ...meeting, call: { ...meeting.call, streamed: false } }),
    choices: [{ index: 0, message, logprobs: null, finish_reason }],
    ...(isRecord(usage) && { usage }),
  });
}

/** Ids are made where they are missing (wire/tools.ts). */
function toolCall(call: Json): object {
  const { id, function: called } = call;
  const { name, arguments: given } = isRecord(called) ? called : call;
  const text = typeof given === 'string' ? given : JSON.stringify(given ?? {});
  return { ...(typeof id === 'string' && { id }), type: 'function', function: { name, arguments: text } };
}

function isTold(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function json(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function senseless(): GatewayError {
  const message = 'The backend sent an answer in no form that is known.';
  return new GatewayError('upstream_invalid', message, { cause: 'no known envelope' });
}
