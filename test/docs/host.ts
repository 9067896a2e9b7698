// Commands that cannot run in a test (docker, systemctl, certbot …). The shell really runs the block, with nothing on PATH but
// stand-ins that write down what they were called with; each call must then have a shape of the table below, and the units,
// services, profiles and files it names must exist in the repository.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { ROOT } from './stage.ts';

interface Shape {
  readonly program: string;
  /** Of the arguments, joined by blanks. */
  readonly args: RegExp;
  /** What its named groups must be. */
  readonly names?: Readonly<Record<string, (name: string) => boolean>>;
}

const compose = parse(readFileSync(join(ROOT, 'docker-compose.yml'), 'utf8'), { merge: true }) as {
  services: Record<string, { profiles?: string[] }>;
};
const isFile = (name: string): boolean => existsSync(join(ROOT, name));
const areServices = (names: string): boolean => names.split(' ').every((name) => name in compose.services);
const isProfile = (name: string): boolean =>
  Object.values(compose.services).some(({ profiles = [] }) => profiles.includes(name));
const isUnit = (name: string): boolean =>
  ['nginx', 'redis-server'].includes(name) || isFile(`deploy/${name.includes('.') ? name : `${name}.service`}`);
const areUnits = (names: string): boolean => names.split(' ').every(isUnit);
/** `lanyard init` makes these. */
const MADE = new Set(['.env', 'certs/ca.pem']);
const areFiles = (names: string): boolean => names.split(' ').every((name) => MADE.has(name) || isFile(name));

/** Where the pages have the clone. */
const CLONE = '/opt/lanyard';
const USAGE = execFileSync(process.execPath, [join(ROOT, 'src/main.ts'), 'help'], { encoding: 'utf8' });

/** OpenVINO Model Server's own options, of those the pages use. */
const OVMS = String.raw`(?: ?--(?:pull|metrics_enable|(?:source_model|model_repository_path|task|rest_port|config_path) [^- ]\S*))+`;

const COMPOSE = String.raw`compose(?: --profile (?<profile>\w+))?`;
const SERVICES = '(?<services>[a-z]+(?: [a-z]+)*)';

const SHAPES: readonly Shape[] = [
  { program: 'docker', args: new RegExp(`^${COMPOSE} up -d(?: --build)?(?: ${SERVICES})?$`) },
  { program: 'docker', args: new RegExp(`^${COMPOSE} (?:down|ps|pull|restart)$`) },
  {
    program: 'docker',
    args: new RegExp(`^${COMPOSE} (?:logs(?: -f)?(?: --tail \\d+)?|restart|kill -s HUP) ${SERVICES}$`),
  },
  // -T: cron has no terminal.
  { program: 'docker', args: /^compose run --rm -T (?<services>certificates)$/ },
  { program: 'docker', args: /^compose cp (?<services>nginx):\/etc\/lanyard\/certs\/ca\.pem \.$/ },
  {
    program: 'docker',
    args: new RegExp(
      `^${COMPOSE} exec (?<services>[a-z]+) (?:nginx -s reload|node src/main.ts (?:check|doctor)|ollama pull \\S+)$`,
    ),
  },
  {
    program: 'docker',
    args: new RegExp(
      String.raw`^run (?:-d )?--rm(?: -u 1000:1000)?(?: -p 127\.0\.0\.1:8001:8001)? -v /\S+/models:/models:r[ow] openvino/model_server:latest${OVMS}$`,
    ),
  },
  {
    program: 'docker',
    args: /^run -d --rm -p 3000:80 -v \/\S+\/data:\/data ghcr\.io\/huggingface\/text-embeddings-inference:cpu-[\d.]+ --model-id [\w.-]+\/[\w.-]+(?: --max-client-batch-size \d+)?$/,
  },
  {
    program: 'docker',
    args: /^run -d --rm -p 7997:7997 -v \/\S+\/data:\/app\/\.cache michaelf34\/infinity:[\d.]+ v2 --model-id [\w.-]+\/[\w.-]+ --port 7997$/,
  },
  { program: 'systemctl', args: /^daemon-reload$/ },
  { program: 'systemctl', args: /^(?:enable --now|start|stop|restart|reload|status) (?<units>[a-z. -]+)$/ },
  { program: 'journalctl', args: /^-u (?<units>[a-z-]+) (?:-f|-n \d+|--since "?[\w -]+"?)(?: -o cat)?$/ },
  { program: 'nginx', args: /^(?:-t|-s reload)$/ },
  {
    program: 'certbot',
    args: /^certonly --webroot --webroot-path (?:\/var\/www|\/opt\/lanyard)\/acme -d lanyard\.example\.com --deploy-hook (?<hook>.+)$/,
  },
  { program: 'certbot', args: /^renew --dry-run$/ },
  // What certbot's hook does, for nginx.conf's folder or the one Compose takes certificates from.
  {
    program: 'cp',
    args: /^\/lineage\/fullchain\.pem \/lineage\/privkey\.pem (?:\/etc\/lanyard|\/opt\/lanyard)\/certs\/$/,
  },
  { program: 'apt-get', args: /^(?:update|install -y(?: (?:nginx|redis-server|git|openssl|curl))+)$/ },
  {
    program: 'git',
    args: /^(?:fetch --tags|checkout v\d+\.\d+\.\d+|clone https:\/\/(?:\S+ \/opt\/lanyard|github\.com\/openvinotoolkit\/model_server)|stash(?: pop)?)$/,
  },
  { program: 'git', args: /^diff --stat HEAD v\d+\.\d+\.\d+ -- (?<files>[a-z][\w./-]*(?: [a-z][\w./-]*)*)$/ },
  { program: 'npm', args: /^(?:--version|ci(?: --omit=dev)?|start|run (?<script>[a-z:]+))$/ },
  { program: 'npx', args: /^lanyard(?: (?<command>[a-z]+)(?: .*)?)?$/ },
  { program: 'install', args: /^-d -m 0755(?: \/(?:etc|var\/www)\/\S+)+$/ },
  { program: 'install', args: /^-m 0(?:644|600) (?<files>[^/ ]\S*(?: [^/ ]\S*)*) \/etc\/\S+$/ },
  { program: 'mv', args: /^certs\/\*\.pem \/etc\/lanyard\/certs\/$/ },
  { program: 'mkdir', args: /^-p (?:acme|models)$/ },
  { program: 'touch', args: /^(?<files>config\/lanyard\.yaml)$/ },
  {
    program: 'sh',
    args: /^(?:\/opt\/lanyard\/)?(?<files>deploy\/[\w-]+\.sh)(?: (?:\/etc\/lanyard\/)?certs(?: [a-z0-9.]+)*)?$/,
  },
  { program: 'cp', args: /^(?<files>certs\/\S+) \/usr\/local\/share\/ca-certificates\/\S+\.crt$/ },
  { program: 'update-ca-certificates', args: /^$/ },
  { program: 'security', args: /^add-trusted-cert -d -r trustRoot -k \/Library\/Keychains\/System\.keychain ca\.pem$/ },
  { program: 'certutil', args: /^(?:-addstore -f Root ca\.pem|-d sql:\S+ -A -t C,, -n \S+ -i ca\.pem)$/ },
  { program: 'ollama', args: /^(?:pull [a-z0-9.-]+(?::[a-z0-9._-]+)?|ps|serve|list)$/ },
  { program: 'vllm', args: /^serve \S+\/\S+(?: --[a-z-]+(?: [^-]\S*)?)*$/ },
  {
    program: 'llama-server',
    args: /^(?:-hf [\w.-]+\/[\w.-]+|--models-dir \/\S+)(?: --(?:jinja|(?:host|port|ctx-size|parallel|models-max) [\d.]+))*$/,
  },
  { program: 'lms', args: /^(?:get(?: \S+)?|load \S+(?: --context-length \d+)?|server start(?: --port \d+)?)$/ },
  {
    program: 'python3',
    args: /^-m sglang\.launch_server --model-path [\w.-]+\/[\w.-]+(?: --(?:host|port|context-length) [\d.]+)*$/,
  },
  {
    program: 'python3',
    args: /^model_server\/demos\/common\/export_models\/export_model\.py text_generation(?: --(?:source_model|weight-format|model_repository_path|config_file_path) [^- ]\S*)+$/,
  },
  { program: 'pip3', args: /^install -r model_server\/demos\/common\/export_models\/requirements\.txt$/ },
  { program: 'ovms', args: new RegExp(`^${OVMS}$`) },
  { program: 'ss', args: /^-ltnp$/ },
  { program: 'df', args: /^-h \/\S*$/ },
];

const KNOWN: Readonly<Record<string, (name: string) => boolean>> = {
  services: areServices,
  profile: isProfile,
  units: areUnits,
  files: areFiles,
  script: (name) =>
    name in (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: object }).scripts,
  command: (name) => USAGE.includes(`lanyard ${name}`),
  hook: (text) => checkHost(`RENEWED_LINEAGE=/lineage\n${text}`) === undefined,
};

/** Whether inline code is a command: a program of the table, or another that people are told to type, and an argument. */
export function isCommand(words: string): boolean {
  const [first = '', second] = words.replace(/^sudo /, '').split(' ');
  return second !== undefined && (first === 'curl' || SHAPES.some(({ program }) => program === first));
}

/** The same for the lines of a crontab: minute, hour, day, month, weekday, and a command. */
export function checkCron(text: string): string | undefined {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => {
      const command = /^(?:(?:\*|\d{1,2}) ){4}(?:\*|[0-7]) ([^%]+)$/.exec(line)?.[1]; // cron makes a line's end of %
      return command === undefined ? `no line of a crontab: ${line}` : checkHost(command);
    })
    .find((fault) => fault !== undefined);
}

/** Why the block is not as it should be; `undefined` when it is. */
export function checkHost(text: string): string | undefined {
  if (/>\s*\//.test(text)) return 'writes to a file of the system by itself: let a program of the table do it';
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-host-'));
  try {
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    // A page may write here.
    mkdirSync(join(folder, 'config'));
    const log = join(folder, 'log');
    writeFileSync(log, '');
    const write = `{ printf '%s' "\${0##*/}"; for one in "$@"; do printf '\\037%s' "$one"; done; echo; } >> '${log}'`;
    for (const program of new Set(SHAPES.map((shape) => shape.program))) {
      writeFileSync(join(bin, program), `#!/bin/sh\n${write}\n`, { mode: 0o755 });
    }
    // It passes on whom it was given; the environment's settings before a command are sh's own affair.
    writeFileSync(join(bin, 'sudo'), '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
    // Whose files a container writes.
    writeFileSync(join(bin, 'id'), '#!/bin/sh\necho 1000\n', { mode: 0o755 });
    const cd = `cd() { [ "$*" = ${CLONE} ] || { echo "cd $*: only to the clone" >&2; return 1; }; }`;
    try {
      execFileSync('/bin/sh', ['-eu', '-c', `${cd}\n${text}`], {
        cwd: folder,
        env: { PATH: bin, HOME: folder },
        stdio: 'pipe',
      });
    } catch (error) {
      return `the shell did not get through it: ${String((error as { stderr?: Buffer }).stderr ?? error).trim()}`;
    }
    const calls = readFileSync(log, 'utf8')
      .split('\n')
      .filter((line) => line !== '');
    if (calls.length === 0) return 'calls nothing';
    return calls.map((line) => checkCall(line.split('\u001F'))).find((fault) => fault !== undefined);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function checkCall([program = '', ...args]: readonly string[]): string | undefined {
  const joined = args.join(' ');
  const found = SHAPES.filter((shape) => shape.program === program)
    .map((shape) => shape.args.exec(joined))
    .find((match) => match !== null);
  if (found === undefined || found === null) return `nobody said that one may call: ${program} ${joined}`;
  const wrong = Object.entries(found.groups ?? {}).find(
    ([what, name]) => name !== undefined && KNOWN[what]?.(name) !== true,
  );
  return wrong === undefined ? undefined : `${program} ${joined}: there is no ${wrong[0]} "${wrong[1]}"`;
}
