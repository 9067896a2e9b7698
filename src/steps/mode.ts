// How is it answered? As the request says, else its key, else its model, else the listener: at once, unless somebody says
// otherwise. Pure.
import type { IncomingHttpHeaders } from 'node:http';
import { GatewayError } from '../wire/errors.ts';
import type { Caller, Listener, Mode } from '../types.ts';

const MODES: ReadonlySet<string> = new Set<Mode>(['direct', 'batch-sync', 'batch-async', 'cache']);

/** What the configuration has. */
interface Has {
  readonly batch: boolean;
  readonly cache: boolean;
}

/** @throws GatewayError `invalid_value` for a mode that is none, or that is not configured */
export function mode(
  headers: IncomingHttpHeaders,
  caller: Caller,
  of_model: Mode | undefined,
  listener: Listener,
  has: Has,
): Mode {
  const asked = headers['x-lanyard-mode'];
  if (asked === undefined) return caller.mode ?? of_model ?? listener.mode ?? 'direct';
  if (typeof asked !== 'string' || !MODES.has(asked)) {
    throw wrong(`The header x-lanyard-mode must be one of ${[...MODES].join(', ')}.`);
  }
  if (asked === 'cache' && !has.cache) throw wrong('There is no cache here: the operator adds `cache:`.');
  if (asked.startsWith('batch-') && !has.batch) throw wrong('There are no batches here: the operator adds `batch:`.');
  return asked as Mode;
}

function wrong(message: string): GatewayError {
  return new GatewayError('invalid_value', message, { param: 'x-lanyard-mode' });
}
