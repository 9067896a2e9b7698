// What another's Batch API is used with: where it is, as configured now, and who is told what happens.
import type { Log } from '../../ops/log.ts';
import type { Caller, Tls } from '../../types.ts';

/** A service with a Batch API. */
export interface Service {
  /** The base of its routes, such as https://api.openai.com/v1, without a slash at its end. */
  readonly url: string;
  readonly key: string | undefined;
  readonly tls: Tls | undefined;
  /** Longest wait for a connection, TLS included. */
  readonly connect_ms: number;
  /** What no message may have in it. */
  readonly secrets: readonly string[];
}

/** Where a model's lines go. */
interface UpstreamPlace {
  readonly backend: string;
  /** The model's name there. */
  readonly name: string;
}

export interface UpstreamMeans {
  /** `undefined`: its lines run on our own engines, or it is not known now. */
  place(model: string): UpstreamPlace | undefined;
  /** `undefined`: it is no longer configured. */
  service(backend: string): Service | undefined;
  /** Of a key's name; `undefined`: it is no longer configured. */
  callerOf(owner: string): Caller | undefined;
  /** For the metrics. */
  told(event: UpstreamEvent): void;
  readonly log: Log;
}

export type UpstreamEvent =
  | { readonly type: 'uploaded'; readonly backend: string; readonly lines: number; readonly bytes: number }
  /** `adopted`: it was there already, and only its answer had been lost. */
  | { readonly type: 'created'; readonly backend: string; readonly lines: number; readonly adopted: boolean }
  | { readonly type: 'polled'; readonly backend: string; readonly status: string }
  | {
      readonly type: 'ended';
      readonly backend: string;
      readonly status: string;
      /** Lines that were answered, well or not, and all of them. */
      readonly answered: number;
      readonly lines: number;
    }
  | {
      readonly type: 'failed';
      readonly backend: string;
      readonly step: 'upload' | 'create' | 'poll' | 'fetch' | 'clean';
      readonly kind: FaultKind;
    };

/**
 * What went wrong with a request: no answer; an answer that says to come later; one that refuses the key; one that refuses the
 * request; one that is none.
 */
export type FaultKind = 'unreachable' | 'busy' | 'auth' | 'refused' | 'invalid';

/** How long things may take. */
export interface Patience {
  /** A client waits so long for an upload or a batch's creation that fails. */
  readonly waited_ms: number;
  /** Between two tries: the first, doubled up to the longest. */
  readonly retry_ms: number;
  readonly retry_ms_max: number;
  /** Lines of a batch of ours that has ended by time or was cancelled wait so long for what the service says. */
  readonly grace_ms: number;
}

export const PATIENCE: Patience = { waited_ms: 8_000, retry_ms: 500, retry_ms_max: 60_000, grace_ms: 15 * 60_000 };
