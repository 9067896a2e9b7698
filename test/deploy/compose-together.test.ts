// What docker-compose.yml brings up, as plain processes: its commands, its scripts and the files it mounts, on real nginx, Redis,
// Prometheus and two gateways. Grafana and the engines on a GPU cannot be run so.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { command, isHealthy, nginxConfOf, openVolumes, put, serviceOf } from './compose-run.ts';
import { KEY } from '../stage/gateway.ts';
import { startLanyard, type Lanyard } from '../stage/lanyard.ts';
import { startNginx } from '../stage/nginx.ts';
import { freePort } from '../stage/ports.ts';
import { findProgram, startProgram } from '../stage/program.ts';

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const read = (name: string): string => readFileSync(path(name), 'utf8');
const HAS_IPV6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));

test('a request goes through nginx, a gateway and the engine; limits are shared; Prometheus sees it', async () => {
  const [engine, redis, prometheus] = [await freePort(), await freePort(), await freePort()];
  const volumes = openVolumes();
  volumes.certify('localhost 127.0.0.1');

  // One after the other, each by its own health check.
  await start(
    'engine',
    process.execPath,
    command('engine', [
      ['0.0.0.0', '127.0.0.1'],
      ['9001', String(engine)],
    ]).slice(1),
    engine,
  );
  const redisArgs = [
    ...command('redis').slice(1),
    '--port',
    String(redis),
    '--bind',
    '127.0.0.1',
    '--dir',
    volumes.dir,
  ];
  await start('redis', findProgram('redis-server'), redisArgs, redis);
  const gateways = await Promise.all([1, 2].map(() => startGateway(engine, redis, join(volumes.dir, 'public'))));
  for (const { port } of gateways) expect(isHealthy('gateway', port)).toBe(true);
  const doors = await startFront(gateways, volumes.dir);
  expect(isHealthy('nginx', doors[8080])).toBe(true);
  await startPrometheus(prometheus, gateways, volumes.dir);

  // Streamed, over TLS, with what a client is told to trust.
  const ca = volumes.read('certs/ca.pem');
  const streamed = await ask(doors[443], ca, {
    model: 'pretender',
    stream: true,
    messages: [{ role: 'user', content: 'Hello' }],
  });
  expect(streamed.status).toBe(200);
  expect(streamed.body).toMatch(/^data: \{.*"model":"pretender"[\s\S]*data: \[DONE\]\n\n$/);

  // 21 at once, and ten more with each second: by two gateways that did not share it would be 42.
  const begun = performance.now();
  const body = { model: 'pretender', max_tokens: 1, messages: [{ role: 'user', content: 'Hello' }] };
  const answers = await Promise.all(Array.from({ length: 60 }, () => ask(doors[443], ca, body)));
  const seconds = (performance.now() - begun) / 1000;
  const admitted = answers.filter(({ status }) => status === 200).length;
  for (const { status } of answers) expect([200, 429]).toContain(status);
  // The streamed request before may still count.
  expect(admitted).toBeGreaterThanOrEqual(20);
  expect(admitted).toBeLessThanOrEqual(21 + Math.ceil(seconds * 10));
  // Both had some of it; the log is written a moment later.
  const answered = () => gateways.map((one) => one.log().filter(({ status }) => status === 200).length);
  await expect.poll(() => Math.min(...answered())).toBeGreaterThan(0);

  expect(await sample(prometheus, 'sum(up{job="lanyard"})', '2')).toBe('2');
  expect(await sample(prometheus, 'min(lanyard_redis_up)', '1')).toBe('1');
  const expiry = 'min(lanyard_certificate_expiry_timestamp_seconds) > bool time()';
  expect(await sample(prometheus, expiry, '1')).toBe('1');
}, 60_000);

test('a health check finds what is not there unhealthy', async () => {
  const nowhere = await freePort();
  for (const name of ['nginx', 'gateway', 'redis', 'engine', 'prometheus', 'grafana'])
    expect([name, isHealthy(name, nowhere)]).toEqual([name, false]);
});

/** Starts a program and waits until the health check of its service is content. */
async function start(name: string, file: string, args: readonly string[], port: number): Promise<void> {
  const program = await startProgram(file, args, async () => isHealthy(name, port));
  onTestFinished(() => program.end('SIGKILL'));
}

async function startGateway(engine: number, redis: number, certificates: string): Promise<Lanyard> {
  const { environment = {} } = serviceOf('gateway');
  const [, yaml = ''] = /\$\{LANYARD_CONFIG:-(.*)\}/.exec(environment['LANYARD_CONFIG'] ?? '') ?? [];
  return await startLanyard({
    yaml: put(read(yaml), [
      ['host: 0.0.0.0', 'host: 127.0.0.1'],
      ['http://engine:9001', `http://127.0.0.1:${engine}`],
      ['172.30.42.2', '127.0.0.1'],
      ['/etc/lanyard/certs', certificates],
    ]),
    env: {
      PORT: '0',
      LITELLM_MASTER_KEY: KEY,
      REDIS_URL: put(environment['REDIS_URL'] ?? '', [['redis:6379', `127.0.0.1:${redis}`]]),
      LOG_LEVEL: 'INFO',
    },
  });
}

/** nginx as its service would start it with both gateways; only ports and folders are others. */
async function startFront(
  [first, second]: readonly Lanyard[],
  volumes: string,
): Promise<Record<80 | 443 | 8080, number>> {
  const doors = { 80: await freePort(), 443: await freePort(), 8080: await freePort() };
  const two = put(read('nginx.conf'), [['# server 127.0.0.1:4001;', 'server 127.0.0.1:4001;']]);
  const nginx = await startNginx((folder) => {
    let conf = put(nginxConfOf(two, 'localhost 127.0.0.1'), [
      ['172.30.42.3:4000', `127.0.0.1:${first?.port}`],
      ['172.30.42.4:4000', `127.0.0.1:${second?.port}`],
      ['/etc/lanyard/certs', join(volumes, 'certs')],
      ['/var/log/nginx', folder],
      ['/var/www/acme', folder],
    ]);
    for (const [from, to] of Object.entries(doors)) {
      conf = put(conf, [
        [new RegExp(`listen ${from}(?=[ ;])`), `listen 127.0.0.1:${to}`],
        HAS_IPV6
          ? [new RegExp(`listen \\[::\\]:${from}(?=[ ;])`), `listen [::1]:${to}`]
          : [new RegExp(`listen \\[::\\]:${from}[ ;].*`), ''],
      ]);
    }
    return conf;
  });
  onTestFinished(() => nginx.stop());
  return doors;
}

async function startPrometheus(port: number, gateways: readonly Lanyard[], volumes: string): Promise<void> {
  const folder = join(volumes, 'prometheus');
  mkdirSync(folder);
  for (const name of ['rules.yml', 'alerts.yml']) writeFileSync(join(folder, name), read(`deploy/${name}`));
  const targets = gateways.map((one) => `          - 127.0.0.1:${one.port}`).join('\n');
  const conf = put(read('deploy/prometheus.yml'), [
    [/^ *- gateway:4000.*$/m, targets],
    [/scrape_interval: \S+/, 'scrape_interval: 1s'],
  ]);
  writeFileSync(join(folder, 'prometheus.yml'), conf);
  const args = put(command('prometheus').join('\n'), [
    ['/etc/prometheus', folder],
    ['=/prometheus', `=${folder}/data`],
  ]);
  const all = [...args.split('\n'), `--web.listen-address=127.0.0.1:${port}`];
  await start('prometheus', findProgram('prometheus'), all, port);
}

/** What Prometheus answers, asked until it is what is wanted or ten seconds are over. */
async function sample(port: number, query: string, wanted: string): Promise<string | undefined> {
  for (let waited = 0; ; waited += 100) {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(query)}`);
    const { data } = (await response.json()) as { data?: { result: { value: [number, string] }[] } };
    const value = data?.result[0]?.value[1];
    if (value === wanted || waited > 10_000) return value;
    await pause(100);
  }
}

function ask(port: number, ca: string, body: unknown): Promise<{ status: number | undefined; body: string }> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };
    const sent = request(
      { host: 'localhost', port, path: '/v1/chat/completions', method: 'POST', headers, ca, agent: false },
      (response) => {
        let text = '';
        response.on('data', (bytes: Buffer) => (text += bytes.toString()));
        response.once('end', () => resolve({ status: response.statusCode, body: text }));
        response.once('error', reject);
      },
    );
    sent.once('error', reject);
    sent.end(JSON.stringify(body));
  });
}
