// Questions the doctor asks of engines beyond what a probe does, and what it advises. None of them infers or loads a model.
import type { Backend } from '../fleet/backend.ts';
import type { Engine } from '../fleet/engines/engine.ts';
import { readAll } from '../fleet/http.ts';
import { parseRecord, type Json } from '../wire/record.ts';

export interface Answer {
  readonly status: number;
  readonly text: string;
  /** Of a JSON object; empty for anything else. */
  readonly json: Json;
  /** The server's clock, where it tells. */
  readonly date: number | undefined;
}

const BYTES_MAX = 4 << 20;

/** Where the context a request has is set. */
export const CONTEXT_REMEDY: Readonly<Record<Engine['name'], string>> = {
  ollama:
    'Set OLLAMA_CONTEXT_LENGTH=32768 (or more) where Ollama runs, or `num_ctx` of the deployment; it takes memory.',
  vllm: 'Raise --max-model-len.',
  'llama.cpp': 'Raise --ctx-size: it is divided by the slots (--parallel), and each request has one part.',
  lmstudio: 'Load the model with a longer context (its settings, or `lms load --context-length`).',
  sglang: 'Raise --context-length.',
  openvino: 'Raise max_num_batched_tokens and cache_size of its graph, or take a model made for more.',
  tei: 'Take a model made for more, or let clients send shorter pieces.',
  infinity: 'Take a model made for more, or let clients send shorter pieces.',
  openai: 'Load the model with a longer context.',
  'token-exchange': 'Ask its operator.',
};

/** One question; rejects with HttpFault. */
export async function inquire(backend: Backend, path: string, wait_ms: number, body?: Json): Promise<Answer> {
  const answer = await backend.send(
    {
      method: body === undefined ? 'GET' : 'POST',
      path,
      headers: {
        accept: '*/*',
        'accept-encoding': 'identity',
        'content-type': 'application/json',
        'user-agent': 'lanyard-doctor',
      },
      body: body === undefined ? undefined : [Buffer.from(JSON.stringify(body))],
    },
    { connect_ms: wait_ms, first_byte_ms: wait_ms, idle_ms: wait_ms },
    AbortSignal.timeout(Math.ceil(wait_ms)),
  );
  const text = (await readAll(answer, BYTES_MAX, wait_ms)).toString('utf8');
  const date = Date.parse(answer.headers.get('date') ?? '');
  return { status: answer.status, text, json: parseRecord(text) ?? {}, date: Number.isNaN(date) ? undefined : date };
}

/** The same where no answer is an answer: `undefined`. */
export async function tryInquire(
  backend: Backend,
  path: string,
  wait_ms: number,
  body?: Json,
): Promise<Answer | undefined> {
  try {
    const answer = await inquire(backend, path, wait_ms, body);
    return answer.status === 200 ? answer : undefined;
  } catch {
    return undefined;
  }
}

/** Requests it works on now; `undefined` where it does not tell. */
export async function runningOn(backend: Backend, wait_ms: number): Promise<number | undefined> {
  for (const one of backend.engine.figures) {
    const answer = await tryInquire(backend, backend.at(one.path), wait_ms);
    const figure = answer && one.read(answer.text);
    if (figure !== undefined) return figure;
  }
  return undefined;
}
