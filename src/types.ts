// The nouns. Every word here is one thing everywhere: in the code, the configuration, the log and the documents.
// It imports nothing. The configuration keeps the operator's own spelling (snake_case), so that a word in
// `lanyard.yaml` can be searched for in the code.

/** The three hot routes, written as they end in a URL. */
export type Endpoint = 'chat/completions' | 'completions' | 'embeddings';

/** Who asks, and what they may. Made by `identify`; never holds the key itself. */
export interface Caller {
  /** The key's name in the configuration: `master`, `alice`, …; `open` on a listener that asks for none. */
  readonly key: string;
  /** The master key: may read what is not for everyone. */
  readonly admin: boolean;
  /** The address the request came from, trusted proxies taken off. */
  readonly address: string;
  /** What the per-IP limit counts by: the IPv4 address, or the IPv6 /64. */
  readonly bucket: string;
  /** Globs of public model names; `undefined` means all. */
  readonly models: readonly string[] | undefined;
  readonly default_model: string | undefined;
  /** The key's own limits, beside the per-IP ones. */
  readonly limits: Limit | undefined;
  readonly mode?: Mode | undefined;
}

/** What is asked. Readonly: a changed body is a new `Call`. */
export interface Call {
  readonly endpoint: Endpoint;
  /** The public model name the caller asked for (or its key's default). */
  readonly model: string;
  readonly streamed: boolean;
  /** The caller asked for the usage chunk itself; otherwise it is taken out again. */
  readonly wants_usage: boolean;
  /** The body's raw bytes: never parsed and written again. */
  readonly body: Buffer;
  /** Where the top-level fields stand in `body`. */
  readonly fields: Fields;
  /** How much of `body` is text for the model; counted once, when it is first asked. */
  readonly prompt_bytes: () => number;
  /** Of class `batch`: it takes only what others leave, and this is called when they want it back. */
  readonly yields?: () => void;
  /** For who hands `body` to a socket: it stays until the returned function is called. Absent where nothing takes it away. */
  readonly borrow?: () => () => void;
}

/** Where one top-level member stands: byte offsets into the body, ends exclusive. */
export interface Field {
  readonly key_start: number;
  readonly value_start: number;
  readonly value_end: number;
}

/** The top-level members of a JSON object by (decoded) name, and where the object's braces are. */
export interface Fields {
  readonly members: ReadonlyMap<string, Field>;
  readonly open: number;
  readonly close: number;
}

/** A model on a backend, under the backend's own name for it. */
export interface Deployment {
  readonly backend: string;
  readonly name: string;
  /** Tokens, where the engine tells none or another than it gives. */
  readonly context_length?: number | undefined;
  /** Ollama: the context it is loaded with, in tokens. */
  readonly num_ctx?: number | undefined;
  /** Ollama: how long it stays in memory after a request, in seconds; negative: for ever. */
  readonly keep_alive_s?: number | undefined;
  /** How a completion's `suffix` is written into the prompt; absent: as the model's name tells. */
  readonly fim?: FimFamily | 'off' | undefined;
}

/** Model families by how they are asked to fill in the middle. */
export type FimFamily =
  | 'qwen'
  | 'starcoder'
  | 'codellama'
  | 'deepseek'
  | 'codestral'
  | 'codegemma'
  | 'granite'
  | 'seed';

/** How a request ended: each accepted request ends in exactly one of these. */
export type End = 'complete' | 'rejected' | 'client_closed' | 'backend_failed' | 'bug';

/** Everything known about what happened to one request: opened at the door, written once, by `account`. */
export interface Outcome {
  readonly id: string;
  readonly endpoint: Endpoint;
  /** Milliseconds on the monotonic clock. */
  readonly started_at: number;
  key: string;
  model: string;
  backend: string;
  streamed: boolean;
  status: number;
  end: End;
  /** The error's code, when there was one. */
  code: string;
  /** For the log only: what kind of thing went wrong, in our words, never the backend's or the caller's. */
  cause: string;
  retries: number;
  /** Another call's answer was also this one's. */
  shared: boolean;
  tokens_in: number | undefined;
  tokens_out: number | undefined;
  /** How it was answered, where not at once. */
  mode?: Mode;
  /** A line of a batch, and no request of a caller's. */
  readonly line?: boolean;
  /** Of a stream: events that came, for how fast it went. */
  tokens_told: number;
  queued_ms: number;
  /** Waiting for a model to be loaded. */
  load_ms: number;
  first_byte_at: number | undefined;
  /** From the client's going away to the backend's socket being destroyed. */
  cancel_ms: number | undefined;
}

/** What `dispatch` adds to an outcome. */
export type Attempt = Pick<Outcome, 'id' | 'model' | 'backend' | 'retries' | 'queued_ms' | 'load_ms'>;

// ---- the configuration, after defaults -------------------------------------------------------------------------

export interface Config {
  readonly listen: readonly Listener[];
  /** The master key is the one named `master`. Empty when none is set: `start` then makes one. */
  readonly keys: readonly Key[];
  /** Failed authentications per address before they are 429. */
  readonly auth_failures: Rate;
  readonly limits: Limits;
  readonly redis: Redis | undefined;
  /** `undefined`: look for engines on this machine's usual ports. */
  readonly backends: ReadonlyMap<string, BackendConfig> | undefined;
  /** `undefined`: publish every discovered model under its own name. */
  readonly models: ReadonlyMap<string, ModelConfig> | undefined;
  /** Allowed browser origins; empty: no CORS headers at all. */
  readonly cors_origins: readonly string[];
  /** Ranges that may read /metrics without the master key, besides loopback. */
  readonly metrics_allow: readonly string[];
  /** Files whose certificates' expiry is a metric; paths as written. */
  readonly metrics_certificates: readonly string[];
  readonly log_level: LogLevel;
  /** Where batches are kept: `postgres://…`; `undefined`: SQLite in `batch.data`. */
  readonly database: string | undefined;
  /** `undefined`: there are no batches. */
  readonly batch: BatchConfig | undefined;
  /** `undefined`: no answer is kept. */
  readonly cache: CacheConfig | undefined;
}

export type LogLevel = 'DEBUG' | 'INFO' | 'WARNING' | 'ERROR';

export interface Listener {
  readonly port: number;
  readonly host: string;
  readonly auth: 'required' | 'open';
  /** How its calls are answered that do not say so themselves. */
  readonly mode?: Mode | undefined;
}

/**
 * How a call is answered: at once; as a line of a batch, whose caller waits for it or is told the batch; or out of what was
 * answered before.
 */
export type Mode = 'direct' | 'batch-sync' | 'batch-async' | 'cache';

export interface Key {
  readonly name: string;
  /** SHA-256 of the key. */
  readonly digest: Buffer;
  readonly models: readonly string[] | undefined;
  readonly default_model: string | undefined;
  readonly limits: Limit | undefined;
  readonly mode?: Mode | undefined;
}

/** `count` requests per `per_ms` milliseconds. */
export interface Rate {
  readonly count: number;
  readonly per_ms: number;
}

/** A rate with its burst, and places held at once; `undefined` means unlimited. */
export interface Limit {
  readonly requests: Rate | undefined;
  /** How many may come early: nginx's `burst` with `nodelay`. burst + 1 pass at once. */
  readonly burst: number;
  readonly parallel: number | undefined;
}

export interface Limits {
  /** `undefined`: no per-IP limit (`ip: off`). */
  readonly ip: Limit | undefined;
  /** Addresses or ranges whose X-Forwarded-For is believed. */
  readonly trusted_proxies: readonly string[];
  /** The largest request body. */
  readonly body_bytes_max: number;
  /** All request bodies held at once, over all callers. */
  readonly bodies_bytes_max: number;
  /** The largest unstreamed answer held before it is passed on. */
  readonly answer_bytes_max: number;
  /** Longest wait for a request's headers. */
  readonly headers_ms: number;
  /** Longest silence within a request's body. */
  readonly body_idle_ms: number;
  /** Longest wait for a slot. */
  readonly queue_wait_ms: number;
  /** Calls that may wait for one model at once. */
  readonly queue_length: number;
  /** Longest wait for a backend's connection, TLS included. */
  readonly connect_ms: number;
  /** Longest wait for a model to be loaded into memory. */
  readonly load_ms: number;
  /** Longest wait for an answer's first byte. */
  readonly first_byte_ms: number;
  /** Longest silence within a backend's answer. */
  readonly idle_ms: number;
  /** A stream's silence before a keep-alive comment is sent. */
  readonly keep_alive_ms: number;
  /** Longest a client may leave its received bytes unread. */
  readonly reader_idle_ms: number;
  /** How long streams may go on after SIGTERM. */
  readonly drain_ms: number;
  /** Connections accepted at once, over all listeners. */
  readonly connections_max: number;
}

export interface Redis {
  readonly url: string;
  /** How many gateways share this Redis: a lost Redis leaves each its share (limit ÷ gateways). */
  readonly gateways: number;
  /** When Redis is away: `local`: this process's share; `closed`: refuse with 503. */
  readonly fail: 'local' | 'closed';
}

export type EngineName =
  | 'ollama'
  | 'vllm'
  | 'llama.cpp'
  | 'lmstudio'
  | 'sglang'
  | 'openvino'
  | 'tei'
  | 'infinity'
  | 'openai'
  | 'token-exchange'
  | 'auto';

export interface BackendConfig {
  readonly engine: EngineName;
  /** As written; without a path the engine's own base is added. */
  readonly url: string;
  /** The backend's own key; sent as Bearer. */
  readonly key: string | undefined;
  /** `undefined`: the engine's default. */
  readonly slots: number | undefined;
  /** Globs: discovered models published under their own names, besides those in `models`. */
  readonly publish: readonly string[];
  /** Most inputs of one embeddings request; `undefined`: what the engine tells, or its default. */
  readonly inputs_max?: number | undefined;
  /** `undefined`: the certificate is verified against the authorities that Node knows. */
  readonly tls?: Tls | undefined;
  /** `false`: a streamed call is asked whole, and told as a stream. */
  readonly streams?: boolean | undefined;
  readonly exchange?: Exchange | undefined;
  /** `upstream`: lines of batches go through its own Files and Batch API. */
  readonly batch?: 'upstream' | undefined;
}

/** How a backend's certificate is checked. */
export interface Tls {
  /** PEM text of the authorities trusted for this backend, in place of the public ones. */
  readonly ca: string | undefined;
  readonly verify: boolean;
}

/** A service whose token is had for a code, and its two routes. */
export interface Exchange {
  readonly chat_url: string;
  readonly embedding_url: string | undefined;
  readonly token: TokenSource;
  /** The original's envelope, or OpenAI's own form. */
  readonly form: 'envelope' | 'openai';
}

export interface TokenSource {
  readonly url: string;
  readonly code: string | undefined;
  /** The code as JSON, or as the form of RFC 6749 §4.1.3. */
  readonly request: 'json' | 'form';
  /** More fields of that request: `grant_type`, `client_id`, … */
  readonly fields: Readonly<Record<string, string>>;
  /** How it goes with a request: as it is, or after `Bearer `. */
  readonly header: 'raw' | 'bearer';
  /** How long a token holds that does not say so. */
  readonly ttl_ms: number;
  /** Statuses that mean the token is refused. */
  readonly refused: readonly number[];
}

export interface ModelConfig {
  readonly serve: readonly Deployment[];
  /** Public model names tried when no deployment of this one can take the call. */
  readonly fallback: readonly string[];
  /** For callers: what it is good for, a temperature to begin with. The gateway reads nothing in it. */
  readonly metadata: Readonly<Record<string, string | number | boolean>>;
  readonly mode?: Mode | undefined;
}

/** Files and batches: what is kept, how much of it, and how it is run. */
export interface BatchConfig {
  /** The folder of files, and of the database where it is SQLite. */
  readonly data: string;
  /** The largest file. */
  readonly file_bytes_max: number;
  /** Files of one key. */
  readonly files_max: number;
  /** All files of all keys. */
  readonly store_bytes_max: number;
  /** Left free on the disk. */
  readonly disk_free_bytes_min: number;
  /** How long a file is kept that does not say so itself. */
  readonly file_age_ms: number;
  /** Lines of one batch. */
  readonly lines_max: number;
  /** Unfinished batches of one key. */
  readonly batches_max: number;
  /** How long an ended batch is shown. */
  readonly batch_age_ms: number;
  /** Lines that run at once, over all backends of this gateway. */
  readonly parallel: number;
  /** Of a backend's slots, how many percent batches may have while others use it too. */
  readonly share: number;
  /** How often a line is tried that fails by the backend's fault. */
  readonly tries: number;
  readonly collate: Collate;
  readonly upstream: Upstream;
}

/** How single requests are collected into batches. */
interface Collate {
  /** From a window's first request to its end. */
  readonly window_ms: number;
  readonly lines_max: number;
  readonly bytes_max: number;
}

/** How another's Batch API is used. */
export interface Upstream {
  /** Pauses between two looks at a batch: the first one, doubled up to the longest. */
  readonly poll_min_ms: number;
  readonly poll_max_ms: number;
  /** Whether what was uploaded and fetched stays there. */
  readonly keep_files: boolean;
}

/** Answers that are given again for the same bytes. */
export interface CacheConfig {
  readonly ttl_ms: number;
  /** In this process. */
  readonly memory_bytes_max: number;
  /** In SQLite, or PostgreSQL. */
  readonly store_bytes_max: number;
  /** `deterministic`: with `temperature: 0`. */
  readonly chat: 'deterministic' | 'all' | 'off';
  readonly embeddings: boolean;
  /** Whether one key gets what another one asked. */
  readonly shared: boolean;
}
