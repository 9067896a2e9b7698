// A batch's input, read line by line before any of it runs: every line is written down, or none, and then every fault is told
// (as many as OpenAI tells) with its line.
import type { Books } from './books.ts';
import { isGone } from './contents.ts';
import { LineFault, modelMissing, readLine } from './read-line.ts';
import type { Batch, Fault } from './records/batches.ts';
import type { Line } from './records/lines.ts';
import { LineCutter, LineTooLong } from '../wire/jsonl.ts';

/** What the gateway knows of who asks for the lines. */
export interface Owner {
  readonly default_model: string | undefined;
  /** Whether this name may be asked for. */
  readonly mayUse: (model: string) => boolean;
}

export interface ValidateLimits {
  readonly lines_max: number;
  readonly line_bytes_max: number;
}

const FAULTS_MAX = 100;
/** Lines of one commit. */
const WRITTEN_TOGETHER = 1000;
/** A file's lines come after those of clients that wait. */
const RANK_OF_FILES = 2;

/** From `validating` to `in_progress` or `failed`. @throws what the database throws */
export async function validate(batch: Batch, owner: Owner, limits: ValidateLimits, books: Books): Promise<void> {
  const { batches, lines } = books;
  // A gateway that died at it may have left some.
  await lines.removeOf(batch.id);
  const { faults, total, models } = await readAll(batch, owner, limits, books);
  const now = Date.now();
  if (faults.length > 0) {
    await lines.removeOf(batch.id);
    const errors = JSON.stringify(faults.slice(0, FAULTS_MAX));
    const ended = { status: 'failed', failed_at: now, ended_at: now, errors, held_by: null } as const;
    if (await batches.turn(batch.id, ['validating'], ended, books.gateway)) return;
    // It was cancelled meanwhile, and has no lines.
    await batches.letGo(batch.id, books.gateway);
    return;
  }
  const begun = {
    status: 'in_progress',
    in_progress_at: now,
    total,
    models: JSON.stringify([...models]),
    held_by: null,
  } as const;
  if (await batches.turn(batch.id, ['validating'], begun, books.gateway)) return;
  // It was cancelled meanwhile: its lines are told so, one by one.
  const cancelled = { total, models: JSON.stringify([...models]), held_by: null };
  await batches.turn(batch.id, ['cancelling'], cancelled, books.gateway);
}

async function readAll(
  batch: Batch,
  owner: Owner,
  { lines_max, line_bytes_max }: ValidateLimits,
  { contents, lines }: Books,
): Promise<{ readonly faults: readonly Fault[]; readonly total: number; readonly models: ReadonlySet<string> }> {
  const faults: Fault[] = [];
  const models = new Set<string>();
  const ids = new Set<string>();
  let written: Line[] = [];
  let total = 0;
  const cutter = new LineCutter(line_bytes_max);

  const take = (text: Buffer, at: number, number: number): void => {
    try {
      total += 1;
      if (total > lines_max)
        throw new LineFault('too_many_tasks', `A batch has at most ${lines_max} lines (lines_max).`);
      if (text.length === 0) throw new LineFault('invalid_json_line', 'The line is empty.');
      const { custom_id, model = owner.default_model, start, end } = readLine(text, batch.endpoint);
      if (model === undefined) throw modelMissing();
      if (ids.has(custom_id)) {
        throw new LineFault('duplicate_custom_id', 'The "custom_id" of an earlier line is used again.', 'custom_id');
      }
      ids.add(custom_id);
      if (!models.has(model) && !owner.mayUse(model)) {
        const message = 'The model of this line does not exist, or this key may not use it.';
        throw new LineFault('model_not_found', message, 'body.model');
      }
      models.add(model);
      if (faults.length === 0) written.push(lineOf(batch.id, total - 1, custom_id, model, at + start, end - start));
    } catch (error) {
      if (!(error instanceof LineFault)) throw error;
      faults.push({ code: error.code, message: error.message, param: error.param, line: number });
    }
  };
  const write = async (): Promise<void> => {
    const some = written;
    written = [];
    if (faults.length === 0 && some.length > 0) await lines.add(some);
  };

  try {
    for await (const piece of contents.read(batch.input_file ?? '')) {
      for (const { text, at, number } of cutter.push(piece)) take(text, at, number);
      if (faults.length >= FAULTS_MAX || total > lines_max) break;
      if (written.length >= WRITTEN_TOGETHER) await write();
    }
    for (const { text, at, number } of cutter.end()) take(text, at, number);
  } catch (error) {
    if (!(error instanceof LineTooLong) && !isGone(error)) throw error;
    if (error instanceof LineTooLong) {
      const message = `The line is longer than ${line_bytes_max} bytes (body_bytes_max).`;
      faults.push({ code: 'line_too_long', message, param: null, line: error.number });
    } else {
      faults.push({ code: 'file_not_found', message: 'The file is gone.', param: 'input_file_id', line: null });
    }
  }
  if (total === 0 && faults.length === 0) {
    faults.push({ code: 'empty_file', message: 'The file has no lines.', param: 'input_file_id', line: null });
  }
  await write();
  return { faults, total, models };
}

function lineOf(batch: string, n: number, custom_id: string, model: string, at: number, bytes: number): Line {
  return {
    batch,
    n,
    custom_id,
    model,
    state: 'waiting',
    rank: RANK_OF_FILES,
    not_before: 0,
    claimed_by: null,
    shard: null,
    tries: 0,
    at,
    bytes,
    body: null,
    item: null,
    answer: null,
    told: 1,
    ok: null,
    result: null,
  };
}
