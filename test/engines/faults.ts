// The ways an engine can misbehave, as data. `engine.ts` says where each one strikes; the rows follow the fault matrix a
// gateway has to survive: dying, hanging, trickling, garbling, lying about its length, and ending without saying so.

export type Mistake =
  | 'overflow'
  | 'unknown_model'
  | 'overloaded'
  | 'loading'
  | 'bad_request'
  | 'unauthorized'
  | 'internal';

/** `after` counts events of a streamed answer. Of an unstreamed one, it strikes in the middle of the body (0: before it). */
export type Fault =
  // ---- instead of an answer
  | { kind: 'status'; status: number; body?: unknown; headers?: Record<string, string>; type?: string }
  /** In this engine's own shape and status. */
  | { kind: 'error'; what: Mistake }
  /** RST before any header. */
  | { kind: 'reset' }
  /** FIN before any header. */
  | { kind: 'close' }
  /** Accepts, never answers. */
  | { kind: 'hang' }
  /** Something that is not HTTP. */
  | { kind: 'garbage'; bytes?: string | Buffer }
  /** 200, application/json, and not JSON. */
  | { kind: 'bad_json'; body?: string }
  /** A reverse proxy's own page. */
  | { kind: 'html'; status?: number }
  /** 200 and a JSON error, as LM Studio does. */
  | { kind: 'error_200' }
  // ---- before the answer
  | { kind: 'delay'; ms: number }
  | { kind: 'delay_body'; ms: number }
  /** Waits before the headers until `release()`. */
  | { kind: 'hold' }
  // ---- in the middle of it
  | { kind: 'hold_after'; events: number }
  | { kind: 'hang_after'; events: number }
  /** RST. */
  | { kind: 'die_after'; events: number }
  /** FIN without the chunked body's end. */
  | { kind: 'fin_after'; events: number }
  /** A clean end of the chunked body: HTTP says all is well. */
  | { kind: 'end_after'; events: number }
  /** This engine's own way to tell a failure within a stream. */
  | { kind: 'error_event_after'; events: number }
  /** A JSON error without `data:`, as OVMS writes it. */
  | { kind: 'raw_json_after'; events: number }
  /** A chunk size that is no number. */
  | { kind: 'bad_chunk'; events?: number }
  | { kind: 'huge_event'; bytes: number }
  /** Goes on until the peer closes; never holds more than one write that was not taken. */
  | { kind: 'endless' }
  /** Does not notice that its peer has left: its slot stays taken until `release()`, as if it worked on. */
  | { kind: 'deaf' }
  // ---- at its end
  /** Everything but `[DONE]`. */
  | { kind: 'no_done' }
  /** An empty delta, then a clean end: Ollama's runner died (middleware/openai.go turns its error into a zero chunk). */
  | { kind: 'no_finish' }
  | { kind: 'after_done'; bytes?: string }
  /** A whole second response nobody asked for, on the same socket. */
  | { kind: 'extra_response'; body?: string }
  /** A content-length larger than what is sent, then FIN. */
  | { kind: 'truncated'; missing?: number }
  // ---- in how it is written
  /** Every write in pieces of n bytes, headers and chunk sizes too; the connection closes after the answer. */
  | { kind: 'split'; bytes: number }
  /** The body n bytes (one) at a time, that many ms apart. */
  | { kind: 'trickle'; ms: number; bytes?: number }
  | { kind: 'crlf' }
  | { kind: 'bom' }
  /** Bare `:` pings, `id:` and `event:` lines between and around events. */
  | { kind: 'comments' }
  /** Usage so far on every chunk (vLLM's `continuous_usage_stats`), asked for or not. */
  | { kind: 'continuous_usage' }
  // ---- several at once
  | { kind: 'all'; faults: Fault[] };

export type FaultOf<Kind extends Fault['kind']> = Extract<Fault, { kind: Kind }>;

/** A fault as the list of its parts. */
export function parts(fault: Fault | undefined): Fault[] {
  if (fault === undefined) return [];
  return fault.kind === 'all' ? fault.faults.flatMap(parts) : [fault];
}

/** The fault of this kind, where there is one. */
export function pick<Kind extends Fault['kind']>(faults: readonly Fault[], kind: Kind): FaultOf<Kind> | undefined {
  return faults.find((fault): fault is FaultOf<Kind> => fault.kind === kind);
}

const BREAKS = [
  'hold_after',
  'hang_after',
  'die_after',
  'fin_after',
  'end_after',
  'error_event_after',
  'raw_json_after',
  'bad_chunk',
] as const satisfies Fault['kind'][];

export type Break = FaultOf<(typeof BREAKS)[number]>;

export function is_break(fault: Fault): fault is Break {
  return BREAKS.some((kind) => kind === fault.kind);
}

/** What strikes once this many events have gone out. */
export function breaks_at(faults: readonly Fault[], events: number): Break | undefined {
  return faults.filter(is_break).find((fault) => (fault.events ?? 1) === events);
}
