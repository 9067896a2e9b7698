// How much context a request really has, against what the model was made for. The classic trap: Ollama gives a model 4096 tokens
// unless told otherwise, and drops what is beyond without a word.
import { CONTEXT_REMEDY, tryInquire } from './engines.ts';
import { about, type Finding } from './finding.ts';
import type { Backend } from '../fleet/backend.ts';
import type { ModelInfo } from '../fleet/engines/engine.ts';
import { isRecord } from '../wire/record.ts';

/** A context's length in tokens: what a request has, and what the model was made for. */
interface Context {
  readonly given: number | undefined;
  readonly trained: number | undefined;
}

/** Editors and agents send whole files: below this, and below what the model can do, they are cut off or refused. */
const CONTEXT_SMALL = 16_384;

export async function context(
  backend: Backend,
  info: ModelInfo,
  embedding: boolean,
  wait_ms: number,
): Promise<Finding> {
  const said = about('backend.context', `${backend.name}/${info.id}`);
  const { engine } = backend;
  const remedy = CONTEXT_REMEDY[engine.name];
  const quiet = engine.name === 'ollama' ? ', and drops the rest of a prompt without a word' : '';
  let length: Context = { given: info.context_length, trained: undefined };
  if (engine.name === 'ollama') {
    const { trained, set } = await ollamaContext(backend, info.id, wait_ms);
    const loaded = info.resident === true;
    length = { given: loaded ? info.context_length : set, trained };
    if (length.given === undefined) {
      const most = trained === undefined ? '' : ` (made for ${trained})`;
      return said.note(
        `not loaded, so what Ollama will give it is not known${most}`,
        `Its default may be 4096. ${remedy}`,
      );
    }
  } else if (engine.name === 'llama.cpp') {
    const listed = await tryInquire(backend, backend.route('models'), wait_ms);
    const trained = /"n_ctx_train"\s*:\s*(\d+)/.exec(listed?.text ?? '')?.[1];
    length = { given: info.context_length, trained: trained === undefined ? undefined : Number(trained) };
  }
  const { given, trained } = length;
  if (given === undefined) return said.note('the engine does not tell its context, so clients must be told by hand');
  const found = `${given} tokens${trained !== undefined && trained > given ? ` of the ${trained} it was made for` : ''}`;
  if (embedding || given >= CONTEXT_SMALL || (trained !== undefined && trained <= given)) return said.ok(found);
  return said.warn(`${found}${quiet}: too few for editors and agents`, remedy);
}

/** What Ollama knows of one model, without loading it. */
async function ollamaContext(
  backend: Backend,
  model: string,
  wait_ms: number,
): Promise<Context & { set: number | undefined }> {
  const told = await tryInquire(backend, backend.at('/api/show'), wait_ms, { model });
  const info = isRecord(told?.json['model_info']) ? told.json['model_info'] : {};
  const trained = Object.entries(info).find(([name]) => name.endsWith('.context_length'))?.[1];
  const parameters = typeof told?.json['parameters'] === 'string' ? told.json['parameters'] : '';
  const set = /^num_ctx\s+(\d+)\s*$/m.exec(parameters)?.[1];
  return {
    given: undefined,
    trained: typeof trained === 'number' ? trained : undefined,
    set: set === undefined ? undefined : Number(set),
  };
}
