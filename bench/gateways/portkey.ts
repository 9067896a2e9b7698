// The rival that runs from npm (`npm ci --prefix bench`): it has no keys, limits or log of its own, and is told by headers
// where to send what. package.json holds its server back: with a newer one than @hono/node-server 1.14.1 every stream is
// answered 500, "immutable" (Portkey-AI/gateway issue 1389).
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/stage/ports.ts';
import { startProgram } from '../../test/stage/program.ts';
import { GATEWAY_CORE, pin } from '../machine.ts';
import { KEY, type Gateway } from './gateway.ts';

const PACKAGE = fileURLToPath(new URL('../node_modules/@portkey-ai/gateway/', import.meta.url));

export const portkey: Gateway = {
  name: 'portkey',
  look() {
    if (!existsSync(PACKAGE)) return { missing: '@portkey-ai/gateway is not installed (npm ci --prefix bench)' };
    return {
      version: String((JSON.parse(readFileSync(`${PACKAGE}package.json`, 'utf8')) as { version: unknown }).version),
    };
  },
  async start(engine, { imports = [] } = {}) {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const modules = imports.flatMap((file) => ['--import', file]);
    const args = [...modules, `${PACKAGE}build/start-server.js`, `--port=${port}`, '--headless'];
    const program = await startProgram(process.execPath, args, async () => (await answers(url)) === 200);
    pin(program.pid, GATEWAY_CORE);
    return {
      url,
      base: `${url}/v1`,
      headers: {
        authorization: `Bearer ${KEY}`,
        'x-portkey-provider': 'openai',
        'x-portkey-custom-host': `${engine}/v1`,
      },
      pid: program.pid,
      stop: () => program.end('SIGKILL'),
    };
  },
};

async function answers(url: string): Promise<number> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(1_000) });
    await response.arrayBuffer();
    return response.status;
  } catch {
    return 0;
  }
}
