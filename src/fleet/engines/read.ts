// What engines' own routes say, read where several of them say it alike.
import { isRecord, type Json } from '../../wire/record.ts';
import type { ModelInfo } from './engine.ts';

/**
 * OpenAI's list, with the context length where vLLM and SGLang (`max_model_len`) or llama.cpp tell it: since 2026 what a
 * slot has (`meta.n_ctx`), before that only what the model was made for.
 */
export function readList(body: Json): readonly ModelInfo[] | undefined {
  // `"data": null` is Ollama's and others' way of saying none.
  const data = body['data'] === null && body['object'] === 'list' ? [] : body['data'];
  if (!Array.isArray(data)) return undefined;
  return data.filter(isRecord).flatMap((model) => {
    const { id, max_model_len, meta, architecture, status } = model;
    if (typeof id !== 'string' || id === '') return [];
    const { n_ctx, n_ctx_train } = isRecord(meta) ? meta : {};
    const modalities = isRecord(architecture) ? architecture['input_modalities'] : undefined;
    const vision = Array.isArray(modalities) && modalities.includes('image');
    // llama.cpp's router says of each model whether it is loaded; nobody else has a status there.
    const state = isRecord(status) ? status['value'] : undefined;
    return [
      {
        id,
        context_length: positive(max_model_len) ?? positive(n_ctx) ?? positive(n_ctx_train),
        capabilities: vision ? ['vision'] : [],
        ...(typeof state === 'string' && { resident: state === 'loaded' || state === 'sleeping' }),
      },
    ];
  });
}

/** Figures of Prometheus' text format, each over all its labels, and their sum; `undefined` when none of the names is there. */
export function sum(text: string, figures: readonly string[], label = ''): number | undefined {
  let total: number | undefined;
  for (const line of text.split('\n')) {
    const sample = /^([\w:]+)(\{.*\})? (\S+)$/.exec(line.trimEnd());
    if (sample === null || !figures.includes(sample[1] ?? '') || !(sample[2] ?? '').includes(label)) continue;
    total = (total ?? 0) + Number(sample[3]);
  }
  return total;
}

export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];
}

export function positive(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined;
}
