// A call as the gateway has read it, of a body given as text or as a value; and what refuses one.
import { scanObject } from '../../src/wire/body.ts';
import { GatewayError } from '../../src/wire/errors.ts';
import { promptBytes } from '../../src/wire/prompt.ts';
import type { Call, Endpoint } from '../../src/types.ts';

export function callOf(endpoint: Endpoint, given: object | string, more: Partial<Call> = {}): Call {
  const body = Buffer.from(typeof given === 'string' ? given : JSON.stringify(given));
  const fields = scanObject(body);
  return {
    endpoint,
    model: 'm',
    streamed: false,
    wants_usage: false,
    body,
    fields,
    prompt_bytes: () => promptBytes(endpoint, body, fields),
    ...more,
  };
}

export function refusal(act: () => unknown): GatewayError {
  try {
    act();
  } catch (error) {
    if (error instanceof GatewayError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}
