// Single requests collected into batches. A window opens with its first request, and closes by time, lines or bytes; what has
// been accepted is on disk. Each key's requests of a window are a batch of that key's; what goes to another's Batch API goes
// there together. On our own engines a line need not wait for its window's end.
import { createHash } from 'node:crypto';
import { again, type Books } from './books.ts';
import { Together } from './db/together.ts';
import { windowId } from './ids.ts';
import { newBatch } from './new-batch.ts';
import type { Batch } from './records/batches.ts';
import type { Line, Place } from './records/lines.ts';
import type { Endpoint } from '../types.ts';

/** A request that is to be a line. */
export interface Collected {
  readonly owner: string;
  readonly endpoint: Endpoint;
  /** The public name. */
  readonly model: string;
  /** The backend whose Batch API it goes to; `undefined`: our own engines. */
  readonly upstream: string | undefined;
  readonly custom_id: string;
  /** On one line, without what asks for a stream. */
  readonly body: Buffer;
  /** By which a repeated request finds it. */
  readonly item: string;
  /** Under this its answer is kept for others who ask the same; `null`: not. */
  readonly answer: string | null;
  /** A client waits for its answer. */
  readonly waits: boolean;
}

export interface Joined extends Place {
  readonly custom_id: string;
  /** As it stood when the line was added. */
  readonly batch_row: Batch;
}

interface Window {
  readonly id: string;
  readonly group: string;
  readonly window_ms: number;
  readonly closes_at: number;
  readonly upstream: string | undefined;
  readonly timer: NodeJS.Timeout;
  readonly batches: Map<string, Batch>;
  lines: number;
  bytes: number;
}

type Item =
  | { readonly what: 'join'; readonly window: Window; readonly request: Collected }
  | { readonly what: 'close'; readonly window: Window };

/** What a line has in a file of the upstream's beside its body. */
const LINE_BYTES = 256;
const ITEMS_MAX = 500;
const BYTES_MAX = 16 << 20;

export class Collator {
  readonly #books: Books;
  readonly #changed: (batch: string, closed: boolean) => void;
  readonly #open = new Map<string, Window>();
  readonly #writing: Together<Item, Joined | undefined>;

  /** `changed`: lines were added to this batch, or it was closed. */
  constructor(books: Books, changed: (batch: string, closed: boolean) => void) {
    this.#books = books;
    this.#changed = changed;
    this.#writing = new Together<Item, Joined | undefined>({
      items_max: ITEMS_MAX,
      weight_max: BYTES_MAX,
      weigh: (item) => (item.what === 'join' ? item.request.body.length : 0),
      write: (items) => again(() => this.#write(items)),
    });
  }

  /** Resolves once the line is on disk. @throws what the database throws */
  async join(request: Collected): Promise<Joined> {
    const window = this.#windowOf(request);
    const joined = await this.#writing.add({ what: 'join', window, request });
    if (joined === undefined) throw new Error('a request joined no batch');
    this.#changed(joined.batch, false);
    return joined;
  }

  /** Closes what is open: nobody would, after this. */
  async stop(): Promise<void> {
    await Promise.all([...this.#open.values()].map((window) => this.#close(window).catch(() => undefined)));
    await this.#writing.idle();
  }

  #windowOf({ endpoint, model, upstream, body }: Collected): Window {
    const { window_ms, lines_max, bytes_max } = this.#books.config().collate;
    const group = JSON.stringify([upstream ?? '', endpoint, model]);
    const bytes = body.length + LINE_BYTES;
    let window = this.#open.get(group);
    if (window !== undefined && (window.lines >= lines_max || window.bytes + bytes > bytes_max)) {
      void this.#close(window).catch(() => undefined);
      window = undefined;
    }
    if (window === undefined) {
      const opened: Window = {
        id: windowId(),
        group,
        window_ms,
        closes_at: Date.now() + window_ms,
        upstream,
        timer: setTimeout(() => void this.#close(opened).catch(() => undefined), window_ms),
        batches: new Map(),
        lines: 0,
        bytes: 0,
      };
      this.#open.set(group, opened);
      window = opened;
    }
    window.lines += 1;
    window.bytes += bytes;
    return window;
  }

  /** What fails here is made good by the keeper: a window whose time has passed is closed by whoever looks. */
  async #close(window: Window): Promise<void> {
    clearTimeout(window.timer);
    if (this.#open.get(window.group) === window) this.#open.delete(window.group);
    // Behind the requests that are still being written down.
    await this.#writing.add({ what: 'close', window });
    for (const { id } of window.batches.values()) this.#changed(id, true);
  }

  async #write(items: readonly Item[]): Promise<readonly (Joined | undefined)[]> {
    const { database, lines, shared } = this.#books;
    const { kysely } = database;
    // Only once it is written does a window know of its batches' new lines.
    const made = new Map<Window, Map<string, Batch>>();
    const told = await kysely.transaction().execute(async (db) => {
      made.clear();
      const windows = new Set(items.map(({ window }) => window));
      const totals = await openTotals(db, windows, shared);
      for (const window of windows) {
        const open = [...window.batches].flatMap(([owner, batch]) => {
          const total = totals.get(batch.id);
          return total === undefined ? [] : [[owner, { ...batch, total }] as const];
        });
        made.set(window, new Map(open));
      }
      const added: Line[] = [];
      const results: (Joined | undefined)[] = [];
      const grown = new Map<string, number>();
      const grow = async (): Promise<void> => {
        for (const [id, by] of grown) {
          await db
            .updateTable('batches')
            .set(({ eb }) => ({ total: eb('total', '+', by) }))
            .where('id', '=', id)
            .execute();
        }
        grown.clear();
      };
      for (const item of items) {
        const { window } = item;
        const batches = made.get(window) ?? new Map<string, Batch>();
        if (item.what === 'close') {
          await grow();
          const ids = [...batches.values()].map(({ id }) => id);
          if (ids.length > 0) await closed(db, ids, Date.now());
          results.push(undefined);
          continue;
        }
        const { request } = item;
        let batch = batches.get(request.owner);
        if (batch === undefined) {
          batch = batchOf(window, request);
          await db.insertInto('batches').values(batch).execute();
        }
        added.push(lineOf(batch, request));
        grown.set(batch.id, (grown.get(batch.id) ?? 0) + 1);
        results.push({ batch: batch.id, n: batch.total, custom_id: request.custom_id, batch_row: batch });
        batch = { ...batch, total: batch.total + 1 };
        batches.set(request.owner, batch);
      }
      await grow();
      await lines.add(added, db);
      return results;
    });
    for (const [window, batches] of made) {
      window.batches.clear();
      for (const [owner, batch] of batches) window.batches.set(owner, batch);
    }
    return told;
  }
}

/** SHA-256 of what is asked, and by whom. */
export function itemOf(owner: string, ...asked: readonly (string | Buffer)[]): string {
  const hash = createHash('sha256').update(JSON.stringify(owner));
  for (const part of asked) hash.update('\n').update(part);
  return hash.digest('hex');
}

/**
 * How many lines the open batches of these windows have: one may have been cancelled, or closed by another gateway that took
 * this one for gone. Until the transaction ends nobody does either, nor ends them; in one order, so that two never wait for each
 * other.
 */
async function openTotals(
  db: Pick<Books['database']['kysely'], 'selectFrom'>,
  windows: ReadonlySet<Window>,
  shared: boolean,
): Promise<ReadonlyMap<string, number>> {
  const ids = [...windows].flatMap(({ batches }) => [...batches.values()].map(({ id }) => id));
  if (ids.length === 0) return new Map();
  const open = db
    .selectFrom('batches')
    .where('id', 'in', ids)
    .where('open', '=', 1)
    .orderBy('id')
    .select(['id', 'total']);
  const rows = await (shared ? open.forUpdate() : open).execute();
  return new Map(rows.map(({ id, total }) => [id, total]));
}

async function closed(
  db: Pick<Books['database']['kysely'], 'updateTable'>,
  ids: readonly string[],
  now: number,
): Promise<void> {
  await db.updateTable('batches').set({ open: 0 }).where('id', 'in', ids).execute();
  await db
    .updateTable('batches')
    .set({ status: 'in_progress', in_progress_at: now })
    .where('id', 'in', ids)
    .where('status', '=', 'validating')
    .execute();
}

function batchOf(window: Window, { owner, endpoint, model }: Collected): Batch {
  const now = Date.now();
  const asked = { input_file_id: '', endpoint, metadata: undefined, output_age_ms: null };
  return {
    ...newBatch(owner, asked, { idempotency_key: null, asked: null }, now),
    input_file: null,
    models: JSON.stringify([model]),
    // Our own engines need not wait for the window's end.
    ...(window.upstream !== undefined ? {} : { status: 'in_progress', in_progress_at: now }),
    window: window.id,
    upstream: window.upstream ?? null,
    window_ms: window.window_ms,
    closes_at: window.closes_at,
    open: 1,
  };
}

function lineOf(batch: Batch, { custom_id, model, body, item, answer, waits }: Collected): Line {
  return {
    batch: batch.id,
    n: batch.total,
    custom_id,
    model,
    state: 'waiting',
    rank: waits ? 0 : 1,
    not_before: 0,
    claimed_by: null,
    shard: null,
    tries: 0,
    at: null,
    bytes: body.length,
    body,
    item,
    answer,
    told: 0,
    ok: null,
    result: null,
  };
}
