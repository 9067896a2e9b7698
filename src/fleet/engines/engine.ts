// What we know of each kind of engine, as data: where it listens, how its models and their context are read without loading
// one, what it cannot take and what it does not tell. A quirk is a field with the engine and version that has it. What an
// engine's refusals mean is in wire/refusals.ts: their shapes overlap too much to belong to one engine.
import type { Json } from '../../wire/record.ts';
import type { Deployment, Endpoint, EngineName } from '../../types.ts';

/** What a backend tells of one of its models. */
export interface ModelInfo {
  readonly id: string;
  /** Tokens; the loaded context where the engine tells it, else the trained one. */
  readonly context_length: number | undefined;
  readonly capabilities: readonly string[];
  /** Whether it is in memory now; `undefined` where the engine serves only what is, or does not tell. */
  readonly resident?: boolean | undefined;
}

/** What is in memory. */
export interface Loaded {
  /** The context that is really allocated, by model; `*` for whatever is served. */
  readonly contexts: ReadonlyMap<string, number>;
  /** Where the engine loads models when they are asked for: those it has. */
  readonly resident?: ReadonlySet<string>;
}

/** How much the engine takes at once, where it tells. */
export interface Capacity {
  readonly slots?: number | undefined;
  /** Inputs of one embeddings request. */
  readonly inputs_max?: number | undefined;
}

export interface Engine {
  readonly name: Exclude<EngineName, 'auto'>;
  /** The OpenAI routes' prefix, added to a URL without a path. */
  readonly base: string;
  /** Where it listens on a machine of its own. */
  readonly ports: readonly number[];
  readonly endpoints: readonly Endpoint[];
  /** How many requests we give it at once when neither the configuration nor the engine says. */
  readonly slots: number;

  // ---- asked of it, from the server's root unless said; none of these infers or loads a model

  /** Tells it from the others. `undefined`: this is what remains. */
  readonly sign: { readonly path: string; matches(body: Json): boolean } | undefined;
  /** Asked first where it tells more than the listing does; 503 means "not ready". */
  readonly health: string | undefined;
  /** The listing; after the base where `after_base`. */
  readonly models: {
    readonly path: string;
    readonly after_base: boolean;
    read(body: Json): readonly ModelInfo[] | undefined;
  };
  readonly loaded: { readonly path: string; read(body: Json): Loaded } | undefined;
  readonly capacity: { readonly path: string; read(body: Json): Capacity } | undefined;
  /** What one model can do, where the listing does not tell. */
  readonly abilities:
    | { readonly path: string; ask(id: string): string; read(body: Json): readonly string[] }
    | undefined;
  /** Requests it works on now and those that wait in it. Tried in order; the first that tells counts. */
  readonly figures: readonly { readonly path: string; read(text: string): number | undefined }[];

  // ---- how it loads

  /** How a model that is not in memory is loaded before it is asked; `undefined`: it serves what it has, or sees to it itself. */
  readonly load: Load | undefined;

  // ---- what it takes

  /** Top-level request fields it knows by an older name. */
  readonly renames: Readonly<Record<string, string>>;
  /** Whether `tool_choice: "none"` must be said by leaving the tools out. */
  readonly ignores_tool_choice: boolean;
  /** Whether completions take a `suffix`; else it is written as the model family's template (wire/fim.ts). */
  readonly suffix: boolean;
  /** Cuts a prompt that does not fit without a word, unless it is asked in its own form (`dialect`). */
  readonly truncates: boolean;
  /** Whether token ids are taken as embedding inputs. */
  readonly token_inputs: boolean;
  /** Inputs of one embeddings request, where the engine does not tell. */
  readonly inputs_max: number;

  // ---- what it gives

  /** Whether `encoding_format: "base64"` comes back as base64; else the gateway asks for floats and encodes them. */
  readonly base64: boolean;
  /** In a stream the matched stop string is sent too; OpenAI never does. */
  readonly keeps_stop: boolean;

  /** The form it is spoken to in, where that is not OpenAI's. `ollama` only for what OpenAI's cannot say. */
  readonly dialect: 'ollama' | 'envelope' | undefined;
}

/** A question that loads one model, and how to see that it is there. */
interface Load {
  ask(
    model: string,
    endpoint: Endpoint,
    deployment: Deployment | undefined,
  ): { readonly path: string; readonly body: string };
  /** Where the answer comes before the model is there: asked again until it tells; `undefined`: not yet. */
  readonly poll:
    | { readonly path: string; read(body: Json, model: string): 'loaded' | 'failed' | undefined }
    | undefined;
}

const EVERY_ENDPOINT = ['chat/completions', 'completions', 'embeddings'] as const satisfies readonly Endpoint[];

/** What an engine is that speaks OpenAI as OpenAI does: the others say where they differ. */
export const PLAIN = {
  base: '/v1',
  endpoints: EVERY_ENDPOINT,
  sign: undefined,
  health: undefined,
  loaded: undefined,
  capacity: undefined,
  abilities: undefined,
  figures: [],
  load: undefined,
  renames: {},
  ignores_tool_choice: false,
  suffix: false,
  truncates: false,
  token_inputs: true,
  // OpenAI's own.
  inputs_max: 2048,
  base64: true,
  keeps_stop: false,
  dialect: undefined,
} as const satisfies Partial<Engine>;
