// The whole examination: everything that can be asked at once is, each part with a time limit of its own; then, only when asked
// for, what costs the engines a little work, one after the other.
import { examineBackend, type BackendNews, type Patient } from './backends.ts';
import { cancellation } from './cancellation.ts';
import { configuration, usableKey } from './configuration.ts';
import { embeddings } from './embeddings.ts';
import { about, within, type Finding } from './finding.ts';
import { examineFront, isLanyard, type FrontNews } from './front.ts';
import { filesOf, findGateway, type Gateway, type GatewayNews } from './gateway.ts';
import { clock, disk, host, type Clock } from './host.ts';
import { nginx, type Dump, type NginxNews } from './nginx.ts';
import { redis, type RedisNews } from './redis.ts';
import { streams } from './streams.ts';
import type { Environment } from '../config/environment.ts';
import { discover, USUAL_PORTS } from '../fleet/discover.ts';
import type { BackendConfig, Config } from '../types.ts';

export interface Examination {
  readonly config: Config;
  /** The configuration file, and the folder of `.env`. */
  readonly path: string;
  readonly dir: string;
  readonly env: Environment;
  readonly version: string;
  /** Addresses people use; empty: the usual ones, where something answers there as Lanyard. */
  readonly urls: readonly URL[];
  readonly usual_urls: readonly URL[];
  /** What costs the engines work, too. */
  readonly deep: boolean;
  /** The environment's name of a key for the deep tests. */
  readonly key_env: string;
  /** More authorities, in PEM. */
  readonly ca: readonly string[];
  /** What `nginx -T` printed. */
  readonly nginx_file: string | undefined;
  /** Asks the nginx of this machine, where there is no such file. */
  readonly nginx_dump: Dump;
  /** Where engines are looked for when none is configured. */
  readonly ports?: readonly number[];
}

/** Beyond what its parts' own limits come to. A plain run ends within about ten seconds. */
const PART_MS = 9_000;
const DEEP_MS = 90_000;

export async function examine(asked: Examination): Promise<Finding[]> {
  const { config, env, deep } = asked;
  const key = usableKey(config, env, asked.key_env);
  const secret = 'key' in key ? key.key : undefined;

  const [fleet, { gateway, proxy, fronts }, store] = await Promise.all([
    examineFleet(config, asked.ports ?? USUAL_PORTS),
    examineWay(asked, secret),
    config.redis === undefined ? undefined : examineRedis(config.redis),
  ]);
  const clocks = [...fleet.clocks, ...(store?.clock === undefined ? [] : [store.clock])];
  const patients = fleet.patients;
  const costly = deep ? await examineDeep(asked, patients, fronts.usable, gateway.gateway, key) : [withoutDeep()];
  await Promise.all(patients.map(({ backend }) => backend.destroy()));

  return ordered([
    ...configuration(config, asked),
    ...host(config.limits, filesOf(gateway.gateway)),
    ...disk(config, asked.dir),
    ...clock(clocks),
    ...fleet.findings,
    ...gateway.findings,
    ...fronts.findings,
    ...proxy.findings,
    ...(store?.findings ?? []),
    ...costly,
  ]);
}

/** From the address people use to the gateway; the first needs to know the others. */
async function examineWay(asked: Examination, key: string | undefined) {
  const { config, version } = asked;
  const unknown: GatewayNews = { findings: [], gateway: undefined };
  const unread: NginxNews = { findings: [], certificates: [] };
  const [gateway, proxy] = await Promise.all([
    bounded('gateway.running', '', unknown, () => findGateway(config, version, key)),
    bounded('nginx.configuration', '', unread, () => nginx(config, asked.nginx_file, asked.nginx_dump)),
  ]);
  return { gateway, proxy, fronts: await examineFronts(asked, gateway.gateway, proxy.certificates) };
}

interface FleetNews {
  readonly findings: readonly Finding[];
  readonly patients: readonly Patient[];
  readonly clocks: readonly Clock[];
}

async function examineFleet(config: Config, ports: readonly number[]): Promise<FleetNews> {
  const found = config.backends ?? (await discover(ports));
  if (found.size === 0) {
    const said = about('backend.found', '');
    const findings = [
      said.note(
        "no engine answers on this machine's usual ports: the built-in demo does",
        'Start one here, or name it under `backends:`.',
      ),
    ];
    return { findings, patients: [], clocks: [] };
  }
  const none: BackendNews = { findings: [], patient: undefined, clock: undefined };
  const examined = await Promise.all(
    [...found].map(([name, backend]: [string, BackendConfig]) =>
      bounded('backend.reachable', name, none, () => examineBackend(name, backend, config.models)),
    ),
  );
  return {
    findings: examined.flatMap(({ findings }) => findings),
    patients: examined.flatMap(({ patient }) => patient ?? []),
    clocks: examined.flatMap(({ clock }) => clock ?? []),
  };
}

async function examineRedis(config: NonNullable<Config['redis']>): Promise<RedisNews> {
  return await bounded<RedisNews>('redis.reachable', '', { findings: [], clock: undefined }, () => redis(config));
}

interface FrontsNews {
  readonly findings: readonly Finding[];
  /** Addresses to stream through. */
  readonly usable: readonly URL[];
}

async function examineFronts(
  { config, urls, usual_urls, ca }: Examination,
  gateway: Gateway | undefined,
  nginx_certificates: readonly string[],
): Promise<FrontsNews> {
  const there = urls.length > 0 ? urls : await asyncFilter(usual_urls, isLanyard);
  if (there.length === 0) {
    const said = about('front.reachable', '');
    return {
      findings: [
        said.skipped(
          'no address was given, and nothing answers as Lanyard at the usual ones',
          'lanyard doctor --url https://NAME --url http://ADDRESS:8080',
        ),
      ],
      usable: [],
    };
  }
  // The files whose expiry is a metric are those that nginx serves.
  const certificates = [...new Set([...nginx_certificates, ...config.metrics_certificates])];
  const none: FrontNews = { findings: [], usable: false };
  const examined = await Promise.all(
    there.map((url) =>
      bounded('front.reachable', url.host, none, () => examineFront({ url, config, gateway, ca, certificates })),
    ),
  );
  return {
    findings: examined.flatMap(({ findings }) => findings),
    usable: there.filter((_, at) => examined[at]?.usable === true),
  };
}

async function examineDeep(
  { config, ca }: Examination,
  patients: readonly Patient[],
  urls: readonly URL[],
  gateway: Gateway | undefined,
  key: ReturnType<typeof usableKey>,
): Promise<readonly Finding[]> {
  const found: Finding[] = [];
  for (const patient of patients) {
    const { name } = patient.backend;
    found.push(...(await within(DEEP_MS, 'backend.cancellation', name, async () => [await cancellation(patient)])));
    found.push(...(await within(DEEP_MS, 'backend.embeddings', name, () => embeddings(patient))));
  }
  const open = config.listen[0]?.auth === 'open';
  const loaded = patients
    .flatMap(({ ready }) => ready)
    .find(({ embeds, public_name }) => !embeds && public_name !== undefined);
  const model = loaded?.public_name ?? (patients.length === 0 && config.backends === undefined ? 'demo' : undefined);
  for (const url of urls) {
    const said = about('front.streams', url.host);
    if (gateway === undefined)
      found.push(said.skipped('the gateway does not run here, so there is nothing to compare with'));
    else if (model === undefined)
      found.push(said.skipped('no model is loaded, and none is loaded for a test', 'Ask it something, then again.'));
    else if (!open && 'reason' in key)
      found.push(
        said.skipped(`${key.reason}, and a stream needs a key`, '--key-env NAME names the variable that holds one.'),
      );
    else
      found.push(
        ...(await within(DEEP_MS, 'front.streams', url.host, () =>
          streams({ url, gateway, model, ca, key: 'key' in key ? key.key : undefined }),
        )),
      );
  }
  return found;
}

function withoutDeep(): Finding {
  return about('deep.tests', '').skipped(
    'cancellation, streams through nginx and the embeddings batch: they cost each engine a short answer',
    'lanyard doctor --deep (of models that are loaded; none is loaded for it)',
  );
}

/** A part with findings and more; the more is `none` when it took too long or broke. */
async function bounded<News extends { readonly findings: readonly Finding[] }>(
  check: string,
  subject: string,
  none: News,
  part: () => Promise<News>,
): Promise<News> {
  let news = none;
  const findings = await within(PART_MS, check, subject, async () => {
    news = await part();
    return news.findings;
  });
  return { ...news, findings };
}

const AREAS = ['configuration', 'host', 'backend', 'gateway', 'front', 'nginx', 'redis', 'deep'];

/** By area; of backends and addresses, what is said of one stands together. */
function ordered(findings: readonly Finding[]): Finding[] {
  const subjects = [...new Set(findings.map(subjectOf))];
  const place = (one: Finding): number => {
    const area = one.check.split('.', 1)[0] ?? '';
    const within = area === 'backend' || area === 'front' ? subjects.indexOf(subjectOf(one)) / subjects.length : 0;
    return AREAS.indexOf(area) + within;
  };
  return findings.toSorted((a, b) => place(a) - place(b));
}

/** A backend's model is `backend/model`. */
function subjectOf({ check, subject }: Finding): string {
  return `${check.split('.', 1)[0]} ${subject.split('/', 1)[0]}`;
}

async function asyncFilter<T>(list: readonly T[], keep: (one: T) => Promise<boolean>): Promise<T[]> {
  const kept = await Promise.all(list.map(keep));
  return list.filter((_, at) => kept[at]);
}
