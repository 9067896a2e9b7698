// What the file says of batches, of how single requests are collected into them, and of answers that are given again.
import { z } from 'zod';
import type { BatchConfig, CacheConfig, Mode, Upstream } from '../types.ts';
import { path, section, text } from './shapes.ts';
import { age, duration, flag, size, volume, whole } from './units.ts';

/** `sync` and `async` are how the original service's CLIENT_SERVING_MODE has them. */
const MODES = {
  direct: 'direct',
  'batch-sync': 'batch-sync',
  sync: 'batch-sync',
  'batch-async': 'batch-async',
  async: 'batch-async',
  cache: 'cache',
} as const satisfies Record<string, Mode>;

const mode_error = 'must be direct, batch-sync (or sync), batch-async (or async), or cache';
export const mode = z.enum(Object.keys(MODES) as (keyof typeof MODES)[], { error: mode_error }).transform((name) => {
  return MODES[name];
});

const collate = section({
  window_ms: duration(1).prefault('5s').describe('From a window’s first request to its end.'),
  lines_max: whole(1, 50_000).prefault(50_000).describe('Requests of one window; more open the next.'),
  bytes_max: size().prefault('190MB').describe('Bytes of one window; more open the next.'),
});

const POLL_MIN_MS = 5_000;

const upstream = section({
  poll_min_ms: duration(1)
    .optional()
    .describe(
      'The first pause between two looks at a batch; each is twice as long. 5s, or `poll_max_ms` where that is less.',
    ),
  poll_max_ms: duration(1).prefault('300s').describe('The longest pause between two looks at a batch.'),
  keep_files: flag().prefault(false).describe('true: files stay there once they are fetched.'),
})
  .refine(({ poll_min_ms, poll_max_ms }) => poll_min_ms === undefined || poll_min_ms <= poll_max_ms, {
    path: ['poll_max_ms'],
    error: 'must not be shorter than `poll_min_ms`',
  })
  .transform(({ poll_min_ms, ...upstream }): Upstream => ({
    ...upstream,
    poll_min_ms: poll_min_ms ?? Math.min(POLL_MIN_MS, upstream.poll_max_ms),
  }));

export const batch = section({
  data: path.prefault('data').describe('The folder of files, and of the database where it is SQLite.'),
  file_bytes_max: volume().prefault('200MB').describe('The largest file.'),
  files_max: whole(1, 1_000_000).prefault(1000).describe('Files of one key.'),
  store_bytes_max: volume().prefault('20GiB').describe('All files of all keys.'),
  disk_free_bytes_min: volume().prefault('1GiB').describe('What is left free on the disk.'),
  file_age_ms: age().prefault('30d').describe('How long a file is kept that does not say so itself.'),
  lines_max: whole(1, 50_000).prefault(50_000).describe('Lines of one batch.'),
  batches_max: whole(1, 1_000_000).prefault(1000).describe('Unfinished batches of one key.'),
  batch_age_ms: age().prefault('30d').describe('How long an ended batch is shown.'),
  parallel: whole(1, 100_000).prefault(64).describe('Lines that run at once, over all backends of this gateway.'),
  share: whole(0, 100)
    .prefault(50)
    .describe('Percent of a backend’s slots for batches while others use it too; alone they have all.'),
  tries: whole(1, 100).prefault(3).describe('How often a line is tried that fails by the backend’s fault.'),
  collate: collate.prefault({}).describe('How single requests are collected into batches.'),
  upstream: upstream.prefault({}).describe('How the Batch API of a backend with batch: upstream is used.'),
}) satisfies z.ZodType<BatchConfig>;

export const cache = section({
  ttl_ms: age().prefault('24h').describe('How long an answer is given again.'),
  memory_bytes_max: size().prefault('64MiB').describe('What is kept in this process.'),
  store_bytes_max: volume().prefault('1GiB').describe('What is kept in the database of batches, where there is one.'),
  chat: z
    .enum(['deterministic', 'all', 'off'])
    .prefault('deterministic')
    .describe('deterministic: chats with temperature 0. Others where the request says x-lanyard-cache: on.'),
  embeddings: flag().prefault(true).describe('false: embeddings are always asked anew.'),
  shared: flag().prefault(false).describe('true: one key is given what another one asked.'),
}) satisfies z.ZodType<CacheConfig>;

/** `undefined` where it is empty: SQLite. */
export const database = text
  .refine((url) => url === '' || /^postgres(ql)?:\/\/[^\s/]+\/\S+$/.test(url), {
    error: 'must be a URL such as postgres://lanyard@127.0.0.1/lanyard, or empty for SQLite',
  })
  .transform((url) => (url === '' ? undefined : url));
