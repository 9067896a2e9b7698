// A call as one backend wants it: its own name for the model, the fields it knows by older names, usage asked for.
// Only those bytes change; all others arrive as the caller sent them.
import type { Backend } from './backend.ts';
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
import type { Call } from '../types.ts';

const HEADERS = {
  'content-type': 'application/json',
  // What is compressed cannot be looked into, and decompressors have had their bombs.
  'accept-encoding': 'identity',
  'user-agent': 'lanyard',
};
const STREAMED = { ...HEADERS, accept: 'text/event-stream' };
const WHOLE = { ...HEADERS, accept: 'application/json' };

/** `request_id` is ours: a caller's own never goes to a backend (vLLM CVE-2026-116176). */
export function askOf(call: Call, backend: Backend, name: string, request_id: string): Ask {
  return {
    method: 'POST',
    path: backend.route(call.endpoint),
    headers: call.streamed ? STREAMED : WHOLE,
    id: request_id,
    body: pieces(call.body, edits(call, backend, name)),
    borrow: call.borrow,
  };
}

/** Whether the floats of this call's answer must be encoded here. */
export function encodesHere(call: Call, backend: Backend): boolean {
  return call.endpoint === 'embeddings' && !backend.engine.base64 && asksBase64(call);
}

function edits(call: Call, backend: Backend, name: string): Edit[] {
  const { body, fields } = call;
  const list = [setMember(body, fields, 'model', JSON.stringify(name))];
  for (const [from, to] of Object.entries(backend.engine.renames)) {
    if (!fields.members.has(from)) continue;
    // Of two, the newer name is the one meant.
    if (fields.members.has(to)) list.push(removeMember(body, fields, to));
    list.push(renameMember(body, fields, from, to));
  }
  if (call.streamed && !call.wants_usage) list.push(askForUsage(call));
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

function asksBase64({ body, fields }: Call): boolean {
  const field = fields.members.get('encoding_format');
  return field !== undefined && readString(body, field) === 'base64';
}
