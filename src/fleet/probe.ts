// Asks a backend whether it lives and what it serves, by routes that never infer and never load a model.
import type { Backend, Waits } from './backend.ts';
import { ENGINES, SIGNS } from './engines/all.ts';
import type { Capacity, Engine, Loaded, ModelInfo } from './engines/engine.ts';
import { HttpFault, Refused } from './fault.ts';
import { readAll, type Ask } from './http.ts';
import { parseRecord, type Json } from '../wire/record.ts';
import { meaningOf, readRefusal } from '../wire/refusals.ts';

/** A probe is small and quick or it has failed. */
const PROBE_MS = 3_000;
const PROBE_BYTES_MAX = 4 << 20;
/** `auto` asks up to ten routes: together they may take this many times what one may. */
const PROBE_WAITS_MAX = 2;
/** Models asked what they can do with one probe. */
const ABILITIES_ASKED_MAX = 16;
/** More is no list of models to choose from. */
const MODELS_MAX = 10_000;
/** A name is shown, logged and put into headers: none that is longer, or holds what moves a cursor, is taken on. */
const MODEL_NAME = /^[^\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]{1,200}$/u;

export type News =
  | {
      readonly engine: Engine;
      readonly models: ReadonlyMap<string, ModelInfo>;
      readonly capacity: Capacity;
      /** Requests it works on, ours too; `undefined` where it does not tell. */
      readonly running: number | undefined;
      /** It is a gateway like this one: no engine to be found, though it may be configured. */
      readonly lanyard: boolean;
    }
  /** `fatal`: it cannot be serving anyone (refused, loading), so even flowing bytes would not speak for it. */
  | { readonly reason: string; readonly fatal: boolean };

/** `wait_ms`: the longest wait for one answer; for all of them together, twice that. Never throws: what went wrong is the news. */
export async function probe(backend: Backend, wait_ms = PROBE_MS): Promise<News> {
  if (backend.token !== undefined) return await probeToken(backend);
  const in_all = AbortSignal.timeout(PROBE_WAITS_MAX * wait_ms);
  const ask = once((path, body) => get(backend, path, body, wait_ms, in_all));
  try {
    const engine = await engineOf(backend, ask);
    if (engine.health !== undefined) {
      const { status } = await ask(backend.at(engine.health));
      if (status === 503) return { reason: 'not ready', fatal: true };
    }
    const path = engine.models.after_base
      ? baseRoute(backend, engine, engine.models.path)
      : backend.at(engine.models.path);
    const { status, body, lanyard } = await ask(path);
    if (status === 401 || status === 403) throw new Refusal('it refuses our key');
    const listed = status === 200 && body !== undefined ? engine.models.read(body) : undefined;
    if (listed === undefined) return { reason: `no model list (status ${status})`, fatal: false };
    const loaded = engine.loaded === undefined ? undefined : await readLoaded(engine.loaded, backend, ask);
    const named = listed.filter(({ id }) => MODEL_NAME.test(id)).slice(0, MODELS_MAX);
    const able = await readAbilities(named, engine.abilities, backend, ask);
    const models = named.map(({ id, capabilities, context_length, resident }) => {
      const known = loaded?.contexts.get(id) ?? loaded?.contexts.get('*') ?? context_length;
      const held = loaded?.resident?.has(id) ?? resident;
      const info = { id, capabilities: able.get(id) ?? capabilities, context_length: known };
      return [id, held === undefined ? info : { ...info, resident: held }] as const;
    });
    const capacity = await readCapacity(engine.capacity, backend, ask);
    const running = await readRunning(engine.figures, backend, ask);
    return { engine, models: new Map(models), capacity, running, lanyard };
  } catch (error) {
    if (error instanceof Refusal) return { reason: error.message, fatal: true };
    const fault = error instanceof HttpFault ? error : undefined;
    const kind = fault?.kind === 'aborted' ? 'timeout' : fault?.kind;
    return { reason: kind ?? 'unreadable answer', fatal: fault !== undefined && fault.refused && !fault.ours };
  }
}

/** Nothing can be asked of it that is no work: whether it gives a token is all there is to know. */
async function probeToken({ token, engine }: Backend): Promise<News> {
  try {
    await token?.get();
    return { engine, models: new Map(), capacity: {}, running: undefined, lanyard: false };
  } catch (error) {
    return { reason: error instanceof Refused ? 'no token' : 'unreadable answer', fatal: error instanceof Refused };
  }
}

/** Asked anew only where it is not known, or has been away: what listens there may be another one. */
async function engineOf(backend: Backend, ask: Get): Promise<Engine> {
  if (backend.config.engine !== 'auto') return ENGINES[backend.config.engine];
  return backend.health === 'up' ? backend.engine : await recognise(backend, ask);
}

/** The first engine whose sign the server shows; else plain OpenAI. */
async function recognise(backend: Backend, ask: Get): Promise<Engine> {
  for (const engine of SIGNS) {
    if (engine.sign === undefined) return engine;
    const { status, body } = await ask(backend.at(engine.sign.path));
    // LM Studio answers unknown paths with 200 and an `error`, so the status alone says nothing.
    if (status === 200 && body !== undefined && engine.sign.matches(body)) return engine;
  }
  return ENGINES.openai;
}

/** The route under the base of the engine just recognised, which the backend itself does not know yet. */
function baseRoute(backend: Backend, engine: Engine, path: string): string {
  const configured = new URL(backend.config.url).pathname.replace(/\/+$/, '');
  return `${configured === '' ? engine.base : configured}${path}`;
}

async function readLoaded(
  loaded: NonNullable<Engine['loaded']>,
  backend: Backend,
  ask: Get,
): Promise<Loaded | undefined> {
  const { status, body } = await ask(backend.at(loaded.path));
  // llama.cpp lists its models to anyone.
  if (status === 401) throw new Refusal('it refuses our key');
  return status === 200 && body !== undefined ? loaded.read(body) : undefined;
}

async function readCapacity(capacity: Engine['capacity'], backend: Backend, ask: Get): Promise<Capacity> {
  if (capacity === undefined) return {};
  const { status, body } = await ask(backend.at(capacity.path)).catch(() => NOT_TOLD);
  return status === 200 && body !== undefined ? capacity.read(body) : {};
}

/** A figure that is not told is no fault: many are only told with a switch of the engine's. */
async function readRunning(figures: Engine['figures'], backend: Backend, ask: Get): Promise<number | undefined> {
  for (const one of figures) {
    const { status, text } = await ask(backend.at(one.path)).catch(() => NOT_TOLD);
    const figure = status === 200 ? one.read(text) : undefined;
    if (figure !== undefined) return figure;
  }
  return undefined;
}

/**
 * What models can do, asked once of each; a few with every probe, so that a machine full of models is no flood. What is not
 * told is no fault: it is asked again.
 */
async function readAbilities(
  models: readonly ModelInfo[],
  abilities: Engine['abilities'],
  backend: Backend,
  ask: Get,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const able = new Map<string, readonly string[]>();
  if (abilities === undefined) return able;
  let asked = 0;
  for (const { id, capabilities } of models) {
    const known = capabilities.length > 0 ? capabilities : backend.models.get(id)?.capabilities;
    if (known !== undefined && known.length > 0) able.set(id, known);
    else if (asked < ABILITIES_ASKED_MAX) {
      asked += 1;
      const { status, body } = await ask(backend.at(abilities.path), abilities.ask(id)).catch(() => NOT_TOLD);
      if (status === 200 && body !== undefined) able.set(id, abilities.read(body));
    }
  }
  return able;
}

interface Told {
  readonly status: number;
  readonly text: string;
  readonly body: Json | undefined;
  readonly lanyard: boolean;
}

const NOT_TOLD: Told = { status: 0, text: '', body: undefined, lanyard: false };

/** Asks by GET or, with a body, by POST. */
type Get = (path: string, body?: string) => Promise<Told>;

/** Within one probe a path is asked once, however many things its answer tells. */
function once(ask: Get): Get {
  const asked = new Map<string, Promise<Told>>();
  return (path, body) => {
    if (body !== undefined) return ask(path, body);
    const known = asked.get(path) ?? ask(path);
    asked.set(path, known);
    return known;
  };
}

const HEADERS = {
  'content-type': 'application/json',
  accept: 'application/json',
  'accept-encoding': 'identity',
  'user-agent': 'lanyard',
};

/** It says in so many words that it serves nobody, or not us: its message is the reason. */
class Refusal extends Error {}

async function get(
  backend: Backend,
  path: string,
  body: string | undefined,
  wait_ms: number,
  in_all: AbortSignal,
): Promise<Told> {
  const waits: Waits = { connect_ms: wait_ms, first_byte_ms: wait_ms, idle_ms: wait_ms };
  const method = body === undefined ? 'GET' : 'POST';
  const ask: Ask = { method, path, headers: HEADERS, body: body === undefined ? undefined : [Buffer.from(body)] };
  const answer = await backend.send(ask, waits, AbortSignal.any([in_all, AbortSignal.timeout(wait_ms)]));
  const bytes = await readAll(answer, PROBE_BYTES_MAX);
  const { status } = answer;
  if (
    status === 503 &&
    meaningOf(status, readRefusal(status, bytes, undefined), { secrets: [] }).code === 'model_loading'
  ) {
    // llama.cpp says so on every route but its list of models.
    throw new Refusal('loading');
  }
  const lanyard = answer.headers.has('x-lanyard-instance');
  const text = bytes.toString('utf8');
  return { status, text, body: parseRecord(text), lanyard };
}
