// What one engine is made of: its shape, its models and what is loaded of them, its slots, its ledger.
import type { EngineKind, ModelSpec, Shape, State } from './shapes/shape.ts';
import { KINDS, MODELS_DEFAULT } from './kinds.ts';
import { Ledger } from './ledger.ts';
import { Gate, Slots } from './slots.ts';

export interface EngineOptions {
  readonly kind: EngineKind;
  readonly port?: number;
  readonly host?: string;
  readonly models?: readonly (string | ModelSpec)[];
  /** Tokens a second; 0 or absent: as fast as possible. */
  readonly tps?: number;
  /** The length of the answer. */
  readonly tokens?: number;
  /** How long a model takes to load: on its first request (Ollama, LM Studio), or from the start (the others). */
  readonly load_ms?: number;
  /** llama.cpp with several models, each loaded when it is told to. */
  readonly router?: boolean;
  /** Demanded as Bearer; refused in this engine's shape. */
  readonly key?: string;
  /** Answers at once; the rest wait in line. */
  readonly slots?: number;
  /** The answer's tokens, from the parsed body. */
  readonly reply?: (body: unknown) => string[];
  /** Idle sockets are closed after this long: 5 s for vLLM and SGLang (uvicorn), else Node's own minute is used. */
  readonly keep_alive_ms?: number;
}

/** What a request needs of its engine. */
export interface Engine {
  readonly shape: Shape;
  readonly options: EngineOptions;
  readonly ledger: Ledger;
  readonly slots: Slots;
  readonly gate: Gate;
  readonly resident: Set<string>;
  models: readonly ModelSpec[];
  loading(): boolean;
  /** Resolves once the model is loaded; the first caller starts it. */
  load(model: string): Promise<void> | undefined;
  next_id(): string;
}

export function build(options: EngineOptions): Engine {
  const shape: Shape = KINDS[options.kind];
  const load_ms = shape.loads === 'withheld' || options.router === true ? (options.load_ms ?? 0) : 0;
  const ready_at = performance.now() + (options.load_ms ?? 0) - load_ms;
  const loads = new Map<string, Promise<void>>();
  const resident = new Set<string>();
  let ids = 0;
  const ledger = new Ledger();
  return {
    shape,
    options,
    ledger,
    slots: new Slots(options.slots ?? Infinity),
    gate: new Gate(() => ledger.changed()),
    resident,
    models: (options.models ?? [MODELS_DEFAULT[options.kind]]).map(spec),
    loading: () => performance.now() < ready_at,
    load: (model) => {
      if (resident.has(model)) return undefined;
      if (load_ms === 0) {
        resident.add(model);
        return undefined;
      }
      const load =
        loads.get(model) ??
        new Promise<void>((resolve) => {
          setTimeout(resolve, load_ms);
        }).then(() => void resident.add(model));
      loads.set(model, load);
      return load;
    },
    next_id: () => String((ids += 1)),
  };
}

export function spec(model: string | ModelSpec): ModelSpec {
  return typeof model === 'string' ? { name: model } : model;
}

const STARTED = Math.floor(Date.now() / 1000);

export function state_of(engine: Engine): State {
  const { models, resident, slots, options } = engine;
  return {
    models,
    resident,
    running: slots.running,
    waiting: slots.waiting,
    slots: options.slots,
    loading: engine.loading(),
    router: options.router === true,
    created: STARTED,
    now: Math.floor(Date.now() / 1000),
  };
}
