// What stands before the slash in LiteLLM's `model:`, as data: which engine that is here, and where LiteLLM looks for it when
// no api_base is given. What is not in this table speaks a dialect of its own (Anthropic, Bedrock, Vertex, …), and Lanyard
// carries OpenAI's to engines.
import type { EngineName } from '../types.ts';

export interface Provider {
  /** `undefined`: whatever answers OpenAI's routes there; its port or `auto` tells. */
  readonly engine: EngineName | undefined;
  /** Variable and address that LiteLLM takes without an api_base, written as ours. `undefined`: it has none. */
  readonly base: string | undefined;
  /** The variable that LiteLLM takes without an api_key, where it belongs to this provider alone. */
  readonly key: string | undefined;
  /** A service, not an engine of one's own. */
  readonly hosted: boolean;
  /** api_base is the server's root, to which LiteLLM adds the engine's own routes. */
  readonly root: boolean;
}

function local(engine: EngineName | undefined, base?: string, key?: string): Provider {
  return {
    engine,
    base,
    key: key === undefined ? undefined : `\${${key}:-}`,
    hosted: false,
    root: engine === 'ollama',
  };
}

function hosted(base: string, key: string): Provider {
  return { engine: 'openai', base, key: `\${${key}}`, hosted: true, root: false };
}

const ollama = local('ollama', '${OLLAMA_API_BASE:-http://localhost:11434}');
const vllm = local('vllm', '${HOSTED_VLLM_API_BASE}', 'HOSTED_VLLM_API_KEY');
const compatible = local(undefined);

export const PROVIDERS: ReadonlyMap<string, Provider> = new Map([
  ['ollama', ollama],
  ['ollama_chat', ollama],
  ['hosted_vllm', vllm],
  ['vllm', vllm],
  ['openai', compatible],
  ['text-completion-openai', compatible],
  ['custom_openai', compatible],
  ['openai_like', compatible],
  ['aiohttp_openai', compatible],
  ['huggingface', compatible], // With an api_base: text-generation-inference, which answers OpenAI's routes under /v1.
  ['oobabooga', compatible],
  ['sglang', compatible],
  ['litellm_proxy', local('openai', '${LITELLM_PROXY_API_BASE}', 'LITELLM_PROXY_API_KEY')],
  ['lm_studio', local('openai', '${LM_STUDIO_API_BASE:-http://localhost:1234/v1}', 'LM_STUDIO_API_KEY')],
  ['llamafile', local(undefined, '${LLAMAFILE_API_BASE:-http://127.0.0.1:8080/v1}', 'LLAMAFILE_API_KEY')],
  ['xinference', local('openai', '${XINFERENCE_API_BASE:-http://127.0.0.1:9997/v1}', 'XINFERENCE_API_KEY')],
  ['infinity', local('openai', '${INFINITY_API_BASE}', 'INFINITY_API_KEY')],
  ['docker_model_runner', local('openai', '${DOCKER_MODEL_RUNNER_API_BASE}', 'DOCKER_MODEL_RUNNER_API_KEY')],
  ['lemonade', local('openai', '${LEMONADE_API_BASE:-http://localhost:8000/api/v1}', 'LEMONADE_API_KEY')],
  // Services that answer OpenAI's routes, at the addresses in their own documents.
  ['groq', hosted('https://api.groq.com/openai/v1', 'GROQ_API_KEY')],
  ['openrouter', hosted('https://openrouter.ai/api/v1', 'OPENROUTER_API_KEY')],
  ['deepseek', hosted('https://api.deepseek.com/v1', 'DEEPSEEK_API_KEY')],
  ['mistral', hosted('https://api.mistral.ai/v1', 'MISTRAL_API_KEY')],
  ['xai', hosted('https://api.x.ai/v1', 'XAI_API_KEY')],
  ['together_ai', hosted('https://api.together.xyz/v1', 'TOGETHERAI_API_KEY')],
]);

/** OpenAI itself: `openai/…` without an api_base, and names that only it has. */
export const OPENAI: Provider = hosted('https://api.openai.com/v1', 'OPENAI_API_KEY');

/** The provider LiteLLM takes for a name without one. */
export function providerOf(name: string): string | undefined {
  return /^(gpt-|chatgpt-|o\d|text-embedding-|davinci|babbage)/.test(name) ? 'openai' : undefined;
}
