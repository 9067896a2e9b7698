// `lanyard doctor`: looks at everything a request passes on its way, with the gateway running or not, and says of each part
// whether it is well and, if not, what to do.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { toStandardError } from './standard-error.ts';
import { VERSION } from './version.ts';
import { ConfigError, configPath, loadConfig, readEnvironment } from '../config/load.ts';
import { faulty, secretsOf } from '../doctor/configuration.ts';
import { examine } from '../doctor/examine.ts';
import type { Finding } from '../doctor/finding.ts';
import { dumpHere, type Dump } from '../doctor/nginx.ts';
import { asJson, asText, cleaned, statusOf } from '../doctor/report.ts';
import type { Config } from '../types.ts';

const DOCTOR_USAGE = `usage: lanyard doctor [--config PATH] [--url URL]… [--deep] [--json]

  --config PATH    the configuration; else LANYARD_CONFIG, else config/lanyard.yaml
  --url URL        the address people use, nginx in front: https://NAME, http://ADDRESS:8080; as many as there are
  --deep           also what costs each engine a short answer: cancellation, streams through nginx, embeddings batch
  --key-env NAME   the variable that holds a key for --deep; else LITELLM_MASTER_KEY
  --ca FILE        a private CA's certificate to believe, as clients are told of it (NODE_EXTRA_CA_CERTS works too)
  --nginx FILE     what \`nginx -T\` printed on the machine that runs it, or - for standard input; else it is run here
  --json           one JSON document: version, findings [{ check, subject, status, found, do }]

exit status: 0 nothing is wrong, 1 a warning or a failure, 2 the command was not understood`;

/** What is taken from the surroundings where the command does not say; tests say it. */
export interface Surroundings {
  readonly dir: string;
  readonly colour: boolean;
  /** Addresses to try when none is given, beside the names in LANYARD_HOSTS. */
  readonly usual: readonly string[];
  /** Where engines are looked for when none is configured. */
  readonly ports?: readonly number[];
  /** What this machine's own nginx has read, if there is one. */
  readonly nginx: Dump;
  readonly fail: (line: string) => void;
}

const USUAL: Surroundings = {
  dir: process.cwd(),
  colour: process.stdout.isTTY && !process.env['NO_COLOR'],
  usual: ['http://127.0.0.1:8080'],
  nginx: dumpHere,
  fail: toStandardError,
};

/** @returns the exit code, as in the usage */
export async function doctor(
  argv: readonly string[],
  out: (line: string) => void,
  processEnv: Readonly<Record<string, string | undefined>>,
  around: Surroundings = USUAL,
): Promise<number> {
  const asked = read(argv);
  if (asked === 'help') {
    out(DOCTOR_USAGE);
    return 0;
  }
  if ('usage' in asked) {
    around.fail(asked.usage);
    return 2;
  }
  const { findings, secrets, path } = await look(asked, processEnv, around);
  const shown = cleaned(findings, secrets);
  if (asked.json) out(asJson(shown, VERSION));
  else {
    out(`Lanyard ${VERSION}, ${path}`);
    out('');
    for (const line of asText(shown, around.colour)) out(line);
  }
  return statusOf(shown);
}

interface Asked {
  readonly urls: readonly URL[];
  readonly json: boolean;
  readonly deep: boolean;
  readonly key_env: string;
  readonly ca: readonly string[];
  readonly nginx: string | undefined;
  /** As `configPath` reads it. */
  readonly config: readonly string[];
}

function read(argv: readonly string[]): Asked | 'help' | { readonly usage: string } {
  const wrong = (why: string): { usage: string } => ({ usage: `lanyard doctor: ${why}\n\n${DOCTOR_USAGE}` });
  let values;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        config: { type: 'string' },
        url: { type: 'string', multiple: true, default: [] },
        deep: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        'key-env': { type: 'string', default: 'LITELLM_MASTER_KEY' },
        ca: { type: 'string' },
        nginx: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }));
  } catch (error) {
    // parseArgs' own words, without their advice on positional arguments.
    return wrong(error instanceof Error ? (error.message.split('. ', 1)[0] ?? '') : 'not understood');
  }
  if (values.help) return 'help';
  const urls: URL[] = [];
  for (const text of values.url) {
    const url = URL.parse(text);
    if (url === null || !/^https?:$/.test(url.protocol)) return wrong('--url wants http://… or https://…');
    if (url.username !== '' || url.password !== '') return wrong('--url holds no user and no password');
    // `/v1` behind it is how clients are told of it, and no mistake.
    if (!urls.some(({ origin }) => origin === url.origin)) urls.push(new URL(url.origin));
  }
  const ca: string[] = [];
  try {
    if (values.ca !== undefined) ca.push(readFileSync(values.ca, 'utf8'));
  } catch {
    return wrong('the file of --ca cannot be read');
  }
  if (ca.some((text) => !text.includes('-----BEGIN CERTIFICATE-----')))
    return wrong('the file of --ca holds no certificate (PEM)');
  const config = values.config === undefined ? [] : [`--config=${values.config}`];
  return { urls, json: values.json, deep: values.deep, key_env: values['key-env'], ca, nginx: values.nginx, config };
}

interface Seen {
  readonly findings: readonly Finding[];
  readonly secrets: readonly string[];
  readonly path: string;
}

/** A configuration that cannot be read is a finding, not an end in itself; nothing else can be looked at without it. */
async function look(
  asked: Asked,
  processEnv: Readonly<Record<string, string | undefined>>,
  { dir, usual, ports, nginx }: Surroundings,
): Promise<Seen> {
  let path = 'configuration';
  let env = processEnv;
  let config: Config;
  try {
    env = readEnvironment(dir, processEnv);
    path = configPath(asked.config, env);
    config = loadConfig(path, env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { findings: faulty(path, error.faults), secrets: secretsOf(undefined, env), path };
  }
  const names = (env['LANYARD_HOSTS'] ?? '').split(/[\s,]+/).filter((name) => name !== '');
  const findings = await examine({
    config,
    path,
    dir,
    env,
    version: VERSION,
    urls: asked.urls,
    usual_urls: [...names.map((name) => `https://${name.includes(':') ? `[${name}]` : name}`), ...usual].flatMap(
      (text) => URL.parse(text) ?? [],
    ),
    deep: asked.deep,
    key_env: asked.key_env,
    ca: asked.ca,
    nginx_file: asked.nginx,
    nginx_dump: nginx,
    ...(ports === undefined ? {} : { ports }),
  });
  return { findings, secrets: secretsOf(config, env), path };
}
