// With no backends configured: looks for engines on this machine's usual ports, and no further.
import { Backend } from './backend.ts';
import { ENGINES } from './engines/all.ts';
import { probe } from './probe.ts';
import type { BackendConfig } from '../types.ts';

/** Where engines usually listen, all on this machine. */
export const USUAL_PORTS: readonly number[] = [...new Set(Object.values(ENGINES).flatMap((engine) => engine.ports))];

const CONNECT_MS = 500;

/**
 * The engines that answer with a valid model list, by a name made of the engine's kind and, from the second on, the
 * port. Another Lanyard is not an engine: 8080 may well be our own nginx.
 */
export async function discover(ports: readonly number[]): Promise<Map<string, BackendConfig>> {
  const found = await Promise.all(ports.map((port) => look(port)));
  const backends = new Map<string, BackendConfig>();
  for (const one of found) {
    if (one === undefined) continue;
    const name = backends.has(one.engine) ? `${one.engine}-${one.port}` : one.engine;
    backends.set(name, one.config);
  }
  return backends;
}

async function look(port: number): Promise<{ engine: string; port: number; config: BackendConfig } | undefined> {
  const config: BackendConfig = {
    engine: 'auto',
    url: `http://127.0.0.1:${port}`,
    key: undefined,
    slots: undefined,
    publish: [],
  };
  const candidate = new Backend(`port ${port}`, config, CONNECT_MS);
  try {
    const news = await probe(candidate);
    if (!('models' in news) || news.lanyard || news.models.size === 0) return undefined;
    return { engine: news.engine.name, port, config: { ...config, engine: news.engine.name } };
  } finally {
    await candidate.destroy();
  }
}
