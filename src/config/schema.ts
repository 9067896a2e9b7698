// The shape of `lanyard.yaml`: every option, its range, its default and what the editor shows about it. Unknown keys are
// refused and nothing is clamped. What one option must be in view of another is in references.ts.
import { z } from 'zod';
import type { BackendConfig, Key, Limit, Listener, ModelConfig, Redis } from '../types.ts';
import { host, isLoopback, origin, proxy, range, redisUrl } from './addresses.ts';
import { backend, model } from './backends.ts';
import { batch, cache, database, mode } from './batch.ts';
import { glob, list, model_name, named, path, section, text } from './shapes.ts';
import { digest, isCopied, weakness } from './keys.ts';
import { duration, flag, rate, size, usualBurst, whole } from './units.ts';

export const LOG_LEVELS = ['DEBUG', 'INFO', 'WARNING', 'ERROR'] as const;

/** 0 lets the system choose a free port. */
export const port = whole(0, 65_535);

const backend_name = text.regex(/^[A-Za-z0-9._-]{1,64}$/, { error: 'must be 1 to 64 letters, digits or . _ -' });

const listener = section({
  port: port.describe('The port; 0 takes any free one. PORT in the environment changes the first listener.'),
  host: host().prefault('127.0.0.1').describe('The address to listen on; 0.0.0.0 for every one of this machine.'),
  auth: z.enum(['required', 'open']).prefault('required').describe('open: any key or none is accepted.'),
  exposed: flag().prefault(false).describe('Says that an open listener is meant to be reached from other machines.'),
  mode: mode.prefault('direct').describe('How its calls are answered that do not say so themselves.'),
})
  .refine(({ auth, exposed, host }) => auth === 'required' || exposed || isLoopback(host), {
    path: ['auth'],
    error:
      'is open to everyone who reaches this address: listen on 127.0.0.1, take auth: required, or say exposed: true beside it',
  })
  .transform(({ port, host, auth, mode }): Listener => ({ port, host, auth, mode }));

const burst = whole(0, 1_000_000)
  .optional()
  .describe('How many may come early; two seconds’ worth of `requests`, rounded up.');
const parallel = whole(1, 1_000_000);

const ip_limit = section({
  requests: rate().prefault('10/s').describe('The rate.'),
  burst,
  parallel: parallel.prefault(100).describe('Requests at once.'),
}).transform(({ requests, burst, parallel }): Limit => ({ requests, burst: burst ?? usualBurst(requests), parallel }));

const key_limit = section({
  requests: rate().optional().describe('The rate; none when left out.'),
  burst,
  parallel: parallel.optional().describe('Requests at once; any number when left out.'),
})
  .refine((limit) => Object.keys(limit).length > 0, {
    error: 'is empty: remove the line, or limit requests or parallel',
  })
  .refine(({ requests, burst }) => requests !== undefined || burst === undefined, {
    path: ['burst'],
    error: 'means nothing without `requests`: add a rate, or remove it',
  })
  .transform(({ requests, burst, parallel }): Limit => {
    return { requests, burst: burst ?? (requests === undefined ? 0 : usualBurst(requests)), parallel };
  });

const key_name_error = 'must be 1 to 64 letters, digits or . _ -, not `master` or `open`, and never the key itself';
// Names stand in logs and metrics, so one that looks like a key is refused.
const key_name = z
  .string({ error: key_name_error })
  .regex(/^(?!sk-)(?!master$)(?!open$)[A-Za-z0-9._-]{1,64}$/, { error: key_name_error });

const hash_error = 'must be "sha256:" and 64 hexadecimal digits; `lanyard key NAME` prints it';
const hash = z
  .string({ error: hash_error })
  .regex(/^sha256:[0-9a-fA-F]{64}$/, { error: hash_error, abort: true })
  .transform((hash) => Buffer.from(hash.slice('sha256:'.length), 'hex'))
  .refine((hash) => !isCopied(hash), {
    error: 'is the hash of an empty or well-known key; `lanyard key NAME` makes a strong one',
  });

const key = section({
  name: key_name.describe('A person or a tool; stands in the log.'),
  hash: hash.describe('SHA-256 of the key: `lanyard key NAME` makes both.'),
  models: list(glob, 'model names or globs')
    .min(1, { error: 'is empty, which allows nothing: remove the line to allow every model' })
    .optional()
    .describe('Globs of the models it may use; all when left out.'),
  default_model: model_name.optional().describe('For requests that name no model.'),
  limits: key_limit.optional().describe('Its own limits, beside those by address.'),
  mode: mode.optional().describe('How its calls are answered that do not say so themselves.'),
}).transform(({ name, hash, models, default_model, limits, mode }): Key => ({
  name,
  digest: hash,
  models,
  default_model,
  limits,
  mode,
}));

const master_key = text
  .superRefine((key, context) => {
    const weak = key === '' ? undefined : weakness(key);
    if (weak !== undefined)
      context.addIssue({ code: 'custom', message: `${weak}; remove it, and a strong one is made at the start` });
  })
  .transform((key) => (key === '' ? undefined : digest(key)));

const auth = section({
  master_key: master_key
    .optional()
    .describe('Opens everything. Absent or empty: LITELLM_MASTER_KEY, else one is made.'),
  keys: list(key, 'keys').prefault([]).describe('A person or a tool each.'),
  failures: rate().prefault('30/min').describe('Wrong keys from one address before 429.'),
});

const limits = section({
  ip: z
    .union([ip_limit, z.literal('off').transform(() => undefined)], {
      error: 'must be a map of requests, burst, parallel; or off',
    })
    .prefault({ requests: '10/s', burst: 20, parallel: 100 })
    .describe('By address. What is left out keeps its default; off: none.'),
  trusted_proxies: list(proxy(), 'addresses or ranges').prefault([]).describe('Whose X-Forwarded-For is believed.'),
  body_bytes_max: size().prefault('32MiB').describe('The largest request body.'),
  bodies_bytes_max: size().prefault('1GiB').describe('All request bodies held at once.'),
  answer_bytes_max: size().prefault('64MiB').describe('The largest unstreamed answer.'),
  headers_ms: duration(1).prefault('10s').describe('Longest wait for a request’s headers.'),
  body_idle_ms: duration(1).prefault('30s').describe('Longest silence within a request’s body.'),
  queue_wait_ms: duration(0).prefault('10s').describe('Longest wait for a free slot; 0: none.'),
  queue_length: whole(0, 1_000_000).prefault(100).describe('Calls that may wait for one model at once.'),
  connect_ms: duration(1).prefault('2s').describe('Longest wait for a backend’s connection, TLS included.'),
  load_ms: duration(1).prefault('10m').describe('Longest wait for a model to be loaded into memory.'),
  first_byte_ms: duration(1).prefault('10m').describe('Longest wait for an answer’s first byte.'),
  idle_ms: duration(1).prefault('5m').describe('Longest silence within a backend’s answer.'),
  keep_alive_ms: duration(1).prefault('15s').describe('Silence in a stream before a keep-alive is sent.'),
  reader_idle_ms: duration(1).prefault('2m').describe('Longest a client may leave its answer unread.'),
  drain_ms: duration(0).prefault('30s').describe('How long streams may go on after SIGTERM.'),
  connections_max: whole(1, 1_000_000).prefault(8000).describe('Connections at once, over all listeners.'),
});

const redis = z
  .union(
    [
      z.null(),
      redisUrl(),
      section({
        url: redisUrl().describe('Where it is; empty: none.'),
        gateways: whole(1, 10_000).prefault(1).describe('How many gateways share it.'),
        fail: z
          .enum(['local', 'closed'])
          .prefault('local')
          .describe('When it is away: this gateway’s share, or refuse.'),
      }),
    ],
    { error: 'must be a URL such as redis://127.0.0.1:6379/0, empty for none, or a map of url, gateways, fail' },
  )
  .transform((redis): Redis | undefined => {
    if (redis === null || redis === '') return undefined;
    if (typeof redis === 'string') return { url: redis, gateways: 1, fail: 'local' };
    return redis.url === '' ? undefined : redis;
  });

export const file = section({
  listen: list(listener, 'listeners')
    .min(1, { error: 'is empty: remove the line to listen on 127.0.0.1:4000, or add a listener' })
    .prefault([{ port: 4000 }])
    .describe('Where the gateway listens.'),
  auth: auth.prefault({}).describe('Who may ask.'),
  limits: limits.prefault({}).describe('How much, and how long.'),
  redis: redis.optional().describe('Where gateways share their limits; none: in this process.'),
  database: database.optional().describe('Where gateways share their batches; empty: SQLite in `batch.data`.'),
  batch: batch.optional().describe('Files and batches; left out: there are none.'),
  cache: cache.optional().describe('Answers given again for the same bytes; left out: none.'),
  backends: named(backend_name, backend, 'backends')
    .transform((map): ReadonlyMap<string, BackendConfig> => new Map(Object.entries(map)))
    .optional()
    .describe('The engines. Left out: looked for on this machine’s usual ports.'),
  models: named(model_name, model, 'models')
    .transform((map): ReadonlyMap<string, ModelConfig> => new Map(Object.entries(map)))
    .optional()
    .describe('What callers may ask for. Left out: every model found, under its own name.'),
  cors: section({
    origins: list(origin(), 'origins').prefault([]).describe('Browser origins that may read answers; none: no CORS.'),
  })
    .prefault({})
    .describe('Web pages that call the gateway themselves.'),
  metrics: section({
    allow: list(range(), 'addresses or ranges').prefault([]).describe('Who may read /metrics without the master key.'),
    certificates: list(path, 'files').prefault([]).describe('PEM files whose expiry is a metric.'),
  })
    .prefault({})
    .describe('Who may read /metrics, besides this machine, and what else it tells.'),
  log: section({
    level: z.enum(LOG_LEVELS).prefault('INFO').describe('LOG_LEVEL in the environment goes before it.'),
  })
    .prefault({})
    .describe('The log on standard error.'),
});

export type File = z.output<typeof file>;

/** Why a key may not be called so; `undefined` when it may. */
export function nameFault(name: string): string | undefined {
  return key_name.safeParse(name).success ? undefined : key_name_error;
}
