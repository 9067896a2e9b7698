// What goes on by itself: batches are validated and finished, those out of time or cancelled are ended, gateways that are gone
// lose what they held, and what is too old goes. Each step may be broken off anywhere and is taken again.
import type { Books } from './books.ts';
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
  #again = false;
  #beat_at = 0;
  #sweep_at = 0;
  #away = false;
  #stopped = false;

  constructor(books: Books, means: KeepMeans, gone_ms?: number) {
    this.#books = books;
    this.#means = means;
    this.#gateways = new Gateways(books.database.kysely, books.gateway, gone_ms);
  }

  /** Before anything else: what a process left that was alone at this database is nobody's any more. */
  async begin(): Promise<void> {
    if (!this.#books.shared) await this.#bury(await this.#gateways.others());
    await this.#gateways.beat();
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
    await this.#working;
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
    const { batches, gateway } = this.#books;
    const now = Date.now();
    await this.#beat();
    if ((await batches.closeLate(now - LATE_MS)).length > 0) this.#means.changed();
    let did = await this.#endOverdue(now);
    const to_validate = await batches.takeToValidate(gateway);
    if (to_validate !== undefined) {
      did = true;
      await this.#held(to_validate, () =>
        validate(to_validate, this.#means.ownerOf(to_validate.owner), this.#means.limits(), this.#books),
      );
      this.#means.changed();
    }
    const to_finish = await batches.takeToFinish(gateway, now);
    if (to_finish !== undefined) {
      did = true;
      await this.#held(to_finish, () => finish(to_finish, this.#books));
      this.#means.changed();
    }
    for (const step of this.#means.more) if (await step()) did = true;
    await this.#sweep(now);
    return did;
  }

  /** What fails is let go: another try, or another gateway, may do it. */
  async #held(batch: Batch, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      await this.#books.batches.letGo(batch.id).catch(() => undefined);
      throw error;
    }
  }

  async #beat(): Promise<void> {
    const now = performance.now();
    if (now < this.#beat_at) return;
    this.#beat_at = now + BEAT_MS;
    await this.#gateways.beat();
    if (this.#books.shared) await this.#bury(await this.#gateways.gone(now));
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

  async #sweep(now: number): Promise<void> {
    if (performance.now() < this.#sweep_at) return;
    this.#sweep_at = performance.now() + SWEEP_MS;
    const { batches, contents, files, lines } = this.#books;
    for (;;) {
      const ended = await batches.toSweep(now - LINES_KEPT_MS, 20);
      if (ended.length === 0) break;
      for (const id of ended) await lines.removeOf([id]);
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
  }
}
