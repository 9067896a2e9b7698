// Answers given again for the very same bytes, to the key that asked them: in this process, and behind it on a shelf that
// outlives it and may be others' too. Only what is asked for often and means the same each time is kept, unless the request or
// the configuration says otherwise.
import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { Recent } from './recent.ts';
import type { Call, CacheConfig, Caller } from '../types.ts';

/** Where answers outlive this process. What fails there is a miss. */
export interface Shelf {
  get(id: string): Promise<Buffer | undefined>;
  put(id: string, body: Buffer, ttl_ms: number): Promise<void>;
}

/** What may be done for one call. */
export interface Lookup {
  readonly id: string;
  /** An answer from before will do. */
  readonly reads: boolean;
  /** Its answer may be given again. */
  readonly keeps: boolean;
}

/** Of the whole; a larger answer would push out too much else. */
const SHARE_MAX = 0.125;

export class AnswerCache {
  readonly #config: () => CacheConfig;
  readonly #shelf: Shelf | undefined;
  readonly #recent = new Recent();

  constructor(config: () => CacheConfig, shelf: Shelf | undefined) {
    this.#config = config;
    this.#shelf = shelf;
  }

  get bytes(): number {
    return this.#recent.bytes;
  }

  /**
   * `undefined`: this call is no business of the cache. `only`: its mode is `cache`, and whatever is there will do. The headers are
   * HTTP's own (RFC 9111 §5.2.1: `no-cache`, `no-store`), and `x-lanyard-cache: on` for what is not deterministic.
   */
  lookup(call: Call, { key }: Caller, headers: IncomingHttpHeaders, only: boolean): Lookup | undefined {
    const said = (headers['cache-control'] ?? '').toLowerCase();
    const no_store = said.includes('no-store');
    const wanted = this.#wanted(call) || headers['x-lanyard-cache'] === 'on';
    // Looking for it costs a digest of the body.
    if (!only && (call.streamed || no_store || !wanted)) return undefined;
    return {
      id: this.#idOf(call, key),
      reads: only || !said.includes('no-cache'),
      keeps: wanted && !no_store && !call.streamed,
    };
  }

  async get(id: string): Promise<Buffer | undefined> {
    const recent = this.#recent.get(id, Date.now());
    if (recent !== undefined) return recent;
    const kept = await this.#shelf?.get(id).catch(() => undefined);
    if (kept !== undefined) this.#keep(id, kept);
    return kept;
  }

  /** Nobody waits for it. */
  put(id: string, body: Buffer): void {
    const { memory_bytes_max, ttl_ms } = this.#config();
    if (body.length > memory_bytes_max * SHARE_MAX) return;
    this.#keep(id, body);
    this.#shelf?.put(id, body, ttl_ms).catch(() => undefined);
  }

  #keep(id: string, body: Buffer): void {
    const { memory_bytes_max, ttl_ms } = this.#config();
    this.#recent.put(id, body, Date.now() + ttl_ms, memory_bytes_max);
  }

  #wanted(call: Call): boolean {
    const { chat, embeddings } = this.#config();
    if (call.endpoint === 'embeddings') return embeddings;
    return chat === 'all' || (chat === 'deterministic' && isDeterministic(call));
  }

  #idOf({ endpoint, model, body }: Call, key: string): string {
    const owner = this.#config().shared ? ['*'] : [key];
    return createHash('sha256')
      .update(JSON.stringify([...owner, endpoint, model]))
      .update(body)
      .digest('hex');
  }
}

/** `temperature: 0`, in whatever spelling. */
function isDeterministic({ body, fields }: Call): boolean {
  const field = fields.members.get('temperature');
  return field !== undefined && Number(body.toString('latin1', field.value_start, field.value_end)) === 0;
}
