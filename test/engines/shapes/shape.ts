// What makes an engine that engine: its routes, its words for an error, the form of its chunks. Each kind is one table of
// data and small functions in the file of its name; every fact there says where it was read.
import type { Ask, Endpoint, Said, Usage } from '../answers.ts';
import type { Mistake } from '../faults.ts';

export type EngineKind =
  | 'ollama'
  | 'vllm'
  | 'llama.cpp'
  | 'openvino'
  | 'lmstudio'
  | 'sglang'
  | 'tei'
  | 'infinity'
  | 'openai';

export interface ModelSpec {
  readonly name: string;
  /** Tokens of context this engine has for it. When given, a longer prompt overflows in this engine's way. */
  readonly context?: number;
  /** What the model was trained for, where an engine tells that instead; else `context`. */
  readonly context_trained?: number;
  readonly embeds?: boolean;
  readonly vision?: boolean;
}

/** A whole answer that is not a stream. A string body goes out as it is, anything else as JSON. */
export interface Reply {
  readonly status: number;
  readonly body?: unknown;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What the routes tell of. */
export interface State {
  readonly models: readonly ModelSpec[];
  readonly resident: ReadonlySet<string>;
  readonly running: number;
  readonly waiting: number;
  readonly slots: number | undefined;
  readonly loading: boolean;
  /** Several models, each loaded when it is told to. */
  readonly router: boolean;
  /** Seconds since 1970, when the engine started. */
  readonly created: number;
  /** Seconds since 1970, at this request. */
  readonly now: number;
}

/** One answer being told: what its chunks share. */
export interface Telling {
  readonly ask: Ask;
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
}

export interface Detail {
  readonly ask: Ask | undefined;
  readonly prompt_tokens: number;
  readonly context: number;
}

export interface Shape {
  readonly kind: EngineKind;
  /** What stands before `/chat/completions`. */
  readonly bases: readonly string[];
  /** Has chats and completions, and not embeddings alone. */
  readonly talks: boolean;
  readonly headers: Readonly<Record<string, string>>;
  readonly json_type: string;
  readonly stream_type: string;
  /** `withheld`: a model loads when first asked for; `refused`: 503 from start; `closed`: it does not listen yet. */
  readonly loads: 'withheld' | 'refused' | 'closed';
  /** Serves whatever it has, under any name. */
  readonly any_model: boolean;
  readonly cuts_overflow: boolean;
  /** The fields that bound an answer's length, the one that wins first. */
  readonly limits: readonly string[];
  /** More than one choice a request (`n`). */
  readonly choices: boolean;
  /** In a stream the matched stop string is sent too. */
  readonly keeps_stop: boolean;
  readonly base64: boolean;
  readonly token_inputs: boolean;
  /** Most inputs of one embeddings request, and what it says to more. */
  readonly inputs_max: number;
  readonly too_many?: Reply;
  readonly dimensions: boolean;
  /** Paths that ask for no key. */
  readonly keyless: (path: string) => boolean;
  /** Routes that infer in the engine's own form; with nothing to infer from, they load the model. */
  readonly natives?: Readonly<Record<string, Endpoint>>;
  readonly route: (method: string, url: URL, state: State, body: Buffer) => Reply | undefined;
  readonly unknown_path: (method: string, path: string) => Reply;
  readonly mistake: (what: Mistake, detail: Detail) => Reply;
  /** The first chunk of a choice, with the role; completions have none. */
  readonly open: (telling: Telling, index: number) => object | undefined;
  readonly token: (telling: Telling, text: string, index: number) => object;
  /** The chunk with the finish reason. */
  readonly finish: (telling: Telling, said: Said, index: number) => object;
  readonly usage: (telling: Telling, usage: Usage) => object;
  /** What it writes when it fails within a stream: whole lines, as they go out. */
  readonly failure: (telling: Telling) => string;
  /** An unstreamed answer. */
  readonly whole: (telling: Telling, said: Said, usage: Usage, choices: number) => object;
  readonly embeddings: (telling: Telling, vectors: readonly (string | readonly number[])[]) => object;
}

/** Context lengths are told by engines even where a test gave none. */
export const CONTEXT_DEFAULT = 32_768;

export function id_prefix(ask: Ask): string {
  return ask.endpoint === 'completions' ? 'cmpl' : 'chatcmpl';
}

/** The list of the OpenAI format. */
export function model_list(models: readonly object[]): Reply {
  return { status: 200, body: { object: 'list', data: models } };
}

/** `/v1/models/{id}`, ids with slashes too; `undefined` when the path is another. */
export function model_named(path: string, base: string): string | undefined {
  const prefix = `${base}/models/`;
  return path.startsWith(prefix) ? decodeURIComponent(path.slice(prefix.length)) : undefined;
}

export function embedding_rows(vectors: readonly (string | readonly number[])[]): object[] {
  return vectors.map((embedding, index) => ({ object: 'embedding', index, embedding }));
}

export function repeat<T>(choices: number, make: (index: number) => T): T[] {
  return Array.from({ length: choices }, (_, index) => make(index));
}
