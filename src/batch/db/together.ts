// Many small writes as a few great ones: what comes while a group is being written is the next group. Under load a commit, and
// its fsync, is shared by as many as have come in its time; without load nobody waits.

export interface TogetherOptions<Item, Result> {
  /** Writes all of them or none, and answers in their order. */
  readonly write: (items: readonly Item[]) => Promise<readonly Result[]>;
  readonly items_max: number;
  /** Most that may be written together, by `weigh`; one item alone may weigh more. */
  readonly weight_max?: number;
  readonly weigh?: (item: Item) => number;
  /**
   * Whether a group that was refused is written one by one, so that one bad item harms nobody else. Not where the database is
   * gone: nobody could tell whether the group was written. Left out: never, and each of the group gets its error.
   */
  readonly apart?: (error: unknown) => boolean;
}

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

export class Together<Item, Result> {
  readonly #options: TogetherOptions<Item, Result>;
  #waiting: Waiting<Item, Result>[] = [];
  #running: Promise<void> | undefined;

  constructor(options: TogetherOptions<Item, Result>) {
    this.#options = options;
  }

  /** How many wait for a group that is not being written yet. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** What `write` answered to it. @throws what `write` threw */
  add(item: Item): Promise<Result> {
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    this.#waiting.push({ item, resolve, reject });
    this.#running ??= this.#run();
    return promise;
  }

  /** Resolves when all that has been added by then is written or refused. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #run(): Promise<void> {
    // What is added in the same turn is of the first group.
    await Promise.resolve();
    while (this.#waiting.length > 0) await this.#write(this.#next());
    this.#running = undefined;
  }

  #next(): Waiting<Item, Result>[] {
    const { items_max, weight_max = Infinity, weigh = () => 0 } = this.#options;
    let weight = 0;
    let count = 0;
    for (const { item } of this.#waiting) {
      weight += weigh(item);
      if (count > 0 && (count === items_max || weight > weight_max)) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  async #write(group: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await this.#options.write(group.map(({ item }) => item));
      if (results.length !== group.length) throw new Error(`${results.length} results for ${group.length} items`);
      for (const [index, { resolve }] of group.entries()) resolve(results[index] as Result);
    } catch (error) {
      if (group.length > 1 && this.#options.apart?.(error) === true) for (const one of group) await this.#write([one]);
      else for (const { reject } of group) reject(error);
    }
  }
}
