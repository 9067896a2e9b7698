// Waiting lines of models that are served by another's Batch API, gathered into shards: one model each, within the service's
// limits. Lines of one window go together, whoever's they are; what was refused with others goes with its own batch alone.
import type { Kysely } from 'kysely';
import type { Books } from '../books.ts';
import { shardId } from '../ids.ts';
import type { Running } from '../records/batches.ts';
import type { Sent, Source, Taken } from '../records/sent.ts';
import type { Shard } from '../records/shards.ts';
import { refused } from '../result.ts';
import type { Tables } from '../tables.ts';
import { aroundLine } from './compose.ts';
import type { UpstreamMeans } from './means.ts';
import { LINES_MAX, type Paces } from './pace.ts';
import { GatewayError } from '../../wire/errors.ts';

/** Lines that may stand in one file. */
interface Group {
  readonly backend: string;
  readonly name: string;
  readonly endpoint: Running['endpoint'];
  readonly sources: Source[];
}

/** Lines of one transaction: meanwhile nobody else writes to SQLite. */
const TAKEN_TOGETHER = 5000;
/** A batch in which nothing waited is looked at again after this time: another gateway may have given lines back. */
const LOOK_AGAIN_MS = 30_000;
const ENDED_TOGETHER = 500;

export class Gather {
  readonly #books: Books;
  readonly #means: UpstreamMeans;
  readonly #sent: Sent;
  readonly #paces: Paces;
  /** By batch and model: before then nothing is to be gathered. */
  #due = new Map<string, number>();

  constructor(books: Books, means: UpstreamMeans, sent: Sent, paces: Paces) {
    this.#books = books;
    this.#means = means;
    this.#sent = sent;
    this.#paces = paces;
  }

  /** Lines were given back. */
  again(): void {
    this.#due.clear();
  }

  /** Whether there was anything. */
  async once(now: number): Promise<boolean> {
    let did = false;
    for (const group of await this.#groups(now)) {
      while (await this.#shard(group, now)) did = true;
      for (const { batch, model } of group.sources) {
        const due = await this.#books.lines.nextDue(batch, model);
        this.#due.set(keyOf(batch, model), Math.min(Math.max(due ?? Infinity, now + 1), now + LOOK_AGAIN_MS));
      }
    }
    return did;
  }

  async #groups(now: number): Promise<readonly Group[]> {
    const running = await this.#books.batches.running();
    const open = new Set(running.filter((batch) => batch.open === 1).map(({ id, window }) => window ?? id));
    const due = new Map<string, number>();
    const groups = new Map<string, Group>();
    for (const batch of running) {
      // Of a window that some key's batch is still open in, the others wait for it.
      if (open.has(batch.window ?? batch.id)) continue;
      for (const model of batch.models) {
        const place = this.#means.place(model);
        if (place === undefined) continue;
        const key = keyOf(batch.id, model);
        const due_at = this.#due.get(key) ?? 0;
        if (due_at > now) {
          due.set(key, due_at);
          continue;
        }
        if (this.#means.callerOf(batch.owner) === undefined) {
          await this.#refuse(batch.id);
          continue;
        }
        for (const [from, which] of sourcesOf(batch)) {
          const id = JSON.stringify([from, place.backend, place.name, batch.endpoint]);
          const { backend, name } = place;
          const group = groups.get(id) ?? { backend, name, endpoint: batch.endpoint, sources: [] };
          group.sources.push({ batch: batch.id, model, which });
          groups.set(id, group);
        }
      }
    }
    this.#due = due;
    return [...groups.values()];
  }

  /** Whether there were lines for one more. */
  async #shard(group: Group, now: number): Promise<boolean> {
    const { kysely } = this.#books.database;
    const shard = newShard(group, this.#books.gateway, now);
    const lines = this.#books.shared
      ? await kysely.transaction().execute(async (db) => {
          // Two gateways would make two shards of what fits in one.
          const alone = await this.#sent.alone(
            db,
            group.sources.map(({ batch }) => batch),
          );
          return alone ? await this.#fill(shard, group, (work) => work(db), now) : 0;
        })
      : // In parts, so that others write between them; one that a gateway was at that died goes on with what it has.
        await this.#fill(shard, group, (work) => kysely.transaction().execute(work), now);
    if (lines === 0) return false;
    await this.#books.shards.change(shard.id, this.#books.gateway, { held_by: null });
    this.#means.log.info('lines are gathered for a Batch API', { shard: shard.id, backend: shard.backend, lines });
    return true;
  }

  async #fill(
    shard: Shard,
    { sources }: Group,
    within: (work: (db: Kysely<Tables>) => Promise<Taken>) => Promise<Taken>,
    now: number,
  ): Promise<number> {
    const { shards, gateway, config } = this.#books;
    const { lines_max, bytes_max } = config().collate;
    const { backend, name, endpoint } = shard;
    const most = Math.min(LINES_MAX, lines_max, this.#paces.lines(backend, name));
    const line_bytes = aroundLine(name, endpoint);
    let lines = 0;
    let bytes = 0;
    let urgent = 0;
    for (const source of sources) {
      for (;;) {
        const room = {
          lines: Math.min(TAKEN_TOGETHER, most - lines),
          bytes: bytes_max - bytes,
          line_bytes,
          // One that is too large all by itself is for the service to refuse.
          any: lines === 0,
        };
        if (room.lines <= 0) return lines;
        const before = { lines, urgent };
        const taken = await within(async (db) => {
          const some = await this.#sent.take(db, shard.id, source, room, now);
          if (some.lines === 0) return some;
          const change = { lines: before.lines + some.lines, urgent: Math.max(before.urgent, Number(some.urgent)) };
          // Whoever took this gateway for gone is at the shard now, and no line may come to it any more.
          if (before.lines === 0) await shards.add({ ...shard, ...change }, db);
          else await shards.change(shard.id, gateway, change, db);
          return some;
        });
        lines += taken.lines;
        bytes += taken.bytes;
        urgent = Math.max(urgent, Number(taken.urgent));
        if (taken.full) return lines;
        if (taken.lines < room.lines) break;
      }
    }
    return lines;
  }

  /** Its key is gone: nothing is asked in its name. */
  async #refuse(batch: string): Promise<void> {
    const gone = new GatewayError('invalid_api_key', 'The key that submitted this batch is no longer configured.');
    for (;;) {
      const some = await this.#books.lines.undone(batch, ['waiting'], ENDED_TOGETHER);
      if (some.length === 0) return;
      await Promise.all(some.map((line) => this.#books.finish(refused(line, '', gone))));
    }
  }
}

function sourcesOf({ id, window }: Running): readonly (readonly [from: string, which: Source['which']])[] {
  if (window === null) return [[id, 'all']];
  return [
    [window, 'first'],
    [id, 'again'],
  ];
}

function newShard({ backend, name, endpoint }: Group, gateway: string, now: number): Shard {
  return {
    id: shardId(),
    backend,
    name,
    endpoint,
    state: 'upload',
    lines: 0,
    urgent: 0,
    file: null,
    batch: null,
    layout: null,
    verdict: null,
    cancel: 0,
    due_at: now,
    pause_ms: 0,
    tries: 0,
    failing_at: null,
    created_at: now,
    held_by: gateway,
  };
}

function keyOf(batch: string, model: string): string {
  return `${batch} ${model}`;
}
