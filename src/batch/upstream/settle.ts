// The end of a batch at a service, and what it means for each of its lines: the results are theirs by custom_id, in whatever
// state it ended; those that none came for are told why; and those that were only refused together with others wait again.
import type { Books } from '../books.ts';
import { answered, CANCELLED, EXPIRED, refused, unanswered } from '../result.ts';
import type { Result } from '../records/lines.ts';
import type { Sent, SentLine } from '../records/sent.ts';
import type { Shard } from '../records/shards.ts';
import type { BatchApi, Seen, SeenFault } from './api.ts';
import { ApiFault } from './http.ts';
import { ingest } from './ingest.ts';
import { placeAt, readLayout } from './layout.ts';
import type { Paces } from './pace.ts';
import { GatewayError } from '../../wire/errors.ts';
import { clean } from '../../wire/refusals.ts';

export interface SettleMeans {
  readonly books: Books;
  readonly sent: Sent;
  readonly paces: Paces;
  readonly secrets: readonly string[];
  readonly line_bytes_max: number;
  /** What the service will not give is done without. */
  readonly lenient: boolean;
}

export interface Settled {
  /** Lines that the service answered, well or not. */
  readonly answered: number;
  /** Lines wait again. */
  readonly again: boolean;
}

/** May be broken off anywhere and done again. @throws ApiFault, and what the database throws */
export async function settle(shard: Shard, seen: Seen, api: BatchApi, means: SettleMeans): Promise<Settled> {
  if (seen.status === 'failed') return { answered: 0, again: await settleFailed(shard, seen.faults, means) };
  let given = 0;
  for (const file of [seen.output, seen.error]) {
    // Nobody waits for what is not there, nor for what nobody waits for.
    if (file === undefined || !(await means.sent.any(shard.id))) continue;
    try {
      given += await ingest(await api.content(file), shard.id, means);
    } catch (error) {
      if (!(means.lenient && error instanceof ApiFault && error.kind === 'refused')) throw error;
    }
  }
  await endLines(shard.id, means, (line) => left(line, seen.status));
  return { answered: given, again: false };
}

function left(line: SentLine, status: string): Result {
  if (status === 'expired') return unanswered(line, EXPIRED.code, EXPIRED.message);
  if (status === 'cancelled') return unanswered(line, CANCELLED.code, CANCELLED.message);
  const none = "The backend's Batch API sent no answer to this request.";
  return refused(line, '', new GatewayError('upstream_invalid', none));
}

/** Ends those that have no end yet: all, or those that clients wait for. */
export async function endLines(
  shard: string,
  { books, sent }: Pick<SettleMeans, 'books' | 'sent'>,
  result: (line: SentLine) => Result,
  which: { readonly waited?: boolean } = {},
): Promise<void> {
  for (;;) {
    const some = await sent.undone(shard, TOGETHER, which);
    if (some.length === 0) return;
    await Promise.all(some.map((line) => books.finish(result(line))));
  }
}

const TOGETHER = 500;
/** A first wait for the service's quota, and the longest, in pauses of the polls. */
const QUOTA = { least: 12, most: 3 } as const;

/** It was refused as a whole. Whether lines wait again. */
async function settleFailed(shard: Shard, faults: readonly SeenFault[], means: SettleMeans): Promise<boolean> {
  const { books, sent, paces, secrets } = means;
  const { backend, name, id } = shard;
  if (faults.some(({ code }) => code === 'token_limit_exceeded')) {
    const { poll_min_ms, poll_max_ms } = books.config().upstream;
    const [least, most] = [poll_min_ms * QUOTA.least, poll_max_ms * QUOTA.most];
    const alone = !(await books.shards.beside(shard));
    const pause_ms = paces.exceeded(backend, name, shard.lines, alone, least, most);
    await sent.giveBack(id, Date.now() + pause_ms, false);
    return true;
  }
  const layout = readLayout(shard.layout);
  const named = new Map<string, SeenFault>();
  const places = faults.flatMap((fault) => {
    const place = layout === undefined || fault.line === null ? undefined : placeAt(layout, fault.line);
    if (place !== undefined) named.set(`${place.batch}-${place.n}`, fault);
    return place ?? [];
  });
  if (places.length === 0) {
    const [fault] = faults;
    const words = fault === undefined ? '' : clean(fault.message, secrets);
    const why = words === '' ? 'without saying why.' : `as a whole: ${words}`;
    const error = new GatewayError('upstream_error', `The backend's Batch API refused the batch ${why}`);
    await endLines(id, means, (line) => refused(line, '', error));
    return false;
  }
  for (let at = 0; at < places.length; at += TOGETHER) {
    const lines = await sent.find(id, places.slice(at, at + TOGETHER));
    await Promise.all(lines.map((line) => books.finish(faulty(line, named.get(`${line.batch}-${line.n}`), secrets))));
  }
  const { tries } = books.config();
  for (;;) {
    const worn = await sent.worn(id, tries - 1, TOGETHER);
    if (worn.length === 0) break;
    const words = "The backend's Batch API refused this request's batch for other requests in it, again and again.";
    const error = new GatewayError('upstream_error', words);
    await Promise.all(worn.map((line) => books.finish(refused(line, '', error))));
  }
  await sent.giveBack(id, 0, true);
  return true;
}

/** In OpenAI's form, as if the line had been refused by itself. */
function faulty(line: SentLine, fault: SeenFault | undefined, secrets: readonly string[]): Result {
  const message = clean(fault?.message ?? '', secrets);
  const error = {
    message: message === '' ? 'The request was refused.' : message,
    type: 'invalid_request_error',
    param: fault?.param ?? null,
    code: fault?.code ?? 'invalid_request',
  };
  return answered(line, 400, '', Buffer.from(JSON.stringify({ error })));
}
