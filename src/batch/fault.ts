// What the disk and the database say, as a caller hears it.
import { faultOf } from './db/fault.ts';
import { GatewayError } from '../wire/errors.ts';

export function toldFault(error: unknown): unknown {
  if (error instanceof GatewayError || !(error instanceof Error)) return error;
  if (faultOf(error) === 'full') return full();
  return passes(error) ? away() : error;
}

/** The database cannot be reached now. */
export function away(): GatewayError {
  return new GatewayError('batches_unavailable', 'The gateway cannot reach its batches now. Try again shortly.', {
    cause: 'database away',
    retry_ms: 2_000,
  });
}

/** Whether the same work may succeed later. */
export function passes(error: unknown): boolean {
  if (error instanceof GatewayError) return error.code === 'insufficient_storage';
  return ['gone', 'conflict', 'full'].includes(faultOf(error));
}

export function full(): GatewayError {
  return new GatewayError('insufficient_storage', 'There is no room for more files on the gateway.', {
    cause: 'disk full',
    no_retry: true,
  });
}
