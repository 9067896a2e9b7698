// The batches and their states. Nothing happens by the clock: a batch goes on when it is polled, unless it is held.
import { type Files, new_id, seconds } from './files.ts';
import { Refusal } from './refusal.ts';
import { type Results, random_of, work } from './results.ts';
import type { Answer, Batch, BatchError, Passing, Verdict } from './shapes.ts';
import { type Ordered, validate } from './validate.ts';

export interface Settings {
  readonly models: readonly string[];
  readonly lines_max: number;
  readonly steps: Readonly<Record<Passing, number>>;
  readonly seed: number;
  readonly empty_ids: boolean;
  readonly answer: Answer | undefined;
}

export interface Batches {
  readonly verdicts: Verdict[];
  readonly polls: Map<string, number[]>;
  held: boolean;
  create(ordered: Ordered): Batch;
  /** Counted, and what a batch goes on by. */
  poll(id: string): Promise<Batch>;
  get(id: string): Batch;
  cancel(id: string): Promise<Batch>;
  finish(id: string, verdict: Verdict): Promise<Batch>;
  /** Oldest first. */
  list(): Batch[];
}

/** A batch, and what is not told of it. */
interface Job {
  batch: Batch;
  readonly lives: number | undefined;
  verdict: Plain;
  /** How often it was polled in the state that it is in. */
  polled: number;
  /** That it was cancelled before its lines were read. */
  unread: boolean;
  results: Results | undefined;
  /** Two polls at once take turns. */
  turn: Promise<unknown>;
}

/** A verdict with all that it may say. */
interface Plain {
  readonly ids?: '' | null;
  readonly failed?: readonly BatchError[];
  readonly expired?: number;
  readonly cancelled?: number;
}

const ENDS = new Set<string>(['completed', 'failed', 'expired', 'cancelled']);

export function open_batches(files: Files, settings: Settings): Batches {
  const jobs = new Map<string, Job>();
  const verdicts: Verdict[] = [];
  const polls = new Map<string, number[]>();
  const random = random_of(settings.seed);

  const job_of = (id: string): Job => {
    const job = jobs.get(id);
    if (job === undefined) throw new Refusal(404, `No batch found with id '${id}'.`);
    return job;
  };

  const set = (job: Job, change: Partial<Batch>): void => {
    job.batch = { ...job.batch, ...change };
    if (change.status !== undefined) job.polled = 0;
  };

  const run = (job: Job, code: 'batch_expired' | 'batch_cancelled', most = Infinity): Promise<Results> => {
    const { input_file_id, endpoint } = job.batch;
    return work({ path: files.path(input_file_id), endpoint, most, code, answer: settings.answer, random });
  };

  /** The last state, with the files of what was answered. */
  const end = async (job: Job, status: 'completed' | 'expired' | 'cancelled', results: Results): Promise<void> => {
    const { id } = job.batch;
    const none = settings.empty_ids ? '' : null;
    const write = async (kind: string, lines: readonly Buffer[]): Promise<string | null> =>
      lines.length === 0 ? none : (await files.write(`${id}_${kind}.jsonl`, lines, job.lives)).id;
    const output_file_id = await write('output', results.output);
    const error_file_id = await write('error', results.error);
    const { counts: request_counts, usage } = results;
    set(job, { status, [`${status}_at`]: seconds(), output_file_id, error_file_id, request_counts, usage });
    job.results = undefined;
  };

  const fail = (job: Job, data: readonly BatchError[]): void =>
    set(job, { status: 'failed', failed_at: seconds(), errors: { object: 'list', data } });

  const read = async (job: Job): Promise<void> => {
    const { input_file_id, endpoint } = job.batch;
    if (job.verdict.failed !== undefined) return fail(job, job.verdict.failed);
    if (!files.has(input_file_id)) {
      const message = `No such File object: ${input_file_id}`;
      return fail(job, [{ code: 'file_not_found', message, param: 'input_file_id', line: null }]);
    }
    const { errors, model, total } = await validate(files.path(input_file_id), endpoint, settings);
    if (errors.length > 0) return fail(job, errors);
    const request_counts = { total, completed: 0, failed: 0 };
    set(job, { status: 'in_progress', in_progress_at: seconds(), model, request_counts });
  };

  /** Whether the verdict is another end than `completed`, and then it is gone to. */
  const cut = async (job: Job): Promise<boolean> => {
    const { failed, expired, cancelled } = job.verdict;
    if (failed !== undefined) fail(job, failed);
    else if (cancelled !== undefined) set(job, { status: 'cancelling', cancelling_at: seconds() });
    else if (expired !== undefined) await end(job, 'expired', await run(job, 'batch_expired', expired));
    else return false;
    return true;
  };

  const execute = async (job: Job): Promise<void> => {
    if (await cut(job)) return;
    const results = await run(job, 'batch_expired');
    if (results.unanswered > 0) return await end(job, 'expired', results);
    job.results = results;
    set(job, { status: 'finalizing', finalizing_at: seconds(), request_counts: results.counts });
  };

  const complete = async (job: Job): Promise<void> => {
    if (await cut(job)) return;
    const { ids } = job.verdict;
    if (ids === undefined) return await end(job, 'completed', job.results ?? (await run(job, 'batch_expired')));
    const { total } = job.batch.request_counts;
    const request_counts = { total, completed: 0, failed: total };
    set(job, { status: 'completed', completed_at: seconds(), request_counts, output_file_id: ids, error_file_id: ids });
  };

  const stop = async (job: Job): Promise<void> => {
    if (job.unread) return set(job, { status: 'cancelled', cancelled_at: seconds() });
    const { cancelled } = job.verdict;
    const done = cancelled === undefined ? job.results : undefined;
    await end(job, 'cancelled', done ?? (await run(job, 'batch_cancelled', cancelled)));
  };

  const leave = { validating: read, in_progress: execute, finalizing: complete, cancelling: stop };
  const passing = ({ batch: { status } }: Job): Passing | undefined =>
    Object.hasOwn(leave, status) ? (status as Passing) : undefined;

  const in_turn = (job: Job, act: () => Promise<void>): Promise<Batch> => {
    const turn = job.turn.then(act).then(() => job.batch);
    job.turn = turn.catch(() => {});
    return turn;
  };

  return {
    verdicts,
    polls,
    held: false,
    create({ input_file_id, endpoint, metadata, lives }) {
      const id = new_id('batch_');
      const created_at = seconds();
      const batch: Batch = {
        id,
        object: 'batch',
        endpoint,
        model: null,
        errors: null,
        input_file_id,
        completion_window: '24h',
        status: 'validating',
        output_file_id: null,
        error_file_id: null,
        created_at,
        in_progress_at: null,
        expires_at: created_at + 86_400,
        finalizing_at: null,
        completed_at: null,
        failed_at: null,
        expired_at: null,
        cancelling_at: null,
        cancelled_at: null,
        request_counts: { total: 0, completed: 0, failed: 0 },
        usage: null,
        metadata,
      };
      const verdict = plain(verdicts.shift() ?? 'completed');
      const turn = Promise.resolve();
      jobs.set(id, { batch, lives, verdict, polled: 0, unread: false, results: undefined, turn });
      polls.set(id, []);
      return batch;
    },
    poll(id) {
      const job = job_of(id);
      polls.get(id)?.push(performance.now());
      return in_turn(job, async () => {
        if (this.held) return;
        for (
          let state = passing(job);
          state !== undefined && job.polled >= settings.steps[state];
          state = passing(job)
        ) {
          await leave[state](job);
        }
        job.polled += 1;
      });
    },
    get: (id) => job_of(id).batch,
    cancel(id) {
      const job = job_of(id);
      return in_turn(job, async () => {
        const { status } = job.batch;
        // 409 as `ConflictError` of the SDKs, which try again.
        if (ENDS.has(status)) throw new Refusal(409, `Cannot cancel a batch with status '${status}'.`);
        if (status === 'cancelling') return;
        job.unread = status === 'validating';
        set(job, { status: 'cancelling', cancelling_at: seconds() });
      });
    },
    finish(id, verdict) {
      const job = job_of(id);
      return in_turn(job, async () => {
        if (passing(job) === undefined) throw new Error(`The batch has ended already: ${job.batch.status}.`);
        job.verdict = plain(verdict);
        for (let state = passing(job); state !== undefined; state = passing(job)) await leave[state](job);
      });
    },
    list: () => [...jobs.values()].map(({ batch }) => batch),
  };
}

function plain(verdict: Verdict): Plain {
  if (typeof verdict === 'object') return verdict;
  return verdict === 'completed' ? {} : { ids: null };
}
