// Lists, a page at a time, as both APIs give them.
import { Refusal } from './refusal.ts';

interface Page<Item> {
  readonly object: 'list';
  readonly data: readonly Item[];
  readonly first_id: string | null;
  readonly last_id: string | null;
  readonly has_more: boolean;
}

/** Of items in the order that they are listed in. */
export function page<Item extends { readonly id: string }>(
  items: readonly Item[],
  query: URLSearchParams,
  limits: { readonly usual: number; readonly most: number },
): Page<Item> {
  const text = query.get('limit') ?? String(limits.usual);
  const limit = Number(text);
  if (!/^\d+$/.test(text) || limit < 1 || limit > limits.most) {
    const message = `Invalid 'limit': expected an integer between 1 and ${limits.most}, but got '${text}' instead.`;
    throw new Refusal(400, message, 'limit', 'invalid_value');
  }
  const after = query.get('after');
  const from = after === null ? 0 : items.findIndex(({ id }) => id === after) + 1;
  if (after !== null && from === 0)
    throw new Refusal(400, `Invalid 'after': no object '${after}'.`, 'after', 'invalid_value');
  const data = items.slice(from, from + limit);
  return {
    object: 'list',
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: from + limit < items.length,
  };
}

/** Each at most once, and no others. */
export function queried(query: URLSearchParams, known: readonly string[]): void {
  for (const name of query.keys()) {
    if (!known.includes(name)) throw new Refusal(400, `Unknown parameter: '${name}'.`, name, 'unknown_parameter');
    if (query.getAll(name).length > 1) throw new Refusal(400, `Duplicate parameter: '${name}'.`, name, 'invalid_value');
  }
}
