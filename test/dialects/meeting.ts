// What a dialect is given beside its bytes, all of it known beforehand.
import type { Meeting } from '../../src/dialects/dialect.ts';
import type { Call } from '../../src/types.ts';

export function meetingOf(call: Call, more: Partial<Meeting> = {}): Meeting {
  return { call, name: 'qwen3:8b', deployment: undefined, exchange: undefined, secrets: [], id: 'x', now: 7, ...more };
}
