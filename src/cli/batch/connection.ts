// Where the gateway is and which key it is asked with: from the command's options, else from the environment and `.env`. For
// every command that is a client of a gateway.
import { readFileSync } from 'node:fs';
import { setDefaultCACertificates } from 'node:tls';
import { readEnvironment } from '../../config/environment.ts';
import { ConfigError } from '../../config/faults.ts';
import { authorities } from '../../doctor/ask.ts';
import type { ApiFault, Gateway } from '../gateway-api.ts';

/** For parseArgs. */
export const CONNECTION_OPTIONS = {
  url: { type: 'string' },
  'key-env': { type: 'string' },
  ca: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

export const CONNECTION_USAGE = `  --url URL        the gateway; else LANYARD_URL, else http://127.0.0.1:4000
  --key-env NAME   the variable that holds a key; else LANYARD_KEY if it is set, else LITELLM_MASTER_KEY
  --ca FILE        a private CA's certificate to believe (NODE_EXTRA_CA_CERTS works too)
                   Variables are read from the environment, and from .env here.`;

export interface Connection {
  readonly url?: string | undefined;
  readonly 'key-env'?: string | undefined;
  readonly ca?: string | undefined;
}

/** Reads what parseArgs found. For an `https:` address this process then believes more authorities. */
export function connect(
  { url, 'key-env': named, ca }: Connection,
  dir: string,
  processEnv: Readonly<Record<string, string | undefined>>,
): Gateway | { readonly wrong: string } {
  let env;
  try {
    env = readEnvironment(dir, processEnv);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { wrong: error.faults.join('\n') };
  }
  const [source, text] = url === undefined ? ['LANYARD_URL', env['LANYARD_URL'] || USUAL_URL] : ['--url', url];
  const parsed = URL.parse(text);
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) return { wrong: `${source} wants http://… or https://…` };
  if (parsed.username !== '' || parsed.password !== '') return { wrong: `${source} holds no user and no password` };

  const name = named ?? (env['LANYARD_KEY'] ? 'LANYARD_KEY' : 'LITELLM_MASTER_KEY');
  const key = env[name] || undefined;
  if (named !== undefined && key === undefined) return { wrong: `the variable that --key-env names is not set` };
  if (key !== undefined && !/^[\u0021-\u007E]+$/.test(key)) {
    return { wrong: `the key in ${name} holds characters that no key has` };
  }
  const more: string[] = [];
  try {
    if (ca !== undefined) more.push(readFileSync(ca, 'utf8'));
  } catch {
    return { wrong: 'the file of --ca cannot be read' };
  }
  if (more.some((pem) => !pem.includes('-----BEGIN CERTIFICATE-----')))
    return { wrong: 'the file of --ca holds no certificate (PEM)' };
  if (parsed.protocol === 'https:') setDefaultCACertificates(authorities(more));
  // `/v1` behind it is how clients are told of it, and no mistake.
  return { url: `${parsed.origin}${parsed.pathname.replace(/(?:\/v1)?\/*$/, '')}`, key };
}

const USUAL_URL = 'http://127.0.0.1:4000';

/** What to say of a failure, in lines: the gateway's own words, and what may help. */
export function toldOf(command: string, fault: ApiFault, { key }: Gateway): string[] {
  const line = `lanyard ${command}: ${fault.message} (${fault.code})`;
  const hint = hintOf(fault, key);
  return hint === undefined ? [line] : [line, hint];
}

function hintOf({ status, code }: ApiFault, key: string | undefined): string | undefined {
  if (status === 401 && key === undefined)
    return 'No key was sent: set LANYARD_KEY, or name the variable that holds one with --key-env NAME.';
  if (status === 404 && code === 'unknown_url') return 'Are batches switched on in its configuration?';
  if (status !== undefined) return undefined;
  if (/CERT|SELF_SIGNED|ERR_TLS|UNABLE_TO/.test(code)) return 'Its authority can be named with --ca FILE.';
  if (!/^E(?:CONNREFUSED|NOTFOUND|AI_AGAIN|HOSTUNREACH|NETUNREACH)$|^TIMEOUT$/.test(code)) return undefined;
  return 'Is the gateway running there? `npm start` starts one here; --url URL or LANYARD_URL says where another is.';
}
