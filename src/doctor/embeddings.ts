// How many inputs an embeddings request may have: found by sending some, where the engine does not tell. Only with --deep.
import { ofBatch, type Patient } from './backends.ts';
import { inquire } from './engines.ts';
import { about, type Finding } from './finding.ts';
import { HttpFault } from '../fleet/fault.ts';

/** From what OpenAI takes down to what text-embeddings-inference takes unless told otherwise. */
const SIZES = [2048, 1024, 512, 256, 128, 64, 32, 1];
const WAIT_MS = 15_000;

export async function embeddings({ backend, ready }: Patient): Promise<Finding[]> {
  const model = ready.find(({ embeds }) => embeds);
  if (model === undefined) return [];
  const said = about('backend.embeddings', backend.name);
  let last = 0;
  for (const size of SIZES) {
    const input = Array.from({ length: size }, () => 'a');
    try {
      const { status } = await inquire(backend, backend.route('embeddings'), WAIT_MS, { model: model.name, input });
      if (status === 200) return [ofBatch(backend.name, size)];
      last = status;
    } catch (error) {
      if (!(error instanceof HttpFault)) throw error;
      if (error.kind === 'aborted' || error.kind === 'timeout') {
        const found = `${model.name} takes longer than ${WAIT_MS / 1000} s for ${size} one-word inputs`;
        return [said.note(found, 'Let clients send fewer inputs a request, or run it on a GPU.')];
      }
      return [said.fail(`${model.name} breaks off at ${size} inputs (${error.kind})`, 'Its log says why.')];
    }
  }
  return [
    said.fail(
      `${model.name} refuses even one input (status ${last})`,
      'Ask the engine itself with curl; its log says more.',
    ),
  ];
}
