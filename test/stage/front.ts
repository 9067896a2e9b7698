// The nginx.conf at the top of the repository, run by a real nginx: the very file, with only its ports, its folders and the
// gateways' addresses replaced, in front of a gateway and a fake engine.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { openGateway, type Stage } from './gateway.ts';
import { startNginx, type NginxServer } from './nginx.ts';
import { freePort } from './ports.ts';

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
export const CONF = readFileSync(path('nginx.conf'), 'utf8');

const HAS_IPV6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));

export interface Front {
  readonly engine: FakeEngine;
  readonly gateway: Stage;
  /** http://127.0.0.1:port of the LAN's port. */
  readonly lan: string;
  readonly tls: string;
  readonly plain: string;
  /** The certificate, as a client must be told of it. */
  readonly ca: Buffer;
  readonly nginx: NginxServer;
}

/** `limits` is the gateway's; `change` is made to the configuration's text, and must change something. */
export async function openFront(
  limits = 'ip: off',
  change: readonly [from: string, to: string][] = [],
): Promise<Front> {
  const engine = await startEngine({ kind: 'vllm', models: ['there'] });
  onTestFinished(() => engine.stop());
  const gateway = await openGateway(`
limits: { ${limits}, trusted_proxies: [127.0.0.1] }
backends:
  rack: { engine: vllm, url: "${engine.url}" }
models:
  coder: [rack/there]
  team/coder:7b: [rack/there]
`);
  const ports = { 80: await freePort(), 443: await freePort(), 8080: await freePort() };
  let ca = Buffer.alloc(0);
  const nginx = await startNginx((folder) => {
    execFileSync('sh', [path('deploy/self-signed.sh'), `${folder}/certs`, 'localhost', '127.0.0.1'], { stdio: 'pipe' });
    ca = readFileSync(`${folder}/certs/fullchain.pem`);
    let conf = CONF;
    const put = (from: string, to: string): void => {
      if (!conf.includes(from)) throw new Error(`nginx.conf has no "${from}"`);
      conf = conf.replaceAll(from, to);
    };
    for (const [from, to] of Object.entries(ports)) {
      put(`listen ${from} `, `listen 127.0.0.1:${to} `);
      if (HAS_IPV6) put(`listen [::]:${from} `, `listen [::1]:${to} `);
      else conf = conf.replaceAll(new RegExp(`^ *listen \\[::\\]:${from} .*$`, 'gm'), '');
    }
    put('server 127.0.0.1:4000 ', `server 127.0.0.1:${gateway.port} `);
    put('/etc/lanyard/certs', `${folder}/certs`);
    put('/var/log/nginx', folder);
    put('/var/www/acme', folder);
    for (const [from, to] of change) put(from, to);
    return conf;
  });
  onTestFinished(() => nginx.stop());
  return {
    engine,
    gateway,
    lan: `http://127.0.0.1:${ports[8080]}`,
    tls: `https://localhost:${ports[443]}`,
    plain: `http://127.0.0.1:${ports[80]}`,
    ca,
    nginx,
  };
}
