// The engines there are, and the models each serves when a test names none.
import type { EngineKind, Shape } from './shapes/shape.ts';
import { infinity } from './shapes/infinity.ts';
import { llamacpp } from './shapes/llamacpp.ts';
import { lmstudio } from './shapes/lmstudio.ts';
import { ollama } from './shapes/ollama.ts';
import { openai } from './shapes/openai.ts';
import { openvino } from './shapes/openvino.ts';
import { sglang } from './shapes/sglang.ts';
import { tei } from './shapes/tei.ts';
import { vllm } from './shapes/vllm.ts';

export const KINDS = {
  ollama,
  vllm,
  'llama.cpp': llamacpp,
  openvino,
  lmstudio,
  sglang,
  tei,
  infinity,
  openai,
} as const satisfies {
  [Kind in EngineKind]: Shape & { kind: Kind };
};

/** For tables over every kind that talks; the others embed. */
export const ENGINE_KINDS = (Object.keys(KINDS) as EngineKind[]).filter((kind) => KINDS[kind].talks);

export const MODELS_DEFAULT = {
  ollama: 'qwen2.5-coder:14b',
  vllm: 'deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct',
  'llama.cpp': 'qwen2.5-coder-7b-instruct',
  openvino: 'OpenVINO/Qwen3-8B-int4-ov',
  lmstudio: 'qwen2.5-coder-14b-instruct',
  sglang: 'meta-llama/Llama-3.1-8B-Instruct',
  tei: 'BAAI/bge-base-en-v1.5',
  infinity: 'BAAI/bge-small-en-v1.5',
  openai: 'gpt-fake',
} as const satisfies { [Kind in EngineKind]: string };

export function is_kind(name: string): name is EngineKind {
  return Object.hasOwn(KINDS, name);
}
