// What goes on by itself: batches are validated and finished, those out of time or cancelled are ended, gateways that are gone
// lose what they held, and what is too old goes. Each step may be broken off anywhere and is taken again.
import type { Books } from './books.ts';
import { faultOf } from './db/fault.ts';
import { passes } from './fault.ts';
import { finish } from './finish.ts';
import { Gateways } from './records/gateways.ts';
import type { Batch } from './records/batches.ts';
import { CANCELLED, EXPIRED, unanswered } from './result.ts';
import { validate, type Owner, type ValidateLimits } from './validate.ts';
import { describeError, type Log } from '../ops/log.ts';

export interface KeepMeans {
  /** Of a key's name. */
  ownerOf(key: string): Owner;
  limits(): ValidateLimits;
  /** There may be lines to run, or to stop. */
  changed(): void;
  /** Others took this gateway for gone: what it had claimed is theirs. */
  lost(): void;
  /** What else is to be done at each look; whether there was anything. */
  readonly more: readonly (() => Promise<boolean>)[];
  readonly log: Log;
}

const LOOK_MS = 1_000;
const BEAT_MS = 2_000;
const SWEEP_MS = 60_000;
/** A window that its gateway has not closed so long after its time is closed by another one. */
const LATE_MS = 5_000;
/** A repeated request finds its line so long after the batch has ended. */
const LINES_KEPT_MS = 600_000;
/** Lines ended, or rows removed, at once. */
const STEP = 200;
/** What is written and belongs to no file goes after this time. */
const STRAY_MS = 6 * 3_600_000;

export class Keeper {
  readonly #books: Books;
  readonly #means: KeepMeans;
  readonly #gateways: Gateways;
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> | undefined;
  #beat_timer: NodeJS.Timeout | undefined;
  #beating: Promise<void> | undefined;
  #again = false;
  #sweep_at = 0;
  /** Batches that work failed at by a bug: they keep no others waiting, and are tried again after the next sweep. */
  readonly #broken = new Set<string>();
  #away = false;
  #stopped = false;

  constructor(books: Books, means: KeepMeans, gone_ms?: number) {
    this.#books = books;
    this.#means = means;
    this.#gateways = new Gateways(books.database.kysely, books.gateway, gone_ms);
  }

  /** Before anything else: what a process left that was alone at this database is nobody's any more. */
  async begin(): Promise<void> {
    if (!this.#books.shared) {
      await this.#bury(await this.#gateways.others());
      // Nobody is left who would close its windows.
      await this.#books.batches.closeLate(Number.MAX_SAFE_INTEGER, Date.now());
    }
    await this.#gateways.beat();
    this.#beatLater();
    this.poke();
  }

  /** There may be something to do. */
  poke(): void {
    if (this.#stopped) return;
    this.#again = true;
    this.#working ??= this.#work();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#beat_timer);
    await Promise.all([this.#working, this.#beating]);
    // Others need not wait until they notice.
    await this.#bury([this.#books.gateway]).catch(() => undefined);
  }

  async #work(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false;
        if (await this.#once()) this.#again = true;
        if (this.#away) this.#means.log.info('the database of batches answers again');
        this.#away = false;
      }
    } catch (error) {
      if (!passes(error)) this.#means.log.error('bug: batches', describeError(error));
      else if (!this.#away)
        this.#means.log.warn('batches wait: their database or disk cannot be used now', describeError(error));
      this.#away ||= passes(error);
      this.#again = false;
    }
    this.#working = undefined;
    if (!this.#stopped) this.#timer = setTimeout(() => this.poke(), LOOK_MS).unref();
  }

  /** One step of each kind; whether there was anything to do. */
  async #once(): Promise<boolean> {
    const now = Date.now();
    const steps = [
      () => this.#closeLate(now),
      () => this.#endOverdue(now),
      () => this.#validate(),
      () => this.#finish(now),
      ...this.#means.more,
      () => this.#sweep(now),
    ];
    let did = false;
    const failures: unknown[] = [];
    for (const step of steps) {
      try {
        if (await step()) did = true;
      } catch (error) {
        if (faultOf(error) === 'gone') throw error;
        // None keeps another from its turn: the sweep makes the room that a full disk has not.
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
    return did;
  }

  async #closeLate(now: number): Promise<boolean> {
    const closed = await this.#books.batches.closeLate(now - LATE_MS, now);
    if (closed.length > 0) this.#means.changed();
    return false;
  }

  async #validate(): Promise<boolean> {
    const batch = await this.#books.batches.takeToValidate(this.#books.gateway, [...this.#broken]);
    if (batch === undefined) return false;
    const means = this.#means;
    await this.#held(batch, () => validate(batch, means.ownerOf(batch.owner), means.limits(), this.#books));
    return true;
  }

  async #finish(now: number): Promise<boolean> {
    const batch = await this.#books.batches.takeToFinish(this.#books.gateway, now, [...this.#broken]);
    if (batch === undefined) return false;
    await this.#held(batch, () => finish(batch, this.#books));
    return true;
  }

  /** What fails is let go: another try, or another gateway, may do it. */
  async #held({ id }: Batch, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!passes(error)) this.#broken.add(id);
      await this.#books.batches.letGo(id, this.#books.gateway).catch(() => undefined);
      throw error;
    }
    this.#means.changed();
  }

  /** On a timer of its own: however long a step takes, others are not to take this gateway for gone. */
  #beatLater(): void {
    if (this.#stopped) return;
    this.#beat_timer = setTimeout(() => {
      // That the database is away is told by the steps.
      this.#beating = this.#beat()
        .catch(() => undefined)
        .finally(() => this.#beatLater());
    }, BEAT_MS).unref();
  }

  async #beat(): Promise<void> {
    if (await this.#gateways.beat()) this.#means.lost();
    if (this.#books.shared) await this.#bury(await this.#gateways.gone(performance.now()));
  }

  async #bury(gone: readonly string[]): Promise<void> {
    if (gone.length === 0) return;
    const { batches, lines, shards } = this.#books;
    await lines.giveBackOf(gone);
    await batches.letGoOf(gone);
    await shards.letGoOf(gone);
    await this.#gateways.forget(gone);
    this.#means.changed();
  }

  /** Lines that nobody runs are told why they never will; those under way are stopped by who runs them, and then wait. */
  async #endOverdue(now: number): Promise<boolean> {
    let did = false;
    for (const batch of await this.#books.batches.overdue(now)) {
      const cancelled = batch.status === 'cancelling';
      if (batch.status === 'in_progress') {
        // From now on its lines are nobody's to begin.
        const change = { status: 'finalizing', finalizing_at: now, ends_as: 'expired' } as const;
        if (!(await this.#books.batches.turn(batch.id, ['in_progress'], change))) continue;
        this.#means.changed();
      }
      did = (await this.#endLines(batch, cancelled ? CANCELLED : EXPIRED)) || did;
    }
    return did;
  }

  async #endLines({ id }: Batch, why: typeof CANCELLED | typeof EXPIRED): Promise<boolean> {
    const { lines } = this.#books;
    let did = false;
    for (;;) {
      const some = await lines.undone(id, ['waiting'], STEP);
      if (some.length === 0) return did;
      did = true;
      await Promise.all(some.map((line) => this.#books.finish(unanswered(line, why.code, why.message))));
    }
  }

  async #sweep(now: number): Promise<boolean> {
    if (performance.now() < this.#sweep_at) return false;
    this.#sweep_at = performance.now() + SWEEP_MS;
    this.#broken.clear();
    const { batches, contents, files, lines } = this.#books;
    for (;;) {
      const ended = await batches.toSweep(now - LINES_KEPT_MS, 20);
      if (ended.length === 0) break;
      for (const id of ended) await lines.removeOf(id);
      await batches.swept(ended);
    }
    await batches.forget(now - this.#books.config().batch_age_ms);
    for (;;) {
      const old = await files.expired(now, STEP);
      if (old.length === 0) break;
      await files.forget(old);
      for (const id of old) await contents.remove(id);
    }
    await contents.stray(now - STRAY_MS, (ids) => files.known(ids));
    await this.#books.answers.sweep();
    return false;
  }
}
