// Who is asking? The key may come as `Authorization: Bearer`, `x-api-key` or `api-key` (Continue sends two of them with
// the same key); two different keys in one request are refused, so that no two parts of the way can judge by different ones.
import type { IncomingHttpHeaders } from 'node:http';
import type { Keyring } from '../edge/keyring.ts';
import type { Failures } from '../store/failures.ts';
import { bucketOf } from '../wire/address.ts';
import { GatewayError } from '../wire/errors.ts';
import type { Caller, Listener } from '../types.ts';

/**
 * @throws GatewayError `invalid_api_key`, or `too_many_failures` once an address has failed too often. A valid key is
 * never held up by others' failures behind the same address: keys have 256 bits, so the bucket is against noise.
 */
export function identify(
  headers: IncomingHttpHeaders,
  address: string,
  listener: Listener,
  keys: Keyring,
  failures: Failures,
): Caller | Promise<never> {
  const given = keysIn(headers);
  const [text] = given;
  const bucket = bucketOf(address);
  const key = text !== undefined && given.length === 1 ? keys.find(text) : undefined;
  if (key !== undefined) {
    const { name, models, default_model, limits, mode } = key;
    return { key: name, admin: name === 'master', address, bucket, models, default_model, limits, mode };
  }
  if (listener.auth === 'open') {
    return {
      key: 'open',
      admin: false,
      address,
      bucket,
      models: undefined,
      default_model: undefined,
      limits: undefined,
    };
  }
  return refuse(given.length, bucket, failures);
}

async function refuse(given: number, bucket: string, failures: Failures): Promise<never> {
  const { blocked, retry_ms } = await failures.record(bucket);
  if (blocked) {
    throw new GatewayError('too_many_failures', 'Too many requests without a valid key from this address.', {
      retry_ms,
    });
  }
  throw new GatewayError('invalid_api_key', complaint(given), {
    cause: given > 1 ? 'two keys' : 'no valid key',
  });
}

/** Each once. */
function keysIn(headers: IncomingHttpHeaders): readonly string[] {
  const { authorization } = headers;
  const keys: string[] = [];
  const bearer = authorization === undefined ? undefined : /^Bearer +(\S+) *$/i.exec(authorization)?.[1];
  for (const one of [bearer, headers['x-api-key'], headers['api-key']]) {
    if (typeof one === 'string' && one !== '' && !keys.includes(one)) keys.push(one);
  }
  return keys;
}

function complaint(count: number): string {
  if (count > 1) return 'The request carries two different API keys. Send one.';
  return count === 1 ? 'The API key is not valid.' : 'An API key is required: send it as "Authorization: Bearer KEY".';
}
