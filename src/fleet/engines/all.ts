// The engines there are, and how one is told from another.
import type { Engine } from './engine.ts';
import { infinity } from './infinity.ts';
import { llamaCpp } from './llamacpp.ts';
import { lmstudio } from './lmstudio.ts';
import { ollama } from './ollama.ts';
import { openai } from './openai.ts';
import { openvino } from './openvino.ts';
import { sglang } from './sglang.ts';
import { tei } from './tei.ts';
import { tokenExchange } from './token-exchange.ts';
import { vllm } from './vllm.ts';

export const ENGINES: Readonly<Record<Engine['name'], Engine>> = {
  ollama,
  vllm,
  'llama.cpp': llamaCpp,
  lmstudio,
  sglang,
  openvino,
  tei,
  infinity,
  openai,
  'token-exchange': tokenExchange,
};

/** The order in which `auto` asks a server what it is: the commonest first, and the last is what remains. */
export const SIGNS: readonly Engine[] = [ollama, llamaCpp, vllm, lmstudio, sglang, openvino, tei, infinity, openai];
