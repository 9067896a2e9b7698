// What only the doctor asks of each kind of engine, as data: how much is running, what is loaded, how long a context it gives.
// None of these questions infers or loads a model.
import type { Backend } from '../fleet/backend.ts';
import { isJson, type Engine, type Json } from '../fleet/engines.ts';
import { readAll } from '../fleet/http.ts';

export interface Answer {
  readonly status: number;
  readonly text: string;
  /** Of a JSON object; empty for anything else. */
  readonly json: Json;
  /** The server's clock, where it tells. */
  readonly date: number | undefined;
}

interface Questions {
  /** Requests it works on now, waiting ones too. Tried in order; the first that tells counts. */
  readonly running: readonly { readonly path: string; readonly read: (answer: Answer) => number | undefined }[];
  /** The models in memory; `undefined`: whatever is served. */
  readonly resident: { readonly path: string; read(json: Json): readonly string[] | undefined } | undefined;
  /** Requests at once, where it tells. */
  readonly slots: { readonly path: string; read(json: Json): number | undefined } | undefined;
  /** How many inputs an embeddings request may have, where it tells. */
  readonly batch: { readonly path: string; read(json: Json): number | undefined } | undefined;
  /** Where the context a request has is set. */
  readonly context_remedy: string;
}

const BYTES_MAX = 4 << 20;

const NOTHING = { running: [], resident: undefined, slots: undefined, batch: undefined } as const;

export const QUESTIONS: Readonly<Record<Engine['name'], Questions>> = {
  ollama: {
    // It has no figure for what is running (checked to v0.24): see cancellation.ts.
    ...NOTHING,
    resident: { path: '/api/ps', read: ({ models }) => names(models, 'model') ?? names(models, 'name') },
    context_remedy:
      'Set OLLAMA_CONTEXT_LENGTH=32768 (or more) where Ollama runs, or `PARAMETER num_ctx` in a Modelfile; it takes memory.',
  },
  vllm: {
    ...NOTHING,
    running: [
      { path: '/metrics', read: ({ text }) => sum(text, ['vllm:num_requests_running', 'vllm:num_requests_waiting']) },
    ],
    context_remedy: 'Raise --max-model-len.',
  },
  'llama.cpp': {
    ...NOTHING,
    running: [
      { path: '/slots', read: ({ text }) => busySlots(text) },
      {
        path: '/metrics',
        read: ({ text }) => sum(text, ['llamacpp:requests_processing', 'llamacpp:requests_deferred']),
      },
    ],
    // A router of many models says of each whether it is loaded; a server of one has no status.
    resident: {
      path: '/models',
      read: ({ data }) =>
        Array.isArray(data) && data.some((one) => isJson(one) && isJson(one['status']))
          ? names(
              data.filter((one) => isJson(one) && isJson(one['status']) && one['status']['value'] === 'loaded'),
              'id',
            )
          : undefined,
    },
    slots: { path: '/props', read: ({ total_slots }) => (typeof total_slots === 'number' ? total_slots : undefined) },
    context_remedy: 'Raise --ctx-size: it is divided by the slots (--parallel), and each request has one part.',
  },
  openai: {
    running: [
      { path: '/metrics', read: ({ text }) => sum(text, ['sglang:num_running_reqs', 'sglang:num_queue_reqs']) },
      { path: '/metrics', read: ({ text }) => sum(text, ['ovms_current_requests']) },
    ],
    // LM Studio loads what is asked for, so it must be known what it has loaded.
    resident: {
      path: '/api/v0/models',
      read: ({ data }) =>
        Array.isArray(data) && data.some((one) => isJson(one) && typeof one['state'] === 'string')
          ? names(
              data.filter((one) => isJson(one) && one['state'] === 'loaded'),
              'id',
            )
          : undefined,
    },
    slots: undefined,
    // text-embeddings-inference: 32 unless told otherwise.
    batch: { path: '/info', read: ({ max_client_batch_size: most }) => (typeof most === 'number' ? most : undefined) },
    context_remedy: 'Load the model with a longer context.',
  },
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
  return { status: answer.status, text, json: parsed(text), date: Number.isNaN(date) ? undefined : date };
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
  for (const { path, read } of QUESTIONS[backend.engine.name].running) {
    const answer = await tryInquire(backend, backend.at(path), wait_ms);
    const figure = answer && read(answer);
    if (figure !== undefined) return figure;
  }
  return undefined;
}

/** Whether asking for this model would load nothing; `undefined` where that is not known of any. */
export async function residentOn(backend: Backend, wait_ms: number): Promise<readonly string[] | undefined> {
  const { resident } = QUESTIONS[backend.engine.name];
  if (resident === undefined) return undefined;
  const answer = await tryInquire(backend, backend.at(resident.path), wait_ms);
  return answer && resident.read(answer.json);
}

/** A figure of Prometheus' text format, over all its labels; `undefined` when none of the names is there. */
export function sum(text: string, figures: readonly string[], label = ''): number | undefined {
  let total: number | undefined;
  for (const line of text.split('\n')) {
    const sample = /^([\w:]+)(\{.*\})? (\S+)$/.exec(line.trimEnd());
    if (sample === null || !figures.includes(sample[1] ?? '') || !(sample[2] ?? '').includes(label)) continue;
    total = (total ?? 0) + Number(sample[3]);
  }
  return total;
}

function busySlots(text: string): number | undefined {
  try {
    const slots: unknown = JSON.parse(text);
    return Array.isArray(slots)
      ? slots.filter((slot) => isJson(slot) && slot['is_processing'] === true).length
      : undefined;
  } catch {
    return undefined;
  }
}

function parsed(text: string): Json {
  try {
    const value: unknown = JSON.parse(text);
    return isJson(value) ? value : {};
  } catch {
    return {};
  }
}

function names(list: unknown, field: string): readonly string[] | undefined {
  if (!Array.isArray(list)) return undefined;
  const found = list.flatMap((one) => (isJson(one) && typeof one[field] === 'string' ? [one[field]] : []));
  return found.length === 0 && list.length > 0 ? undefined : found;
}
