// A batch's work: the lines of its output and error files, in an order that is never the input's.
import { usual } from './answers.ts';
import { lines_of, new_id } from './files.ts';
import { type Answer, type BatchUsage, type Counts, is_object } from './shapes.ts';
import { asked_of } from './validate.ts';

export interface Results {
  readonly output: readonly Buffer[];
  readonly error: readonly Buffer[];
  readonly counts: Counts;
  readonly usage: BatchUsage;
  readonly unanswered: number;
}

interface Work {
  readonly path: string;
  readonly endpoint: string;
  /** How many lines are answered at most, the first ones. */
  readonly most: number;
  /** Why the others are not. */
  readonly code: 'batch_expired' | 'batch_cancelled';
  readonly answer: Answer | undefined;
  readonly random: () => number;
}

const MESSAGES = {
  batch_expired: 'This request could not be executed before the completion window expired.',
  batch_cancelled: 'This request could not be executed before the batch was cancelled.',
};

/** Lines without an answer are neither completed nor failed in the counts. */
export async function work({ path, endpoint, most, code, answer, random }: Work): Promise<Results> {
  const output: Buffer[] = [];
  const error: Buffer[] = [];
  let total = 0;
  let failed = 0;
  let input_tokens = 0;
  let output_tokens = 0;
  for await (const raw of lines_of(path)) {
    total += 1;
    const asked = asked_of(raw, endpoint);
    const { custom_id } = asked;
    const told = total > most ? 'unanswered' : (answer?.(asked) ?? usual(asked));
    const id = new_id('batch_req_');
    if (told === 'unanswered') {
      error.push(line({ id, custom_id, response: null, error: { code, message: MESSAGES[code] } }));
      continue;
    }
    const response = { status_code: told.status, request_id: new_id('req_'), body: told.body };
    const good = told.status === 200;
    if (!good) failed += 1;
    (good ? output : error).push(line({ id, custom_id, response, error: null }));
    const usage = good && is_object(told.body) && is_object(told.body['usage']) ? told.body['usage'] : {};
    input_tokens += count(usage['prompt_tokens']);
    output_tokens += count(usage['completion_tokens']);
  }
  shuffle(output, random);
  shuffle(error, random);
  const completed = output.length;
  return {
    output,
    error,
    counts: { total, completed, failed },
    usage: {
      input_tokens,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: input_tokens + output_tokens,
    },
    unanswered: total - completed - failed,
  };
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function random_of(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** In place, and never into the same order: Sattolo's algorithm makes one cycle, so that no line stays where it was. */
function shuffle(lines: unknown[], random: () => number): void {
  for (let at = lines.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * at);
    [lines[at], lines[other]] = [lines[other], lines[at]];
  }
}

function line(value: object): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

function count(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}
