// Gateways that npm cannot bring: a manifest each, from its own documentation. One that is on PATH is measured, one that is
// not is left out with a line. None of them was at hand where this was written, so a manifest may want a correction.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../test/stage/ports.ts';
import { findProgram, startProgram } from '../../test/stage/program.ts';
import { GATEWAY_CORE, pin } from '../machine.ts';
import { ENGINE_MODEL, KEY, MODEL, programIsHere, type Gateway } from './gateway.ts';

interface Manifest {
  readonly name: string;
  readonly program: string;
  readonly version: readonly string[];
  /** Its configuration, in a file of this name in a folder of its own. */
  readonly file: string;
  readonly config: (engine: string, port: number) => string;
  readonly args: (file: string, port: number) => readonly string[];
  readonly base: string;
  /** The model as its callers name it. */
  readonly model: string;
}

const MANIFESTS: readonly Manifest[] = [
  {
    // docs.litellm.ai, "Proxy: config.yaml"
    name: 'litellm',
    program: 'litellm',
    version: ['--version'],
    file: 'config.yaml',
    config: (engine) => `model_list:
  - model_name: ${MODEL}
    litellm_params: { model: openai/${ENGINE_MODEL}, api_base: "${engine}/v1", api_key: none }
general_settings: { master_key: ${KEY} }
`,
    args: (file, port) => ['--config', file, '--host', '127.0.0.1', '--port', String(port), '--num_workers', '1'],
    base: '/v1',
    model: MODEL,
  },
  {
    // docs.getbifrost.ai, "Setting up the gateway" and "Custom providers"
    name: 'bifrost',
    program: 'bifrost-http',
    version: ['-version'],
    file: 'config.json',
    config: (engine) =>
      JSON.stringify({
        providers: {
          openai: {
            keys: [{ value: KEY, models: [ENGINE_MODEL], weight: 1 }],
            network_config: { base_url: engine },
          },
        },
      }),
    args: (file, port) => ['-app-dir', join(file, '..'), '-host', '127.0.0.1', '-port', String(port)],
    base: '/v1',
    model: `openai/${ENGINE_MODEL}`,
  },
  {
    // github.com/thushan/olla, docs/content/configuration
    name: 'olla',
    program: 'olla',
    version: ['--version'],
    file: 'config.yaml',
    config: (engine, port) => `server: { host: 127.0.0.1, port: ${port} }
proxy: { engine: olla }
discovery:
  type: static
  static: { endpoints: [{ url: "${engine}", name: mock, type: openai, priority: 100, health_check_url: /v1/models }] }
`,
    args: (file) => ['--config', file],
    base: '/olla/openai/v1',
    model: ENGINE_MODEL,
  },
];

export const others: readonly Gateway[] = MANIFESTS.map((manifest) => ({
  name: manifest.name,
  model: manifest.model,
  look() {
    const { name, program, version } = manifest;
    if (!programIsHere(program)) return { missing: `${name}: no ${program} on PATH` };
    const { stdout, stderr } = spawnSync(findProgram(program), version, { encoding: 'utf8', timeout: 30_000 });
    return { version: /\d+\.\d+[\w.-]*/.exec(`${stdout} ${stderr}`)?.[0] ?? 'unknown' };
  },
  async start(engine) {
    const port = await freePort();
    const dir = mkdtempSync(join(tmpdir(), `lanyard-bench-${manifest.name}-`));
    const file = join(dir, manifest.file);
    writeFileSync(file, manifest.config(engine, port));
    const url = `http://127.0.0.1:${port}`;
    const program = await startProgram(findProgram(manifest.program), manifest.args(file, port), () =>
      fetch(url).then(
        () => true,
        () => false,
      ),
    );
    pin(program.pid, GATEWAY_CORE);
    return {
      url,
      base: `${url}${manifest.base}`,
      headers: { authorization: `Bearer ${KEY}` },
      pid: program.pid,
      async stop() {
        await program.end('SIGKILL');
        rmSync(dir, { recursive: true, force: true });
      },
    };
  },
}));
