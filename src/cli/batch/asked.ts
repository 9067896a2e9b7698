// `lanyard batch …` as it was typed, read into what is wanted; and its usage.
import { parseArgs, type ParseArgsOptionsConfig } from 'node:util';
import { CONNECTION_OPTIONS, CONNECTION_USAGE, type Connection } from './connection.ts';
import { STATUSES } from './record.ts';
import { suggestion } from '../../config/faults.ts';

export const BATCH_USAGE = `usage: lanyard batch submit FILE|- [--endpoint PATH] [--window 24h] [--metadata KEY=VALUE]… [--wait] [--out FILE]
       lanyard batch status ID [--watch]
       lanyard batch list [--status STATUS] [--limit 100] [--all]
       lanyard batch results ID [--errors] [--out FILE]
       lanyard batch cancel ID
       lanyard batch report [--all]

  submit     sends a file of requests, one JSON object a line, and prints the batch's id; - is standard input
    --endpoint PATH  what answers them, such as /v1/chat/completions; else the first line's url
    --window 24h     how long it may take
    --metadata K=V   kept with it, as many as there are
    --wait           waits until it has ended
    --out FILE       with --wait: where the results go
  status     shows it; --watch waits until it has ended
  list       the newest first; --all: of every key, for the master key only
  results    prints the answers as they are, one JSON object a line; --errors: of the requests that failed
  cancel     ends it; what is done by then can be had
  report     how many requests were collected, and how many calls that saved; --all as above

${CONNECTION_USAGE}
  --json           what the gateway says, for scripts (submit, status, list, cancel, report)

exit status: 0 done (with --wait and --watch: completed, and no request failed), 1 not, 2 the command was not understood,
130 Ctrl-C while waiting: the batch goes on`;

type Verb =
  | {
      readonly verb: 'submit';
      readonly file: string;
      readonly endpoint: string | undefined;
      readonly window: string;
      readonly metadata: Readonly<Record<string, string>>;
      readonly wait: boolean;
      readonly out: string | undefined;
    }
  | { readonly verb: 'status'; readonly id: string; readonly watch: boolean }
  | { readonly verb: 'list'; readonly status: string | undefined; readonly limit: number; readonly all: boolean }
  | { readonly verb: 'cancel'; readonly id: string }
  | { readonly verb: 'report'; readonly all: boolean }
  | { readonly verb: 'results'; readonly id: string; readonly errors: boolean; readonly out: string | undefined };

export type Asked = Verb & { readonly json: boolean; readonly connection: Connection };
export type Submission = Extract<Asked, { verb: 'submit' }>;

const OPTIONS = {
  submit: {
    endpoint: { type: 'string' },
    window: { type: 'string', default: '24h' },
    metadata: { type: 'string', multiple: true, default: [] as string[] },
    wait: { type: 'boolean', default: false },
    out: { type: 'string' },
  },
  status: { watch: { type: 'boolean', default: false } },
  list: {
    status: { type: 'string' },
    limit: { type: 'string', default: '100' },
    all: { type: 'boolean', default: false },
  },
  cancel: {},
  report: { all: { type: 'boolean', default: false } },
  results: { errors: { type: 'boolean', default: false }, out: { type: 'string' } },
} as const satisfies Record<Verb['verb'], ParseArgsOptionsConfig>;

/** What is wrong with it, as `wrong`. */
export function readAsked(argv: readonly string[]): Asked | 'help' | { readonly wrong: string } {
  const [verb, ...rest] = argv;
  if (verb === '--help' || verb === '-h' || verb === 'help') return 'help';
  try {
    switch (verb) {
      case 'submit': {
        const { values, file } = read(OPTIONS.submit, rest, 'FILE');
        if (values.help) return 'help';
        if (values.out !== undefined && !values.wait)
          throw new Wrong('--out needs --wait: before, there are no results');
        const { endpoint, window, wait, out } = values;
        return { verb, file, endpoint, window, wait, out, metadata: pairs(values.metadata), ...shared(values) };
      }
      case 'status': {
        const { values, file: id } = read(OPTIONS.status, rest, 'ID');
        return values.help ? 'help' : { verb, id, watch: values.watch, ...shared(values) };
      }
      case 'list': {
        const { values } = read(OPTIONS.list, rest, undefined);
        if (values.help) return 'help';
        return {
          verb,
          status: statusOf(values.status),
          limit: limitOf(values.limit),
          all: values.all,
          ...shared(values),
        };
      }
      case 'cancel': {
        const { values, file: id } = read(OPTIONS.cancel, rest, 'ID');
        return values.help ? 'help' : { verb, id, ...shared(values) };
      }
      case 'report': {
        const { values } = read(OPTIONS.report, rest, undefined);
        return values.help ? 'help' : { verb, all: values.all, ...shared(values) };
      }
      case 'results': {
        const { values, file: id } = read(OPTIONS.results, rest, 'ID');
        if (values.help) return 'help';
        if (values.json) throw new Wrong('results are JSON lines as they are; there is no --json');
        return { verb, id, errors: values.errors, out: values.out, ...shared(values) };
      }
      case undefined:
        throw new Wrong(`what to do? ${Object.keys(OPTIONS).join(', ')}`);
      default:
        throw new Wrong(`cannot do that${suggestion(verb, Object.keys(OPTIONS))}`);
    }
  } catch (error) {
    if (error instanceof Wrong) return { wrong: error.message };
    throw error;
  }
}

/** Of a command that was not understood. */
class Wrong extends Error {}

function read<T extends ParseArgsOptionsConfig>(options: T, args: readonly string[], what: string | undefined) {
  let parsed;
  try {
    parsed = parseArgs({ args: [...args], allowPositionals: true, options: { ...options, ...CONNECTION_OPTIONS } });
  } catch (error) {
    // parseArgs' own words, without their advice on positional arguments.
    throw new Wrong(error instanceof Error ? (error.message.split('. ', 1)[0] ?? '') : 'not understood');
  }
  const { values, positionals } = parsed;
  const [file, ...more] = positionals;
  const help = (values as { help?: boolean }).help === true;
  if (!help && what !== undefined && (file ?? '') === '') throw new Wrong(`which? ${what} is missing`);
  if (!help && positionals.length > (what === undefined ? 0 : 1))
    throw new Wrong(
      `one thing at a time: ${more.length === 0 ? 'no argument is wanted' : `only one ${what} is wanted`}`,
    );
  return { values, file: file ?? '' };
}

function shared({ json, url, 'key-env': key_env, ca }: Connection & { readonly json: boolean }) {
  return { json, connection: { url, 'key-env': key_env, ca } };
}

function pairs(texts: readonly string[]): Record<string, string> {
  const metadata = new Map<string, string>();
  for (const text of texts) {
    const at = text.indexOf('=');
    if (at < 1) throw new Wrong('--metadata wants KEY=VALUE');
    const key = text.slice(0, at);
    if (metadata.has(key)) throw new Wrong('--metadata names a key twice');
    metadata.set(key, text.slice(at + 1));
  }
  return Object.fromEntries(metadata);
}

function statusOf(text: string | undefined): string | undefined {
  if (text === undefined || STATUSES.some((status) => status === text)) return text;
  throw new Wrong(`--status wants one of ${STATUSES.join(', ')}${suggestion(text, STATUSES)}`);
}

function limitOf(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new Wrong('--limit wants a whole number from 1 to 999999');
}
