// What an engine says beside plain text, each in its own way: the tools it calls when it is given any, and what it thinks when
// it is asked to. From openai/openai.go (Ollama), vLLM's and SGLang's serving_chat.py, llama.cpp's server (2026), LM Studio's
// documents: Ollama has every call at index 0, whole; SGLang repeats `id` and `name` as null; who thinks calls it differently.
import type { Ask } from './answers.ts';
import type { EngineKind } from './shapes/shape.ts';

export interface Called {
  readonly name: string;
  readonly arguments: string;
}

export const CALLS: readonly Called[] = [
  { name: 'look', arguments: '{"where":"there"}' },
  { name: 'look', arguments: '{"where":"über 世界"}' },
];
export const THOUGHTS: readonly string[] = ['Hm', ', so ', 'be it'];

/** The tools it calls: both, where it is given any, not told to leave them, and has not had their answers. */
export function calls_of({ endpoint, body }: Ask): readonly Called[] {
  const given = endpoint === 'chat/completions' && Array.isArray(body['tools']) && body['tools'].length > 0;
  const messages = Array.isArray(body['messages']) ? (body['messages'] as { role?: string }[]) : [];
  const answered = messages.some(({ role }) => role === 'tool');
  return given && !answered && body['tool_choice'] !== 'none' ? CALLS : [];
}

export function thoughts_of({ endpoint, body }: Ask, kind: EngineKind): readonly string[] {
  const asked = endpoint === 'chat/completions' && (body['reasoning_effort'] ?? body['think']) !== undefined;
  return asked && THINKS[kind] !== undefined ? THOUGHTS : [];
}

/** How each names its thoughts. */
const THINKS: Partial<Record<EngineKind, 'reasoning' | 'reasoning_content'>> = {
  ollama: 'reasoning',
  vllm: 'reasoning',
  'llama.cpp': 'reasoning_content',
  lmstudio: 'reasoning_content',
  sglang: 'reasoning_content',
};

export function thought(kind: EngineKind, text: string): object {
  return { [THINKS[kind] ?? 'reasoning']: text };
}

/** The deltas in which one call is streamed. */
export function pieces(kind: EngineKind, called: Called, at: number): object[] {
  const id = `call_${kind}_${at}`;
  const half = Math.floor(called.arguments.length / 2);
  const parts = [called.arguments.slice(0, half), called.arguments.slice(half)];
  if (kind === 'ollama') {
    return [{ tool_calls: [{ id, index: 0, type: 'function', function: { ...called } }] }];
  }
  const first = { index: at, id, type: 'function', function: { name: called.name, arguments: '' } };
  const more = parts.map((text) =>
    kind === 'sglang'
      ? { index: at, id: null, type: 'function', function: { name: null, arguments: text } }
      : { index: at, function: { arguments: text } },
  );
  return [first, ...more].map((call) => ({ tool_calls: [call] }));
}

/** The calls of an answer that is no stream. */
export function whole_calls(kind: EngineKind, calls: readonly Called[]): object[] {
  return calls.map((called, at) => ({
    ...(kind === 'ollama' ? { index: 0 } : {}),
    id: `call_${kind}_${at}`,
    type: 'function',
    function: { ...called },
  }));
}

/** The same chunk with another delta, or the same answer with another message. */
export function with_delta(chunk: object, delta: object): object {
  const { choices, message } = chunk as { choices?: object[]; message?: object };
  // Ollama's own form.
  if (choices === undefined) return { ...chunk, message: { ...message, ...native(delta) } };
  return {
    ...chunk,
    choices: choices.map((choice) => {
      const said = choice as { delta?: object; message?: object };
      return said.message === undefined ? { ...choice, delta } : { ...choice, message: { ...said.message, ...delta } };
    }),
  };
}

function native(delta: object): object {
  const { tool_calls, reasoning, ...said } = delta as { tool_calls?: { function: Called }[]; reasoning?: string };
  return {
    ...said,
    ...(reasoning !== undefined && { thinking: reasoning }),
    ...(tool_calls !== undefined && {
      tool_calls: tool_calls.map(({ function: { name, arguments: given } }) => ({
        function: { name, arguments: JSON.parse(given) as unknown },
      })),
    }),
  };
}
