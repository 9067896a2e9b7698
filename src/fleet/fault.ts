// What goes wrong below HTTP, by kind. The kind decides whether a request may be sent again, so it goes by how far the
// request had come, and only then by what the system called its error.

import { GatewayError } from '../wire/errors.ts';

/** `stale`: a socket that had served others ended before the answer's first byte, and so may never have taken the request. */
export type FaultKind = 'connect' | 'dns' | 'tls' | 'reset' | 'stale' | 'garbage' | 'timeout' | 'aborted';

export class HttpFault extends Error {
  override readonly name = 'HttpFault';
  readonly kind: FaultKind;
  /** The system's code or ours, for the log. */
  readonly code: string;

  constructor(kind: FaultKind, code: string) {
    super(`${kind}: ${code}`);
    this.kind = kind;
    this.code = code;
  }

  /** Whether the request cannot have run: the backend never took it. */
  get refused(): boolean {
    return this.kind === 'connect' || this.kind === 'dns' || this.kind === 'tls';
  }

  /** Whether it was this process that had no socket left: that says nothing of the backend. */
  get ours(): boolean {
    return OURS.has(this.code);
  }
}

/** What the end of an answer that had begun means to the caller. */
export function brokenAnswer(fault: HttpFault): GatewayError {
  if (fault.kind === 'timeout' && fault.code === 'first_byte_ms') {
    return new GatewayError('upstream_timeout', 'The backend did not answer in time (first_byte_ms).', {
      cause: fault.code,
    });
  }
  if (fault.kind === 'timeout') {
    return new GatewayError('upstream_timeout', 'The backend fell silent in the middle of its answer (idle_ms).', {
      cause: fault.code,
    });
  }
  if (fault.code === 'answer_bytes_max') {
    const message = "The backend's answer is too large to pass on (answer_bytes_max).";
    return new GatewayError('upstream_invalid', message, { cause: fault.code });
  }
  return brokenOff(`${fault.kind} ${fault.code}`);
}

export function brokenOff(cause: string): GatewayError {
  return new GatewayError('upstream_stream_aborted', 'The backend broke off in the middle of its answer.', { cause });
}

/** A backend that answered, but not with what was asked for. */
export class Refused extends Error {
  override readonly name = 'Refused';
  /** As it came. */
  readonly status: number;
  readonly meaning: GatewayError;
  /** Whether the request cannot have run, and another backend may do what this one will not. */
  readonly elsewhere: boolean;

  constructor(status: number, meaning: GatewayError, elsewhere = status === 429 || status === 502 || status === 503) {
    super(meaning.message);
    this.status = status;
    this.meaning = meaning;
    this.elsewhere = elsewhere;
  }
}

/** Errors of a connect that never left this process or machine. */
const OURS = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'EADDRNOTAVAIL']);

/** How far a request had come: not yet sent, sent, or its answer begun. */
export type Phase = 'connecting' | 'asked' | 'answering';

/** `reused`: the socket had carried an answer before. */
export function faultOf(error: unknown, phase: Phase, reused: boolean): HttpFault {
  const ours = error instanceof HttpFault ? error : undefined;
  if (ours !== undefined && ours.kind !== 'reset') return ours;
  const code = ours?.code ?? codeOf(error);
  if (phase === 'connecting') return new HttpFault(DNS.has(code) ? 'dns' : TLS.test(code) ? 'tls' : 'connect', code);
  // ETIMEDOUT and EHOSTUNREACH too: on an open connection they say nothing of whether the request arrived.
  return new HttpFault(reused && phase === 'asked' ? 'stale' : 'reset', code);
}

const DNS = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'EAI_NODATA']);
const TLS = /^(?:CERT_|ERR_TLS|ERR_SSL|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_|EPROTO$)/;

function codeOf(error: unknown): string {
  const told = typeof error === 'object' && error !== null && 'code' in error;
  return told && typeof error.code === 'string' ? error.code : 'UNKNOWN';
}
