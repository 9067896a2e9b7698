// A call as one backend wants it: its own name for the model, the fields it knows by older names, usage asked for. Only those
// bytes change; all others arrive as the caller sent them. What does not speak OpenAI at all is in speak.ts.
import type { Backend, Candidate } from './backend.ts';
import type { Ask } from './http.ts';
import {
  pieces,
  readString,
  removeMember,
  renameMember,
  scanMember,
  setMember,
  valueKind,
  type Edit,
} from '../wire/body.ts';
import { fillIn, hasSuffix } from '../wire/fim.ts';
import type { Call } from '../types.ts';

const HEADERS = {
  'content-type': 'application/json',
  // What is compressed cannot be looked into, and decompressors have had their bombs.
  'accept-encoding': 'identity',
  'user-agent': 'lanyard',
};
const STREAMED = { ...HEADERS, accept: 'text/event-stream' };
const WHOLE = { ...HEADERS, accept: 'application/json' };

/**
 * `request_id` is ours: a caller's own never goes to a backend (vLLM CVE-2026-116176). @throws GatewayError for what this
 * backend cannot be asked
 */
export function askOf(call: Call, candidate: Candidate, request_id: string): Ask {
  const { backend } = candidate;
  return {
    method: 'POST',
    path: backend.route(call.endpoint),
    headers: headersOf(call, backend),
    id: request_id,
    body: pieces(call.body, edits(call, candidate)),
    borrow: call.borrow,
  };
}

/** The same object each time: the connection keeps what it is written as. */
export function headersOf(call: Call, backend: Backend): Ask['headers'] {
  return asksStream(call, backend) ? STREAMED : WHOLE;
}

/** Whether the backend is asked to stream: the caller wants it, and it can. */
export function asksStream({ streamed }: Call, { config }: Backend): boolean {
  return streamed && config.streams !== false;
}

/** Whether the floats of this call's answer must be encoded here. */
export function encodesHere(call: Call, backend: Backend): boolean {
  return call.endpoint === 'embeddings' && !backend.engine.base64 && asksBase64(call);
}

/** The call as it is for a backend that has no streams. */
export function unstreamed({ body, fields }: Call): Edit[] {
  const off = setMember(body, fields, 'stream', 'false');
  // Without a stream its options are refused.
  return fields.members.has('stream_options') ? [off, removeMember(body, fields, 'stream_options')] : [off];
}

function edits(call: Call, { backend, name, deployment }: Candidate): Edit[] {
  const { body, fields } = call;
  const { engine } = backend;
  const list = [setMember(body, fields, 'model', JSON.stringify(name))];
  for (const [from, to] of Object.entries(engine.renames)) {
    if (!fields.members.has(from)) continue;
    // Of two, the newer name is the one meant.
    if (fields.members.has(to)) list.push(removeMember(body, fields, to));
    list.push(renameMember(body, fields, from, to));
  }
  if (call.streamed && !asksStream(call, backend)) list.push(...unstreamed(call));
  else if (call.streamed && !call.wants_usage) list.push(askForUsage(call));
  if (!engine.suffix && hasSuffix(call)) list.push(...fillIn(call, name, deployment?.fim));
  if (engine.ignores_tool_choice && wantsNoTools(call)) list.push(removeMember(body, fields, 'tools'));
  if (encodesHere(call, backend)) list.push(setMember(body, fields, 'encoding_format', '"float"'));
  return list;
}

/** Usage is always counted; the relay takes the chunk out again for a caller who did not ask. */
function askForUsage({ body, fields }: Call): Edit {
  const field = fields.members.get('stream_options');
  if (field === undefined || valueKind(body, field) !== 'object') {
    return setMember(body, fields, 'stream_options', '{"include_usage":true}');
  }
  return setMember(body, scanMember(body, field), 'include_usage', 'true');
}

function wantsNoTools({ body, fields }: Call): boolean {
  const field = fields.members.get('tool_choice');
  return field !== undefined && fields.members.has('tools') && readString(body, field) === 'none';
}

function asksBase64({ body, fields }: Call): boolean {
  const field = fields.members.get('encoding_format');
  return field !== undefined && readString(body, field) === 'base64';
}
