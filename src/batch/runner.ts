// Lines on our own engines, in class `batch`: as many at once as others leave room for. It claims a few lines ahead, runs each
// once there is a slot, and writes its end down; a line that must yield, or that finds an engine busy or away, waits again.
// Every line ends once: what was not written down when the gateway died runs again.
import type { Books } from './books.ts';
import { passes } from './fault.ts';
import type { Running } from './records/batches.ts';
import type { Claimed, Result } from './records/lines.ts';
import { runLine, WAIT_MS, type How, type LineMeans, type Stop } from './run-line.ts';
import { describeError, type Log } from '../ops/log.ts';

export interface RunMeans extends LineMeans {
  /** For the metrics. */
  ended(how: 'completed' | 'failed' | How): void;
  readonly log: Log;
}

/** A batch whose lines may run, as this gateway sees it now. */
interface Entry {
  readonly batch: Running;
  /** By model: lines claimed and not begun, and when there may be more to claim. */
  readonly queues: Map<string, { readonly claimed: Claimed[]; due_at: number }>;
  readonly under_way: Map<Claimed, AbortController>;
}

/** Claimed at once: a commit for each line alone would cost more than many a line. */
const CLAIM_MAX = 64;
const LOOK_MS = 1_000;
/** Until a result that could not be written down is tried again. */
const AGAIN_MS = 1_000;

export class Runner {
  readonly #books: Books;
  readonly #means: RunMeans;
  readonly #entries = new Map<string, Entry>();
  #under_way = 0;
  #timer: NodeJS.Timeout | undefined;
  #pumping: Promise<void> | undefined;
  #again = false;
  #look_at = 0;
  /** A claim's answer was lost, or a line not given back: what is claimed may not be what is known here. */
  #doubt = false;
  /** Results that cannot be written down now: nothing new begins meanwhile. */
  #held_back = 0;
  #draining = false;
  #stopped = false;
  /** Called when the last line under way has ended. */
  #emptied: (() => void) | undefined;
  readonly #stopping = Promise.withResolvers<void>();

  constructor(books: Books, means: RunMeans) {
    this.#books = books;
    this.#means = means;
  }

  get under_way(): number {
    return this.#under_way;
  }

  /** There may be room, or, with `anew`, other batches. */
  wake(anew = false): void {
    if (this.#stopped) return;
    if (anew) this.#look_at = 0;
    else if (this.#entries.size === 0) return;
    this.#again = true;
    this.#pumping ??= this.#pump();
  }

  /** Lines were added to this batch, or it changed. */
  added(batch: string): void {
    for (const queue of this.#entries.get(batch)?.queues.values() ?? []) queue.due_at = 0;
    this.wake(!this.#entries.has(batch));
  }

  /** What was claimed and has not begun is another gateway's. */
  lost(): void {
    for (const { queues } of this.#entries.values()) {
      for (const queue of queues.values()) {
        queue.claimed.length = 0;
        queue.due_at = 0;
      }
    }
    this.wake(true);
  }

  /** Begins nothing more. */
  drain(): void {
    this.#draining = true;
  }

  /** Stops what is under way and gives everything back. */
  async stop(): Promise<void> {
    this.#draining = true;
    this.#stopped = true;
    this.#stopping.resolve();
    clearTimeout(this.#timer);
    for (const entry of this.#entries.values()) this.#end(entry, 'stop');
    await this.#pumping;
    if (this.#under_way > 0) await new Promise<void>((resolve) => (this.#emptied = resolve));
    for (const entry of this.#entries.values()) await this.#giveBackQueued(entry).catch(() => undefined);
  }

  async #pump(): Promise<void> {
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false;
        clearTimeout(this.#timer);
        await this.#once();
      }
    } catch (error) {
      // The database is away: looked at again in a while.
      if (!passes(error)) this.#means.log.error('bug: batches', describeError(error));
      this.#look_at = 0;
      this.#doubt = true;
    } finally {
      this.#pumping = undefined;
      if (!this.#stopped) {
        clearTimeout(this.#timer);
        const wait_ms = this.#entries.size > 0 ? LOOK_MS : LOOK_MS * 2;
        this.#timer = setTimeout(() => this.wake(true), wait_ms).unref();
      }
    }
  }

  async #once(): Promise<void> {
    const now = Date.now();
    if (now >= this.#look_at) await this.#look(now);
    for (const model of this.#models()) {
      for (;;) {
        const room = this.#room(model);
        if (room <= 0) break;
        const entry = this.#next(model, now);
        if (entry === undefined) break;
        const queue = entry.queues.get(model);
        if (queue === undefined) break;
        if (queue.claimed.length === 0) await this.#claim(entry, model, now);
        // Meanwhile others may have come, or the end: nothing that begins now would be stopped.
        const left = this.#room(model);
        const lines = queue.claimed.splice(0, Math.max(0, Math.min(left, this.#fair(model, left))));
        for (const line of lines) this.#begin(entry, line);
        // Each has its slot, or knows that it has none, before the next are chosen.
        if (lines.length > 0) await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }

  #room(model: string): number {
    if (this.#held_back > 0 || this.#draining) return 0;
    return Math.min(this.#books.config().parallel - this.#under_way, this.#means.spare(model));
  }

  /** Several batches that want the same model have their share of it each. */
  #fair(model: string, room: number): number {
    let wanting = 0;
    for (const { queues } of this.#entries.values()) if (queues.has(model)) wanting += 1;
    return Math.ceil(room / Math.max(1, wanting));
  }

  #models(): ReadonlySet<string> {
    const models = new Set<string>();
    for (const { queues } of this.#entries.values()) for (const model of queues.keys()) models.add(model);
    return models;
  }

  /** Collected requests before files; among these the batch that has the least under way. */
  #next(model: string, now: number): Entry | undefined {
    let best: Entry | undefined;
    for (const entry of this.#entries.values()) {
      const queue = entry.queues.get(model);
      if (queue === undefined || (queue.claimed.length === 0 && queue.due_at > now)) continue;
      if (best === undefined || rankOf(entry) < rankOf(best)) best = entry;
    }
    return best;
  }

  async #look(now: number): Promise<void> {
    this.#look_at = now + LOOK_MS;
    const running = new Map((await this.#books.batches.running()).map((batch) => [batch.id, batch]));
    if (this.#doubt) await this.#giveBackUnknown(now);
    for (const [id, entry] of this.#entries) {
      if (running.has(id)) continue;
      this.#entries.delete(id);
      this.#end(entry, 'ended');
      await this.#giveBackQueued(entry);
    }
    for (const batch of running.values()) {
      const entry = this.#entries.get(batch.id);
      const queues = entry?.queues ?? new Map<string, { readonly claimed: Claimed[]; due_at: number }>();
      for (const model of batch.models) {
        const queue = queues.get(model);
        if (queue === undefined) queues.set(model, { claimed: [], due_at: 0 });
        // Others may have given lines back, or added to a window.
        else if (this.#books.shared || batch.open === 1) queue.due_at = Math.min(queue.due_at, now);
      }
      if (entry === undefined) this.#entries.set(batch.id, { batch, queues, under_way: new Map() });
    }
  }

  async #claim(entry: Entry, model: string, now: number): Promise<void> {
    const queue = entry.queues.get(model);
    if (queue === undefined) return;
    const { lines, gateway } = this.#books;
    const claimed = await lines.claim(entry.batch.id, model, CLAIM_MAX, gateway, now);
    queue.claimed.push(...claimed);
    if (claimed.length === CLAIM_MAX) return;
    // What is added or given back meanwhile is due before it is found.
    queue.due_at = Infinity;
    const due_at = (await lines.nextDue(entry.batch.id, model)) ?? Infinity;
    queue.due_at = Math.min(queue.due_at, due_at);
  }

  #begin(entry: Entry, line: Claimed): void {
    const stop = new AbortController();
    entry.under_way.set(line, stop);
    this.#under_way += 1;
    void this.#run(entry, line, stop)
      .catch((error: unknown) => {
        // What could not even be given back is given back at a later look.
        this.#doubt = true;
        if (!passes(error)) this.#means.log.error('bug: a line of a batch', describeError(error));
      })
      .finally(() => {
        entry.under_way.delete(line);
        this.#under_way -= 1;
        if (this.#under_way === 0) this.#emptied?.();
        this.wake();
      });
  }

  async #run(entry: Entry, line: Claimed, stop: AbortController): Promise<void> {
    const { tries } = this.#books.config();
    const next = await runLine(line, entry.batch, () => this.#bodyOf(entry, line), stop, this.#means, tries);
    if (next.to === 'end') return await this.#finish(next.result);
    if (next.how !== undefined) this.#means.ended(next.how);
    if (next.to === 'queue') await this.#queueAgain(entry, line);
    else await this.#giveBack(entry, line, next.wait_ms, next.tried);
  }

  async #bodyOf({ batch }: Entry, line: Claimed): Promise<Buffer> {
    if (line.at !== null) return await this.#books.contents.slice(await this.#inputOf(batch), line.at, line.bytes);
    const body = await this.#books.lines.body(line);
    if (body === undefined) throw new Error('a line without a body');
    return body;
  }

  readonly #inputs = new Map<string, string>();

  async #inputOf({ id }: Running): Promise<string> {
    let input = this.#inputs.get(id);
    if (input === undefined) {
      input = (await this.#books.batches.any(id))?.input_file ?? '';
      if (this.#inputs.size > 1000) this.#inputs.clear();
      this.#inputs.set(id, input);
    }
    return input;
  }

  /** Still claimed: it is the next to begin. */
  async #queueAgain(entry: Entry, line: Claimed): Promise<void> {
    const queue = entry.queues.get(line.model);
    if (queue === undefined || this.#entries.get(entry.batch.id) !== entry) {
      return await this.#giveBack(entry, line, 0, false);
    }
    queue.claimed.unshift(line);
  }

  async #giveBack(entry: Entry, line: Claimed, wait_ms: number, tried: boolean): Promise<void> {
    const not_before = Date.now() + wait_ms;
    await this.#books.lines.giveBack([line], this.#books.gateway, wait_ms === 0 ? 0 : not_before, tried);
    const queue = entry.queues.get(line.model);
    if (queue !== undefined) queue.due_at = Math.min(queue.due_at, wait_ms === 0 ? 0 : not_before);
  }

  /** Lines that are claimed here, and that nobody here knows of. */
  async #giveBackUnknown(now: number): Promise<void> {
    const { lines, gateway } = this.#books;
    // What is in doubt from now on is for the next look.
    this.#doubt = false;
    const claimed = await lines.claimedBy(gateway);
    const known = new Set<string>();
    for (const { queues, under_way } of this.#entries.values()) {
      for (const { batch, n } of under_way.keys()) known.add(`${batch} ${n}`);
      for (const queue of queues.values()) for (const { batch, n } of queue.claimed) known.add(`${batch} ${n}`);
    }
    const unknown = claimed.filter(({ batch, n }) => !known.has(`${batch} ${n}`));
    const not_before = now + WAIT_MS;
    await lines.giveBack(unknown, gateway, not_before, false);
    for (const { batch } of unknown) {
      for (const queue of this.#entries.get(batch)?.queues.values() ?? []) {
        queue.due_at = Math.min(queue.due_at, not_before);
      }
    }
  }

  async #giveBackQueued({ queues }: Entry): Promise<void> {
    const all = [...queues.values()].flatMap(({ claimed }) => claimed.splice(0));
    if (all.length > 0) await this.#books.lines.giveBack(all, this.#books.gateway, 0, false);
  }

  /** An answer is not lost because the disk is full, or the database away for a while. */
  async #finish(result: Result): Promise<void> {
    for (let tries = 0; ; tries += 1) {
      try {
        const first = await this.#books.finish(result);
        if (first) this.#means.ended(result.ok ? 'completed' : 'failed');
        return;
      } catch (error) {
        if (!passes(error) || this.#stopped) throw error;
        if (tries === 0) this.#means.log.warn('batches pause: their results cannot be written down now');
        this.#held_back += 1;
        const pause = new Promise((resolve) => setTimeout(resolve, AGAIN_MS).unref());
        await Promise.race([pause, this.#stopping.promise]);
        this.#held_back -= 1;
      }
    }
  }

  #end({ under_way }: Entry, why: Stop): void {
    for (const stop of under_way.values()) stop.abort(why);
  }
}

function rankOf({ batch, under_way }: Entry): number {
  return (batch.window === null ? 1e6 : 0) + under_way.size;
}
