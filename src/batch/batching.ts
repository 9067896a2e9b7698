// Batches as a whole: opened where the configuration has them, and then beside the line, using it like any caller. Nothing of it
// is loaded, and nothing of it costs anything, where it has not.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { openBooks, type Books } from './books.ts';
import { contentsInDatabase, contentsOnDisk } from './contents.ts';
import { migrate } from './db/migrate.ts';
import { openDatabase } from './db/open.ts';
import { Collator } from './collate.ts';
import { Collecting } from './collecting.ts';
import { Desk } from './desk.ts';
import { Keeper, type KeepMeans } from './keeper.ts';
import { migrations } from './migrations.ts';
import type { Result } from './records/lines.ts';
import { readEnd } from './result.ts';
import { Runner, type RunMeans } from './runner.ts';
import type { Tables } from './tables.ts';
import type { UpstreamMeans } from './upstream/means.ts';
import { Upstream } from './upstream/upstream.ts';
import { Waiting } from './waiting.ts';
import type { BatchConfig } from '../types.ts';

export interface BatchingOptions {
  /** As configured now; the database and the folder are those of the start. */
  readonly config: () => BatchConfig;
  readonly database: string | undefined;
  readonly body_idle_ms: () => number;
  /** What answers to give again may take up. */
  readonly answer_bytes_max: () => number;
  /** An answer came that may be given again. */
  readonly keep: (id: string, body: Buffer) => void;
  readonly means: RunMeans & UpstreamMeans & Omit<KeepMeans, 'changed' | 'lost' | 'more'>;
  /** How long another gateway may be silent before it is taken for gone. */
  readonly gone_ms?: number | undefined;
}

export interface Batching {
  readonly desk: Desk;
  readonly collecting: Collecting;
  readonly books: Books;
  /** There may be room for a line. */
  room(): void;
  /** Lines that run here now. */
  readonly under_way: number;
  /** Clients that wait for a line. */
  readonly waiting: number;
  /** Batches by status; none while the database is away. */
  counts(): Promise<ReadonlyMap<string, number>>;
  /** Nothing new begins; what is under way may go on. */
  drain(): void;
  /** Stops what is under way, and gives everything back. */
  stop(): Promise<void>;
}

/** So soon after a result it is looked whether its batch has ended. */
const POKE_MS = 20;

/** @throws DatabaseError when the database cannot be opened, is another's, or is newer than this version */
export async function openBatching({
  config,
  database: url,
  means,
  body_idle_ms,
  answer_bytes_max,
  keep,
  gone_ms,
}: BatchingOptions): Promise<Batching> {
  const { data } = config();
  const database = await openDatabase<Tables>({
    url,
    folder: data,
    log: (event) => {
      means.log.warn('the connection to the database of batches was lost', { type: event.type });
    },
  });
  try {
    await migrate(database, migrations(database));
    const contents =
      database.dialect === 'postgres'
        ? contentsInDatabase(database)
        : await contentsOnDisk(join(data, 'files'), () => config().disk_free_bytes_min);
    let poking: NodeJS.Timeout | undefined;
    const told = (results: readonly Result[], first: readonly boolean[]): void => {
      waiting.told(results, first);
      if (answer_bytes_max() > 0) void keepAnswers(books, results, keep);
      // Many groups may be written in a moment, and any of them may be a batch's last.
      poking ??= setTimeout(() => {
        poking = undefined;
        keeper.poke();
      }, POKE_MS);
    };
    const books = openBooks(database, contents, randomUUID(), { config, answer_bytes_max }, told);
    const waiting = new Waiting(books.lines, books.shared);
    const runner = new Runner(books, means);
    const upstream = new Upstream(books, means);
    const keeper = new Keeper(
      books,
      {
        ownerOf: means.ownerOf,
        limits: means.limits,
        log: means.log,
        changed: () => runner.wake(true),
        lost: () => runner.lost(),
        more: [() => upstream.step()],
      },
      gone_ms,
    );
    const collator = new Collator(books, (batch, closed) => {
      runner.added(batch);
      if (closed) keeper.poke();
    });
    await keeper.begin();
    runner.wake(true);
    return {
      books,
      desk: new Desk(books, body_idle_ms, () => {
        keeper.poke();
        runner.wake(true);
      }),
      collecting: new Collecting(books, collator, waiting, keep),
      room: () => runner.wake(),
      get under_way() {
        return runner.under_way;
      },
      get waiting() {
        return waiting.size;
      },
      counts: () => books.batches.counts().catch(() => new Map<string, number>()),
      drain: () => runner.drain(),
      async stop() {
        clearTimeout(poking);
        await collator.stop();
        waiting.stop();
        await runner.stop();
        await upstream.stop();
        clearTimeout(poking);
        await keeper.stop();
        await database.close();
      },
    };
  } catch (error) {
    await database.close();
    throw error;
  }
}

async function keepAnswers(books: Books, results: readonly Result[], keep: BatchingOptions['keep']): Promise<void> {
  try {
    for (const { answer, result } of await books.items.answers(results)) {
      const { response } = readEnd(result);
      if (response !== undefined) keep(answer, response.body);
    }
  } catch {
    // Without it the next one who asks is answered anew.
  }
}
