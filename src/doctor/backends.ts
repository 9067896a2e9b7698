// The engines: whether each is there and is what the file says, whether it has the models, how much context it gives them. By
// questions that never infer and never load a model.
import { about, count, few, type Finding } from './finding.ts';
import { context } from './context.ts';
import { inquire } from './engines.ts';
import type { Clock } from './host.ts';
import { Backend } from '../fleet/backend.ts';
import type { Engine, ModelInfo } from '../fleet/engines/engine.ts';
import { probe } from '../fleet/probe.ts';
import { isLoopback } from '../wire/address.ts';
import { matches } from '../wire/glob.ts';
import type { BackendConfig, Config } from '../types.ts';

/** A backend that was there: what the deep tests go on from. The caller destroys it. */
export interface Patient {
  readonly backend: Backend;
  /** Models that may be asked without loading one: public name where there is one, and the name there. */
  readonly ready: readonly Ready[];
}

export interface Ready {
  readonly name: string;
  readonly public_name: string | undefined;
  readonly embeds: boolean;
}

export interface BackendNews {
  readonly findings: readonly Finding[];
  readonly patient: Patient | undefined;
  readonly clock: Clock | undefined;
}

/** One answer; a probe may take twice as long in all. */
const WAIT_MS = 2_000;
const CONNECT_MS = 2_000;
/** Models whose context is looked at, on one backend. */
const MODELS_LOOKED_AT_MAX = 24;

export async function examineBackend(
  name: string,
  config: BackendConfig,
  models: Config['models'],
): Promise<BackendNews> {
  const backend = new Backend(name, config, CONNECT_MS);
  const guess = new Backend(name, { ...config, engine: 'auto' }, CONNECT_MS);
  const url = new URL(config.url);
  const began = performance.now();
  try {
    const [news, guessed] = await Promise.all([probe(backend, WAIT_MS), probe(guess, WAIT_MS)]);
    const took_ms = performance.now() - began;
    const seemed = 'models' in guessed ? guessed.engine.name : undefined;
    const said = about('backend.reachable', name);
    if (!('models' in news)) {
      await backend.destroy();
      return {
        findings: [
          said.fail(`${IN_WORDS[news.reason] ?? news.reason} (${url.origin})`, cure(news.reason, config, seemed)),
        ],
        patient: undefined,
        clock: undefined,
      };
    }
    backend.probed(performance.now(), news);
    const findings = [
      said.ok(
        `${news.engine.name} at ${url.origin}, ${count(news.models.size, 'model')}, in ${Math.round(took_ms)} ms`,
      ),
    ];
    findings.push(...kind(name, config, seemed, news.lanyard));
    const wanted = wantedOf(name, models, news.models, config.publish);
    const date = await dateOf(backend);
    findings.push(...present(backend, wanted));
    const here = wanted.flatMap(({ name, public_name }) => {
      const info = backend.info(name);
      return info === undefined ? [] : [{ info, name, public_name, embeds: embeds(info) }];
    });
    const looked = here.slice(0, MODELS_LOOKED_AT_MAX);
    const contexts = await Promise.all(looked.map((one) => context(backend, one.info, one.embeds, WAIT_MS)));
    findings.push(...contexts, ...slots(backend), ...batch(backend));
    const ready = here.filter(({ info }) => info.resident !== false);
    const clock = date === undefined ? undefined : { of: `backend ${name}`, ahead_ms: date };
    return { findings, patient: { backend, ready }, clock };
  } finally {
    await guess.destroy();
  }
}

const IN_WORDS: Readonly<Record<string, string>> = {
  connect: 'cannot be reached',
  dns: 'its name is not known',
  tls: 'its certificate is not accepted',
  timeout: 'does not answer in time',
  reset: 'breaks the connection off',
  garbage: 'does not speak HTTP',
  'no token': 'its token URL gives no token',
  loading: 'is still loading',
  'not ready': 'says that it is not ready',
};

/** What to do about a probe's reason. */
function cure(reason: string, { engine, url }: BackendConfig, seemed: string | undefined): string {
  if (seemed !== undefined && seemed !== engine)
    return `It answers as ${seemed}: write \`engine: ${seemed}\` in the configuration.`;
  const { hostname } = new URL(url);
  switch (reason) {
    case 'connect':
      if (hostname === 'localhost' || isLoopback(hostname)) return 'Start the engine, or correct the port.';
      return `Start the engine, and let it listen beyond its own machine (Ollama: OLLAMA_HOST=0.0.0.0; vLLM, llama.cpp: --host 0.0.0.0); a firewall may stand between.`;
    case 'dns':
      return `Nobody knows the name ${hostname}: correct it, or write the address.`;
    case 'tls':
      return 'Name the authority that signed it: `tls: { ca: /path/ca.pem }` of this backend.';
    case 'timeout':
      return 'It takes the connection and says nothing, or packets are dropped: look at its log, its load, the firewall.';
    case 'it refuses our key':
      return 'Put its key under `key:` of this backend (from .env: key: ${VLLM_KEY}).';
    case 'no token':
      return 'Check `token_url` and `code` of its `exchange` (TOKEN_URL and AUTH_CODE).';
    case 'loading':
    case 'not ready':
      return 'It is starting, or its engine has died behind the server: wait for it, then look at its log.';
    default:
      return 'It is no engine we know at that URL: check the port, and whether the URL needs a path such as /v1.';
  }
}

function kind(name: string, { engine }: BackendConfig, seemed: string | undefined, lanyard: boolean): Finding[] {
  const said = about('backend.engine', name);
  if (lanyard)
    return [said.warn('is a Lanyard itself', 'Name the engines here, or every limit and queue counts twice.')];
  // `openai` is what remains, and says nothing against another name.
  if (
    engine === 'auto' ||
    engine === 'token-exchange' ||
    seemed === undefined ||
    seemed === 'openai' ||
    seemed === engine
  )
    return [];
  return [
    said.warn(
      `the file says ${engine}, it answers as ${seemed}`,
      `Write \`engine: ${seemed}\`, or its quirks are not known.`,
    ),
  ];
}

interface Wanted {
  readonly name: string;
  readonly public_name: string | undefined;
}

/** The models this backend is to serve, in the file's words; without `models:`, all it has. */
function wantedOf(
  backend: string,
  models: Config['models'],
  there: ReadonlyMap<string, ModelInfo>,
  publish: readonly string[],
): Wanted[] {
  const wanted = new Map<string, string>();
  for (const [public_name, { serve }] of models ?? []) {
    for (const one of serve) if (one.backend === backend && !wanted.has(one.name)) wanted.set(one.name, public_name);
  }
  for (const id of there.keys()) {
    const open = publish.length > 0 ? matches(publish, id) : models === undefined;
    if (open && !wanted.has(id)) wanted.set(id, id);
  }
  return [...wanted].map(([name, public_name]) => ({ name, public_name }));
}

function present(backend: Backend, wanted: readonly Wanted[]): Finding[] {
  const { engine, models: there } = backend;
  const said = about('backend.models', backend.name);
  // A service behind a token exchange tells of none.
  if (engine.dialect === 'envelope') return [said.note('tells no list of models: what the file names is asked of it')];
  const missing = wanted.filter(({ name }) => backend.info(name) === undefined);
  const found = missing.map(({ name, public_name }) => {
    const has = there.size === 0 ? 'it has none' : `it has ${few([...there.keys()])}`;
    const what = `has no ${name}, which ${public_name} is to be; ${has}`;
    // A llama-server of one model serves it under any name, and so do those that embed with one.
    if ((engine.name === 'llama.cpp' || engine.name === 'tei') && there.size === 1)
      return said.note(`${what}, and answers with that under any name`);
    return said.fail(what, PULL[engine.name].replace('MODEL', name));
  });
  if (found.length > 0) return found;
  if (wanted.length === 0)
    return [said.note('nothing of it is published', 'Name one of its models under `models:`, or `publish: ["*"]`.')];
  return [said.ok(`has ${wanted.length === 1 ? 'the one' : `all ${wanted.length}`} it is to serve`)];
}

const CORRECT = 'Load it there, or correct the name after the slash under `models:`.';
const PULL: Readonly<Record<Engine['name'], string>> = {
  ollama: '`ollama pull MODEL` on that machine, or correct the name after the slash under `models:`.',
  vllm: 'Start it with that model (or --served-model-name MODEL), or correct the name after the slash under `models:`.',
  'llama.cpp': 'Correct the name after the slash under `models:`, or start it with --alias MODEL.',
  lmstudio: 'Download it there (`lms get MODEL`), or correct the name after the slash under `models:`.',
  sglang:
    'Start it with that model (or --served-model-name MODEL), or correct the name after the slash under `models:`.',
  openvino: 'Add it to its configuration, or correct the name after the slash under `models:`.',
  tei: CORRECT,
  infinity: 'Start it with --model-id MODEL too, or correct the name after the slash under `models:`.',
  openai: CORRECT,
  'token-exchange': CORRECT,
};

/** Whether we would give it more at once than it works on: only where the file says so. */
function slots(backend: Backend): Finding[] {
  const most = backend.capacity.slots;
  if (most === undefined) return [];
  const said = about('backend.slots', backend.name);
  if (backend.slots <= most) return [said.ok(`${most} there, ${backend.slots} used`)];
  return [
    said.note(
      `${most} there, and it is given ${backend.slots} at once: the rest waits there, where no other backend can take it over`,
      `Write \`slots: ${most}\` for this backend or remove the line, or start it with --parallel ${backend.slots}.`,
    ),
  ];
}

function batch(backend: Backend): Finding[] {
  const most = backend.capacity.inputs_max;
  return most === undefined ? [] : [ofBatch(backend.name, most)];
}

/** OpenAI takes 2048 inputs, and tools that index a folder count on hundreds: what is more is sent in parts. */
export function ofBatch(subject: string, most: number): Finding {
  const said = about('backend.embeddings', subject);
  if (most >= 512) return said.ok(`takes ${most} inputs a request`);
  return said.note(
    `takes ${most} inputs a request; more are sent in parts`,
    'Larger requests are faster: text-embeddings-inference has --max-client-batch-size.',
  );
}

/** Milliseconds its clock is ahead of ours; Date has whole seconds. */
async function dateOf(backend: Backend): Promise<number | undefined> {
  const asked = Date.now();
  const answer = await inquire(backend, backend.route('models'), WAIT_MS).catch(() => undefined);
  return answer?.date === undefined ? undefined : answer.date + 500 - (asked + Date.now()) / 2;
}

/** By what the engine says, else by the usual names. */
function embeds({ id, capabilities }: ModelInfo): boolean {
  if (capabilities.includes('completion')) return false;
  return capabilities.includes('embedding') || /embed|\bbge\b|\be5\b|\bgte\b|minilm/i.test(id);
}
