// The engines the official SDKs are tried against, and how `lanyard.yaml` names each. What differs between them must not
// be felt by a client, so most tests of this folder are one table over these rows.
import type { EngineKind } from '../engines/engine.ts';
import type { EngineName } from '../../src/types.ts';

interface Row {
  readonly kind: EngineKind;
  readonly engine: EngineName;
  /** What the URL in the configuration carries after host and port. */
  readonly base: string;
}

export const ENGINES: readonly Row[] = [
  { kind: 'ollama', engine: 'ollama', base: '' },
  { kind: 'vllm', engine: 'vllm', base: '' },
  { kind: 'llama.cpp', engine: 'llama.cpp', base: '' },
  { kind: 'openvino', engine: 'openvino', base: '' },
  // Gives floats whatever encoding was asked for (LM Studio bug 756); the SDKs ask for base64.
  { kind: 'lmstudio', engine: 'lmstudio', base: '' },
];
