// The steps of a shard: upload, create, poll, fetch, clean. Each is written down before it is begun and after it is done. A step
// that was begun before and whose end nobody knows is looked for at the service first, so that nothing is there twice.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Books } from '../books.ts';
import type { Sent } from '../records/sent.ts';
import type { Shard, ShardChange } from '../records/shards.ts';
import type { BatchApi, Seen } from './api.ts';
import { compose } from './compose.ts';
import { readLayout, type Layout } from './layout.ts';
import type { Service, UpstreamMeans } from './means.ts';
import type { Paces } from './pace.ts';
import { settle } from './settle.ts';

/** A shard that this gateway is at. */
export interface Job {
  readonly shard: Shard;
  readonly service: Service;
  readonly api: BatchApi;
  readonly signal: AbortSignal;
  /** Writes down what is so from now on. @throws LostShard */
  readonly save: (change: ShardChange) => Promise<void>;
}

export interface StepMeans {
  readonly books: Books;
  readonly means: UpstreamMeans;
  readonly sent: Sent;
  readonly paces: Paces;
  /** Where files are that are gone with their upload. */
  readonly folder: () => Promise<string>;
  /** Lines wait again. */
  readonly again: () => void;
  readonly line_bytes_max: number;
}

export type Step = Exclude<Shard['state'], 'done'>;

/** What the next step begins with. */
const ANEW = { tries: 0, pause_ms: 0, failing_at: null } as const;
const ENDS: ReadonlySet<string> = new Set(['completed', 'failed', 'expired', 'cancelled']);
/** So often a file that is refused is asked for. */
const FETCHES_MAX = 3;

/** What is so once the step is done. @throws ApiFault, the signal's reason, and what database and disk throw */
export async function doStep(job: Job, means: StepMeans): Promise<ShardChange> {
  return await STEPS[job.shard.state as Step](job, means);
}

async function upload({ shard, api, signal, save }: Job, means: StepMeans): Promise<ShardChange> {
  const { books, sent, means: told } = means;
  const { id, backend, created_at } = shard;
  const filename = `${id}.jsonl`;
  const done = (file: string, { lines, bytes }: Layout): ShardChange => {
    told.told({ type: 'uploaded', backend, lines, bytes });
    told.log.info('lines are uploaded to a Batch API', { shard: id, backend, lines, bytes });
    return { ...ANEW, state: 'create', file, due_at: Date.now() };
  };
  if (shard.tries > 0) {
    const layout = readLayout(shard.layout);
    const found = await api.findFile(filename, created_at);
    if (layout !== undefined && found?.bytes === layout.bytes) return done(found.id, layout);
    // Of other lines than are wanted now, or half of them.
    if (found !== undefined) await api.remove(found.id);
  }
  const path = join(await means.folder(), `${id}.${books.gateway}.jsonl`);
  try {
    const layout = await compose(shard, path, books, sent, signal);
    means.again();
    if (layout.lines === 0) return { ...ANEW, state: 'clean', due_at: Date.now() };
    const { lines, bytes } = layout;
    await save({ layout: JSON.stringify(layout), lines, tries: shard.tries + 1 });
    return done(await api.upload(path, bytes, filename), layout);
  } finally {
    await rm(path, { force: true });
  }
}

async function create({ shard, api, save }: Job, means: StepMeans): Promise<ShardChange> {
  const { books, sent, means: told } = means;
  const { id, backend, lines, file, endpoint } = shard;
  const found = shard.tries > 0 ? await api.findBatch(id, shard.created_at) : undefined;
  // Nobody wants it any more, and it is not there.
  if (file === null || (found === undefined && !(await sent.any(id)))) {
    return { ...ANEW, state: 'clean', due_at: Date.now() };
  }
  if (found === undefined) await save({ tries: shard.tries + 1 });
  const { id: batch } = found ?? (await api.create(file, endpoint, id));
  const adopted = found !== undefined;
  told.told({ type: 'created', backend, lines, adopted });
  told.log.info(adopted ? 'a batch is found again' : 'a batch is created', { shard: id, backend, lines, there: batch });
  const { poll_min_ms } = books.config().upstream;
  return { ...ANEW, state: 'poll', batch, pause_ms: poll_min_ms, due_at: Date.now() + poll_min_ms };
}

async function poll({ shard, api, save }: Job, { books, sent, paces, means: told }: StepMeans): Promise<ShardChange> {
  const { id, backend, name, lines } = shard;
  const batch = shard.batch ?? '';
  const { poll_min_ms, poll_max_ms } = books.config().upstream;
  let { cancel, pause_ms } = shard;
  if (cancel < 3 && (cancel > 0 || !(await sent.any(id)))) {
    await save({ cancel: 2 });
    await api.cancel(batch);
    told.log.info('a batch is cancelled at its Batch API', { shard: id, backend, lines });
    [cancel, pause_ms] = [3, 0];
  }
  const seen = await api.poll(batch);
  told.told({ type: 'polled', backend, status: seen.status });
  if (seen.status !== 'validating' && seen.status !== 'failed') paces.passed(backend, name, lines);
  const so = { ...ANEW, cancel };
  if (ENDS.has(seen.status)) return { ...so, state: 'fetch', verdict: JSON.stringify(seen), due_at: Date.now() };
  const pause = Math.min(Math.max(pause_ms * 2, poll_min_ms), poll_max_ms);
  return { ...so, pause_ms: pause, due_at: Date.now() + pause };
}

async function fetch({ shard, api, service }: Job, means: StepMeans): Promise<ShardChange> {
  const { means: told, line_bytes_max } = means;
  const { id, backend, lines } = shard;
  const seen = seenIn(shard);
  const lenient = shard.tries + 1 >= FETCHES_MAX;
  const { secrets } = service;
  const { answered, again } = await settle(shard, seen, api, { ...means, secrets, line_bytes_max, lenient });
  if (again) means.again();
  told.told({ type: 'ended', backend, status: seen.status, answered, lines });
  const codes = [...new Set(seen.faults.map(({ code }) => code))].slice(0, 5).join(' ');
  const fields = { shard: id, backend, status: seen.status, lines, answered };
  if (seen.status === 'completed') told.log.info('a batch has ended at its Batch API', fields);
  else told.log.warn('a batch has ended at its Batch API', { ...fields, ...(codes !== '' && { codes }) });
  return { ...ANEW, state: 'clean', due_at: Date.now() };
}

async function clean({ shard, api }: Job, { books, means: told }: StepMeans): Promise<ShardChange> {
  const done = { ...ANEW, state: 'done', layout: null } as const;
  if (books.config().upstream.keep_files) return done;
  const { output, error } = seenIn(shard);
  const files = [shard.file ?? undefined, output, error].filter((file) => file !== undefined);
  for (const file of files) await api.remove(file);
  told.log.info('files are removed from a Batch API', { shard: shard.id, backend: shard.backend, files: files.length });
  return done;
}

const STEPS = { upload, create, poll, fetch, clean } as const satisfies Record<Step, typeof upload>;

function seenIn({ verdict }: Shard): Seen {
  const none = { id: '', status: '', output: undefined, error: undefined, faults: [] };
  return verdict === null ? none : { ...none, ...(JSON.parse(verdict) as Partial<Seen>) };
}
