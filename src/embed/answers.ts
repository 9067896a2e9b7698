// Answers to embeddings calls, joined to one and cut into several, as bytes: no vector is parsed.
import {
  findMembers,
  scanArray,
  scanMember,
  setMember,
  splice,
  valueKind,
  type Edit,
  type Span,
} from '../wire/body.ts';
import { GatewayError } from '../wire/errors.ts';

/** One answer of several parts, in their order: everything but `data` and `usage` is the first one's. */
export function join(parts: readonly Buffer[]): Buffer {
  const [first, ...others] = parts;
  if (first === undefined || others.length === 0) return first ?? Buffer.alloc(0);
  const items = parts.flatMap((part) => itemsOf(part));
  const usage = parts.map(tokensOf).reduce((sum, tokens) => sum + tokens, 0);
  const { members, ...fields } = findMembers(first);
  const edits = [setMember(first, { members, ...fields }, 'data', numbered(items))];
  if (members.has('usage')) edits.push(setMember(first, { members, ...fields }, 'usage', usageJson(usage)));
  return splice(first, edits);
}

/** Each caller's own answer of one to all of them: `counts` are how many inputs each had, `shares` how much text. */
export function cut(answer: Buffer, counts: readonly number[], shares: readonly number[]): readonly Buffer[] {
  const items = itemsOf(answer);
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (items.length !== total) throw senseless(`${items.length} embeddings of ${total} inputs`);
  const fields = findMembers(answer);
  const tokens = tokensOf(answer);
  const text = shares.reduce((sum, share) => sum + share, 0);
  let from = 0;
  return counts.map((count, at) => {
    const mine = items.slice(from, (from += count));
    // The engine counted all together: by length is how they are told apart, and said to be.
    const share = Math.max(1, Math.round((tokens * (shares[at] ?? 0)) / Math.max(1, text)));
    const usage = { prompt_tokens: share, total_tokens: share, estimated: true };
    return splice(answer, [
      setMember(answer, fields, 'data', numbered(mine)),
      setMember(answer, fields, 'usage', JSON.stringify(usage)),
    ]);
  });
}

/** The items of `data` by their own index, each as its bytes. */
function itemsOf(answer: Buffer): readonly Buffer[] {
  const data = findMembers(answer).members.get('data');
  if (data === undefined || valueKind(answer, data) !== 'array') throw senseless('no data');
  return scanArray(answer, data)
    .map((span, at) => ({ bytes: bytesOf(answer, span), index: indexOf(answer, span) ?? at }))
    .toSorted((a, b) => a.index - b.index)
    .map(({ bytes }) => bytes);
}

function indexOf(answer: Buffer, item: Span): number | undefined {
  if (valueKind(answer, item) !== 'object') throw senseless('an item that is no object');
  const index = scanMember(answer, item).members.get('index');
  const value = index === undefined ? Number.NaN : Number(bytesOf(answer, index).toString('latin1'));
  return Number.isSafeInteger(value) ? value : undefined;
}

/** As a JSON list, numbered from 0. */
function numbered(items: readonly Buffer[]): string {
  const texts = items.map((item, at) => {
    const fields = scanMember(item, { value_start: 0, value_end: item.length });
    const edits: Edit[] = [setMember(item, fields, 'index', String(at))];
    return splice(item, edits).toString('utf8');
  });
  return `[${texts.join(',')}]`;
}

function tokensOf(answer: Buffer): number {
  const usage = findMembers(answer).members.get('usage');
  if (usage === undefined || valueKind(answer, usage) !== 'object') return 0;
  const told = scanMember(answer, usage).members.get('prompt_tokens');
  const tokens = told === undefined ? 0 : Number(bytesOf(answer, told).toString('latin1'));
  return Number.isFinite(tokens) ? tokens : 0;
}

function usageJson(tokens: number): string {
  return JSON.stringify({ prompt_tokens: tokens, total_tokens: tokens });
}

function bytesOf(answer: Buffer, { value_start, value_end }: Span): Buffer {
  return answer.subarray(value_start, value_end);
}

function senseless(cause: string): GatewayError {
  return new GatewayError('upstream_invalid', 'The backend sent embeddings that cannot be read.', { cause });
}
