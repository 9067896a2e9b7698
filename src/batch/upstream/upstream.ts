// Lines that go to another's Batch API: gathered into shards, each of which is taken through its steps. What is known of a shard
// is in the database alone: any gateway may take the next step, after any end of the one before.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Books } from '../books.ts';
import { passes } from '../fault.ts';
import { Sent } from '../records/sent.ts';
import { LostShard, type Shard, type ShardChange } from '../records/shards.ts';
import { openApi, SILENT_MS } from './api.ts';
import { tmpFolder } from './compose.ts';
import { failed } from './failed.ts';
import { Gather } from './gather.ts';
import { ApiFault, unreachable } from './http.ts';
import { PATIENCE, type Patience, type UpstreamMeans } from './means.ts';
import { endOverdue } from './overdue.ts';
import { Paces } from './pace.ts';
import { doStep, type StepMeans } from './steps.ts';
import { describeError } from '../../ops/log.ts';

/** How many steps of which kind are taken at once: whoever moves many bytes does not keep others from a look. */
const LANES = [
  { name: 'urgent', states: ['upload', 'fetch'], urgent: [1], most: 4 },
  { name: 'files', states: ['upload', 'fetch'], urgent: [0], most: 4 },
  { name: 'looks', states: ['create', 'poll', 'clean'], urgent: [0, 1], most: 16 },
] as const;
type Lane = (typeof LANES)[number];

/** Of results: longer than any answer. */
const LINE_BYTES_MAX = 128 << 20;
/** What could not be written down is tried again after this time. */
const AGAIN_MS = 1_000;
/** What is due later is found by the keeper's next look. */
const LOOK_MS = 1_000;
const SWEEP_MS = 600_000;

export class Upstream {
  readonly #books: Books;
  readonly #means: UpstreamMeans;
  readonly #patience: Patience;
  readonly #sent: Sent;
  readonly #gather: Gather;
  readonly #steps: StepMeans;
  readonly #working = new Map<string, { readonly lane: Lane; readonly done: Promise<void> }>();
  readonly #stopping = new AbortController();
  #looking: Promise<boolean> | undefined;
  #again = false;
  #sweep_at = 0;

  constructor(books: Books, means: UpstreamMeans, patience: Patience = PATIENCE) {
    this.#books = books;
    this.#means = means;
    this.#patience = patience;
    const sent = new Sent(books.database.kysely, books.shared);
    const paces = new Paces();
    let folder: Promise<string> | undefined;
    this.#sent = sent;
    this.#gather = new Gather(books, means, sent, paces);
    this.#steps = {
      books,
      means,
      sent,
      paces,
      folder: () => (folder ??= tmpFolder(books.config().data)),
      again: () => this.#gather.again(),
      line_bytes_max: LINE_BYTES_MAX,
    };
  }

  /** Begins what is due, and waits for none of it; whether lines were gathered or ended. @throws what the database throws */
  async step(): Promise<boolean> {
    if (this.#stopping.signal.aborted) return false;
    this.#again = true;
    return await (this.#looking ??= this.#look());
  }

  /** There may be something to do. */
  wake(): void {
    this.step().catch((error: unknown) => {
      // The keeper meets a database that is away as well, and tells.
      if (!passes(error)) this.#means.log.error('bug: batches', describeError(error));
    });
  }

  /** Breaks off what is under way: the next gateway goes on from where it was. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('stopping'));
    await this.#looking?.catch(() => undefined);
    await Promise.all([...this.#working.values()].map(({ done }) => done));
  }

  async #look(): Promise<boolean> {
    let did = false;
    try {
      while (this.#again && !this.#stopping.signal.aborted) {
        this.#again = false;
        const now = Date.now();
        did = (await endOverdue(this.#books, this.#sent, this.#patience.grace_ms, now)) || did;
        did = (await this.#gather.once(now)) || did;
        for (const lane of LANES) await this.#takeDue(lane);
        if (now < this.#sweep_at) continue;
        this.#sweep_at = now + SWEEP_MS;
        await this.#books.shards.forget(now - this.#books.config().batch_age_ms);
      }
      return did;
    } finally {
      this.#looking = undefined;
    }
  }

  async #takeDue(lane: Lane): Promise<void> {
    const { shards, gateway } = this.#books;
    while ([...this.#working.values()].filter((one) => one.lane === lane).length < lane.most) {
      if (this.#stopping.signal.aborted) return;
      const working = [...this.#working.keys()];
      const shard = await shards.take(gateway, lane.states, lane.urgent, working, Date.now());
      if (shard === undefined) return;
      this.#working.set(shard.id, { lane, done: this.#run(shard) });
    }
  }

  /** Never throws. */
  async #run(shard: Shard): Promise<void> {
    let due_at: number;
    try {
      const change = await this.#step(shard);
      await this.#save(shard, { ...change, held_by: null });
      due_at = change.state === 'done' ? Infinity : (change.due_at ?? 0);
    } catch (error) {
      due_at = Date.now() + AGAIN_MS;
      if (error instanceof LostShard) this.#means.log.warn('a shard went to another gateway', { shard: shard.id });
      else if (!passes(error) && !this.#stopping.signal.aborted) {
        this.#means.log.error('bug: batches', describeError(error));
      }
      // Held until then, so that it is not taken again at once.
      await this.#until(due_at);
    }
    this.#working.delete(shard.id);
    const wait_ms = due_at - Date.now();
    if (wait_ms <= LOOK_MS) void this.#until(due_at).then(() => this.wake());
    else this.wake();
  }

  async #step(shard: Shard): Promise<ShardChange> {
    const begun = Date.now();
    const { signal } = this.#stopping;
    try {
      const service = this.#means.service(shard.backend);
      // Another configuration may have it again.
      if (service === undefined) throw unreachable();
      // A client waits, and nothing runs yet: an answer that comes too late is as good as none.
      const brings = shard.state === 'upload' || shard.state === 'create';
      const api = openApi(service, signal, shard.urgent === 1 && brings ? this.#patience.waited_ms : SILENT_MS);
      const save = (change: ShardChange): Promise<void> => this.#save(shard, change);
      return await doStep({ shard, service, api, signal, save }, this.#steps);
    } catch (error) {
      if (signal.aborted || passes(error) || error instanceof LostShard) throw error;
      if (!(error instanceof ApiFault)) this.#means.log.error('bug: batches', describeError(error));
      const [books, means, sent, patience] = [this.#books, this.#means, this.#sent, this.#patience];
      return await failed(shard, error, begun, { books, means, sent, patience });
    }
  }

  async #save({ id }: Shard, change: ShardChange): Promise<void> {
    await this.#books.shards.change(id, this.#books.gateway, change);
  }

  /** Or until this is stopped. */
  async #until(at: number): Promise<void> {
    const wait_ms = at - Date.now();
    if (wait_ms > 0)
      await sleep(wait_ms, undefined, { signal: this.#stopping.signal, ref: false }).catch(() => undefined);
  }
}
