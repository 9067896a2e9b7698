// Where the pages' commands run: a folder like the clone (its own configuration and `.env`, the project's other files), the
// real gateway in it, fake engines under the pages' addresses, and the project's nginx.conf in front.
//
// Where they say `npx lanyard`, it is this program. The pages name `http://localhost:4000`, `http://192.168.1.20:8080` and `https://lanyard.example.com`. curl is led from there
// to the stage's ports by a `.curlrc`, so that its commands run to the letter; in other programs the text is replaced.
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { startEngine } from '../engines/engine.ts';
import { openFront } from '../stage/front.ts';
import { KEY } from '../stage/gateway.ts';
import { newDir, startLanyard } from '../stage/lanyard.ts';
import { freePort } from '../stage/ports.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export const LOCAL = 'http://localhost:4000';
export const LAN = 'http://192.168.1.20:8080';
export const NET = 'https://lanyard.example.com';

export interface Stage {
  /** The clone, as the reader sees it. */
  readonly dir: string;
  /** The gateway's own address. */
  readonly url: string;
  readonly env: Readonly<Record<string, string>>;
  /** The text with the pages' addresses replaced by the stage's. */
  here(text: string): string;
}

/** The pages' own example team: what they name is published there. */
export const TEAM = readFileSync(join(ROOT, 'config/examples/lan-team.yaml'), 'utf8');

export async function openStage(): Promise<Stage> {
  const desk = await startEngine({
    kind: 'ollama',
    models: [
      'deepseek-coder-v2:16b',
      'qwen2.5-coder:14b',
      'qwen2.5-coder:1.5b-base',
      'mistral:7b',
      { name: 'nomic-embed-text', embeds: true },
    ],
  });
  const rack = await startEngine({ kind: 'vllm', models: ['deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct'] });
  onTestFinished(async () => void (await Promise.all([desk.stop(), rack.stop()])));

  const dir = newDir();
  for (const name of ['deploy', 'config', 'nginx.conf', 'docker-compose.yml', '.env.example']) {
    cpSync(join(ROOT, name), join(dir, name), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(dir, 'node_modules'));

  const port = await freePort();
  const engines = TEAM.replaceAll('http://10.0.0.11:11434', desk.url).replaceAll('http://10.0.0.12:8000', rack.url);
  // As docs/BATCHES.md has its reader add.
  const team = `batch: { disk_free_bytes_min: 1 }\ncache: {}\n${engines}`;
  const gateway = await startLanyard({ dir, yaml: team, dotenv: `LITELLM_MASTER_KEY=${KEY}\nPORT=${port}\n` });
  const front = await openFront('ip: off', [['proxy_pass http://gateway;', `proxy_pass http://127.0.0.1:${port};`]]);
  const ports = { lan: new URL(front.lan).port, tls: new URL(front.tls).port, plain: new URL(front.plain).port };

  const bin = join(dir, 'bin');
  mkdirSync(bin);
  // The doctor is led to the stage's nginx as curl is.
  const npx = `#!/bin/sh
[ "$1" = lanyard ] || { echo "npx: $1?" >&2; exit 64; }
shift
for one in "$@"; do
  case $one in ${LAN}) one=${front.lan} ;; ${NET}) one=${front.tls} ;; esac
  set -- "$@" "$one"
  shift
done
exec '${process.execPath}' '${join(ROOT, 'src/main.ts')}' "$@"
`;
  writeFileSync(join(bin, 'npx'), npx, { mode: 0o755 });
  const ways = [
    ['localhost:4000', port],
    ['127.0.0.1:4000', port],
    ['192.168.1.20:8080', ports.lan],
    ['lanyard.example.com:443', ports.tls],
    ['lanyard.example.com:80', ports.plain],
    ['10.0.0.11:11434', desk.port],
    ['10.0.0.12:8000', rack.port],
  ];
  writeFileSync(join(dir, '.curlrc'), ways.map(([from, to]) => `connect-to = "${from}:127.0.0.1:${to}"\n`).join(''));
  // What `certs.sh` puts into /etc/lanyard/certs, for `--cacert ca.pem`.
  writeFileSync(join(dir, 'ca.pem'), front.ca);
  return {
    dir,
    url: gateway.url,
    env: {
      PATH: `${bin}:${join(ROOT, '.cache/python/bin')}:${process.env['PATH'] ?? ''}`,
      HOME: dir,
      LANYARD_KEY: KEY,
      LANYARD_URL: gateway.url,
      LANG: 'C.UTF-8',
      NODE_EXTRA_CA_CERTS: join(dir, 'ca.pem'),
    },
    here: (text) => text.replaceAll(LOCAL, gateway.url).replaceAll(LAN, front.lan).replaceAll(NET, front.tls),
  };
}
