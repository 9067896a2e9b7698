// The query of a URL: how many, from where on, and of what kind.
import type { Page } from './records/files.ts';
import { GatewayError } from '../wire/errors.ts';

export type Query = Readonly<Record<string, string | readonly string[] | undefined>>;

/** @throws GatewayError `invalid_value` */
export function pageOf(query: Query, { usual, most }: { readonly usual: number; readonly most: number }): Page {
  const limit = single(query, 'limit');
  const count = limit === undefined ? usual : Number(limit);
  if (!Number.isInteger(count) || count < 1 || count > most) {
    throw new GatewayError('invalid_value', `"limit" must be a whole number from 1 to ${most}.`, { param: 'limit' });
  }
  return { limit: count, after: single(query, 'after') };
}

/** @throws GatewayError `invalid_value` */
export function oneOf(query: Query, name: string, words: readonly string[]): string | undefined {
  const word = single(query, name);
  if (word === undefined || words.includes(word)) return word;
  throw new GatewayError('invalid_value', `"${name}" must be one of ${words.join(', ')}.`, { param: name });
}

/** Of one given twice, the first. */
export function single(query: Query, name: string): string | undefined {
  const value = query[name];
  const first = typeof value === 'string' ? value : value?.[0];
  return first === undefined ? undefined : askable(first);
}

/** PostgreSQL refuses a text with a NUL in it, and nothing is called so. */
export function askable(text: string): string {
  return text.replaceAll('\0', '\uFFFD');
}
