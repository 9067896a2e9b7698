// How a call is answered: who says so first is heard.
import { describe, expect, test } from 'vitest';
import { mode } from '../../src/steps/mode.ts';
import type { Caller, Listener, Mode } from '../../src/types.ts';
import { refusal } from '../stage/call.ts';

const caller = (of_key?: Mode): Caller => ({
  key: 'alice',
  admin: false,
  address: '',
  bucket: '',
  models: undefined,
  default_model: undefined,
  limits: undefined,
  mode: of_key,
});
const listener = (of_listener?: Mode): Listener => ({ port: 0, host: '127.0.0.1', auth: 'open', mode: of_listener });
const ALL = { batch: true, cache: true };

describe('the mode', () => {
  test.each<[string | undefined, Mode | undefined, Mode | undefined, Mode | undefined, Mode]>([
    [undefined, undefined, undefined, undefined, 'direct'],
    [undefined, undefined, undefined, 'batch-sync', 'batch-sync'],
    [undefined, undefined, 'direct', 'batch-sync', 'direct'],
    [undefined, 'cache', 'direct', 'batch-sync', 'cache'],
    ['batch-async', 'cache', 'direct', 'batch-sync', 'batch-async'],
    ['direct', 'cache', undefined, undefined, 'direct'],
  ])('header %s, key %s, model %s, listener %s: %s', (header, of_key, of_model, of_listener, wanted) => {
    const headers = header === undefined ? {} : { 'x-lanyard-mode': header };
    expect(mode(headers, caller(of_key), of_model, listener(of_listener), ALL)).toBe(wanted);
  });

  test.each([
    ['batch-sync', { batch: false, cache: true }],
    ['batch-async', { batch: false, cache: true }],
    ['cache', { batch: true, cache: false }],
    ['Batch-Sync', ALL],
    ['', ALL],
  ])('%j is refused where there is none', (header, has) => {
    const refused = refusal(() => mode({ 'x-lanyard-mode': header }, caller(), undefined, listener(), has));
    expect([refused.code, refused.details.param]).toEqual(['invalid_value', 'x-lanyard-mode']);
  });
});
