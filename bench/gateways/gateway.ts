// What is measured side by side: each knows how to be started in front of one mock, with what a user would have on.
import { findProgram } from '../../test/stage/program.ts';

/** How a caller reaches it. */
export interface Door {
  readonly url: string;
  /** Where `chat/completions` and its siblings are: `http://127.0.0.1:4000/v1`. */
  readonly base: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface Running extends Door {
  /** Its first process; what it starts is counted with it. Undefined where there is none: the mock itself. */
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

export interface Gateway {
  readonly name: string;
  /** The model as its callers name it, where that is not MODEL. */
  readonly model?: string;
  /** Why it does not run here, or its version. */
  look(): { readonly missing: string } | { readonly version: string };
  /** In front of an engine at `http://host:port`; resolves once it answers, on the gateway's core. */
  start(engine: string, options?: StartOptions): Promise<Running>;
}

export interface StartOptions {
  /** Modules that a Node.js gateway loads first. */
  readonly imports?: readonly string[];
  /** Where the limits are shared, for one that can: a Redis URL. */
  readonly redis?: string;
}

/** The model as callers name it and as the mock does: different, because every gateway has to map names. */
export const MODEL = 'bench';
export const ENGINE_MODEL = 'bench-model';
/** Made for the bench; it opens nothing else. */
export const KEY = 'sk-bench-0123456789abcdef0123456789abcdef0123456789';

export function programIsHere(name: string): boolean {
  try {
    findProgram(name);
    return true;
  } catch {
    return false;
  }
}

/** Those of them that are here; of the others a line is noted. */
export function present(
  gateways: readonly Gateway[],
  note: (text: string) => void,
): { gateway: Gateway; version: string }[] {
  return gateways.flatMap((gateway) => {
    const found = gateway.look();
    if ('version' in found) return [{ gateway, version: found.version }];
    note(`left out: ${found.missing}`);
    return [];
  });
}
