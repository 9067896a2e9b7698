// A call, out of a body's bytes: the few fields that the gateway needs, found without parsing.
import { isNull, readBoolean, readString, scanMember, scanObject, valueKind } from './body.ts';
import { GatewayError } from './errors.ts';
import { promptBytes } from './prompt.ts';
import type { Call, Endpoint, Fields } from '../types.ts';

/** @throws GatewayError `invalid_json`, `invalid_value`, `missing_required_parameter` */
export function callFrom(body: Buffer, endpoint: Endpoint, default_model: string | undefined): Call {
  const fields = scanObject(body);
  let prompt_bytes: number | undefined;
  return {
    endpoint,
    model: modelOf(body, fields, default_model),
    streamed: endpoint !== 'embeddings' && flag(body, fields, 'stream'),
    wants_usage: wantsUsage(body, fields),
    body,
    fields,
    prompt_bytes: () => (prompt_bytes ??= promptBytes(endpoint, body, fields)),
  };
}

function modelOf(body: Buffer, fields: Fields, default_model: string | undefined): string {
  const field = fields.members.get('model');
  if (field === undefined) {
    if (default_model !== undefined) return default_model;
    throw new GatewayError('missing_required_parameter', 'The field "model" is required.', { param: 'model' });
  }
  const model = readString(body, field);
  if (model === undefined || model === '') {
    throw new GatewayError('invalid_value', 'The field "model" must be a non-empty string.', { param: 'model' });
  }
  return model;
}

function wantsUsage(body: Buffer, fields: Fields): boolean {
  const field = fields.members.get('stream_options');
  if (field === undefined || isNull(body, field)) return false;
  if (valueKind(body, field) !== 'object') {
    throw new GatewayError('invalid_value', 'The field "stream_options" must be an object.', {
      param: 'stream_options',
    });
  }
  return flag(body, scanMember(body, field), 'include_usage', 'stream_options.include_usage');
}

function flag(body: Buffer, { members }: Fields, name: string, param = name): boolean {
  const field = members.get(name);
  if (field === undefined || isNull(body, field)) return false;
  const value = readBoolean(body, field);
  if (value === undefined)
    throw new GatewayError('invalid_value', `The field "${param}" must be true or false.`, { param });
  return value;
}
