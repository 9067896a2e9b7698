// The nginx.conf at the top of the repository, run by a real nginx: the very file, with only its ports, its folders, its names
// and the gateways' addresses replaced, in front of gateways and a fake engine. The certificates are those of deploy/certs.sh.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { openGateway, type Stage } from './gateway.ts';
import { startNginx, type NginxServer } from './nginx.ts';
import { freePort } from './ports.ts';

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const CONF = readFileSync(path('nginx.conf'), 'utf8');

const HAS_IPV6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));

export interface Front {
  readonly engine: FakeEngine;
  /** The first of them. */
  readonly gateway: Stage;
  readonly gateways: readonly Stage[];
  /** http://127.0.0.1:port of the LAN's port. */
  readonly lan: string;
  /** https://localhost:port; 127.0.0.1 and lanyard.example.com are known names too. */
  readonly tls: string;
  readonly plain: string;
  /** The private authority's certificate, as a client must be told of it, and the file it is in. */
  readonly ca: Buffer;
  readonly ca_file: string;
  readonly nginx: NginxServer;
}

interface Options {
  /** Two share the Redis at this URL, as nginx.conf and config/examples/two-gateways.yaml say. */
  readonly two_on?: string;
  /** More of the gateway's configuration. */
  readonly more?: string;
}

/** `limits` is the gateway's; `change` is made to the configuration's text, and must change something. */
export async function openFront(
  limits = 'ip: off',
  change: readonly [from: string, to: string][] = [],
  { two_on, more = '' }: Options = {},
): Promise<Front> {
  const engine = await startEngine({ kind: 'vllm', models: ['there'] });
  onTestFinished(() => engine.stop());
  const yaml = `
limits: { ${limits}, trusted_proxies: [127.0.0.1] }
${two_on === undefined ? '' : `redis: { url: "${two_on}", gateways: 2 }`}
backends:
  rack: { engine: vllm, url: "${engine.url}" }
models:
  coder: [rack/there]
  team/coder:7b: [rack/there]
${more}`;
  const gateway = await openGateway(yaml);
  const second = two_on === undefined ? undefined : await openGateway(yaml);
  const ports = { 80: await freePort(), 443: await freePort(), 8080: await freePort() };
  const nginx = await startNginx((folder) => {
    cpSync(certificates(), `${folder}/certs`, { recursive: true });
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
    put('server_name lanyard.example.com;', 'server_name lanyard.example.com localhost 127.0.0.1;');
    if (second !== undefined) {
      put('server 127.0.0.1:4000 max_fails=0;', 'server 127.0.0.1:4000;');
      put('# server 127.0.0.1:4001;', `server 127.0.0.1:${second.port};`);
    }
    put('server 127.0.0.1:4000', `server 127.0.0.1:${gateway.port}`);
    put('/etc/lanyard/certs', `${folder}/certs`);
    put('/var/log/nginx', folder);
    put('/var/www/acme', folder);
    for (const [from, to] of change) put(from, to);
    return conf;
  });
  onTestFinished(() => nginx.stop());
  const ca_file = `${nginx.folder}/certs/ca.pem`;
  return {
    engine,
    gateway,
    gateways: second === undefined ? [gateway] : [gateway, second],
    lan: `http://127.0.0.1:${ports[8080]}`,
    tls: `https://localhost:${ports[443]}`,
    plain: `http://127.0.0.1:${ports[80]}`,
    ca: readFileSync(ca_file),
    ca_file,
    nginx,
  };
}

let made: string | undefined;

/** A folder of certificates, made once for all tests of a file. */
function certificates(): string {
  if (made !== undefined) return made;
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-certs-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const args = [path('deploy/certs.sh'), folder, 'lanyard.example.com', 'localhost', '127.0.0.1'];
  execFileSync('sh', args, { stdio: 'pipe' });
  return (made = folder);
}
