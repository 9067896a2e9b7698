// All that is written down of batches, and what each part of the work needs to get at it.
import type { Contents } from './contents.ts';
import { faultOf } from './db/fault.ts';
import type { Database } from './db/open.ts';
import { Together } from './db/together.ts';
import { Answers } from './records/answers.ts';
import { Batches } from './records/batches.ts';
import { Files } from './records/files.ts';
import { Items } from './records/items.ts';
import { Lines, type Result } from './records/lines.ts';
import { Shards } from './records/shards.ts';
import type { Tables } from './tables.ts';
import type { BatchConfig } from '../types.ts';

export interface Books {
  readonly database: Database<Tables>;
  readonly files: Files;
  readonly batches: Batches;
  readonly lines: Lines;
  readonly items: Items;
  readonly shards: Shards;
  readonly contents: Contents;
  readonly answers: Answers;
  /** This gateway's name among those at the database: a new one at each start. */
  readonly gateway: string;
  /** Others work on the same batches. */
  readonly shared: boolean;
  /** As configured now. */
  readonly config: () => BatchConfig;
  /** Writes a line's end down, together with others'; whether it was the line's first. */
  readonly finish: (result: Result) => Promise<boolean>;
}

/** Results of one commit: some thousand, or so many bytes. */
const RESULTS_MAX = 500;
const RESULT_BYTES_MAX = 16 << 20;

export function openBooks(
  database: Database<Tables>,
  contents: Contents,
  gateway: string,
  { config, answer_bytes_max }: { readonly config: () => BatchConfig; readonly answer_bytes_max: () => number },
  told: (results: readonly Result[], first: readonly boolean[]) => void,
): Books {
  const { kysely } = database;
  const shared = database.dialect === 'postgres';
  const lines = new Lines(database);
  const results = new Together<Result, boolean>({
    items_max: RESULTS_MAX,
    weight_max: RESULT_BYTES_MAX,
    weigh: ({ text }) => text.length,
    write: async (group) => {
      const first = await again(() => lines.finish(group));
      told(group, first);
      return first;
    },
  });
  return {
    database,
    files: new Files(kysely),
    batches: new Batches(kysely),
    lines,
    items: new Items(kysely),
    shards: new Shards(kysely),
    contents,
    answers: new Answers(kysely, answer_bytes_max),
    gateway,
    shared,
    config,
    finish: (result) => results.add(result),
  };
}

/** What two at the same rows got wrong of each other is done again at once. */
export async function again<Value>(work: () => Promise<Value>, times = 5): Promise<Value> {
  for (let left = times; ; left -= 1) {
    try {
      return await work();
    } catch (error) {
      if (left === 0 || faultOf(error) !== 'conflict') throw error;
    }
  }
}
