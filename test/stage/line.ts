// One fake engine behind one gateway, as the backend `rack` of the public model `coder`; both end with the test.
import { onTestFinished } from 'vitest';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { MODELS_DEFAULT } from '../engines/kinds.ts';
import type { EngineOptions } from '../engines/state.ts';
import type { Probing } from '../../src/fleet/fleet.ts';
import { openGateway, type Stage } from './gateway.ts';

interface Line {
  readonly engine: FakeEngine;
  readonly gateway: Stage;
  /** The engine's own name for `coder`. */
  readonly model: string;
  /** A chat in the caller's words, streamed unless `more` says otherwise. */
  readonly chat: (more?: object) => object;
}

interface Options extends Partial<EngineOptions> {
  /** The limit by address, as flow YAML; `off` unless given. */
  readonly ip?: string;
  /** More sections of the gateway's configuration: `auth:`, `redis:`, `cors:`, … */
  readonly yaml?: string;
  /** What `listen` says. */
  readonly listen?: string;
  /** The gateway's limits, as flow YAML without braces: `idle_ms: 50ms, queue_length: 2`. Without `ip`, that one is off. */
  readonly limits?: string;
  /** More of the backend in the gateway's configuration: `slots: 1, key: "…"`. */
  readonly backend?: string;
  /** How long small embeddings calls wait for others. */
  readonly window_ms?: number;
  readonly probing?: Partial<Probing>;
}

export async function openLine(options: Options = {}): Promise<Line> {
  const {
    kind = 'vllm',
    ip = 'off',
    limits,
    backend,
    yaml = '',
    listen,
    window_ms,
    probing,
    ...engine_options
  } = options;
  const engine = await startEngine({ kind, ...engine_options });
  onTestFinished(() => engine.stop());
  const model = MODELS_DEFAULT[kind];
  const gateway = await openGateway(
    `
limits: { ip: ${ip}${limits === undefined ? '' : `, ${limits}`} }
backends:
  rack: { engine: ${kind}, url: "${engine.url}"${backend === undefined ? '' : `, ${backend}`} }
models:
  coder: ["rack/${model}"]
${yaml}
`,
    {
      ...(listen !== undefined && { listen }),
      ...(window_ms !== undefined && { window_ms }),
      ...(probing !== undefined && { probing }),
    },
  );
  return {
    engine,
    gateway,
    model,
    chat: (more = {}) => ({ model: 'coder', messages: [{ role: 'user', content: 'Hi' }], stream: true, ...more }),
  };
}
