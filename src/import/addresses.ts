// Where an engine is, from LiteLLM's api_base: our `url`, and what it tells about the engine.
import { backendUrl } from '../config/addresses.ts';
import type { EngineName } from '../types.ts';
import { OPENAI, type Provider } from './providers.ts';
import type { Note } from './source.ts';
import { literal, reference } from './values.ts';

export interface Address {
  /** As it is written in our YAML. */
  readonly url: string;
  readonly engine: EngineName;
  /** What changed on the way. */
  readonly note: Note | undefined;
}

/** @returns `undefined` for what is no address of an engine */
export function addressOf(base: string, provider: Provider): Address | undefined {
  const variable = reference(base);
  if (variable !== undefined) return { url: variable, engine: provider.engine ?? 'auto', note: undefined };
  if (!URL.canParse(base) || !/^https?:\/\//i.test(base)) return undefined;
  const url = new URL(base);
  const cut = url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '';
  const engine = provider.engine ?? engineAt(url);
  const path = pathOf(url, engine);
  const written = `${url.protocol}//${url.host}${path}`;
  if (!backendUrl().safeParse(written).success) return undefined;
  return { url: literal(written), engine, note: cut ? CUT : path === '' && !provider.root ? BASE : undefined };
}

const CUT: Note = {
  kind: 'todo',
  text: 'the address is carried over without the user, password or query in it; Lanyard sends an engine its key alone, as a Bearer token: see that it is enough',
};
const BASE: Note = {
  kind: 'changed',
  text: "Lanyard adds /v1 to an address without a path, where nearly every engine has its routes; LiteLLM adds nothing. An engine that has them elsewhere needs its path in the backend's url",
};

/** The port and the host tell some engines; of any other, Lanyard asks it (`auto`). */
function engineAt({ protocol, hostname, port, host }: URL): EngineName {
  if (port === '11434') return 'ollama';
  if (host === new URL(OPENAI.base ?? '').host) return 'openai';
  const near = !hostname.includes('.') || /^[\d.]+$|\.(lan|local|internal|home|test)$|^\[/.test(hostname);
  return protocol === 'https:' && !near ? 'openai' : 'auto';
}

function pathOf({ pathname }: URL, engine: EngineName): string {
  const path = pathname.replace(/\/+$/, '');
  if (engine !== 'ollama') return path;
  // LiteLLM speaks Ollama's own routes, from its root; Lanyard its OpenAI routes under /v1, which a bare address means.
  const root = path.replace(/\/(v1|api(\/\w+)?)$/, '');
  return root === '' ? '' : `${root}/v1`;
}
