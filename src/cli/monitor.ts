// `lanyard monitor`: all batches of a gateway as they go, in a terminal, over HTTP with a key; or once, for a pipe or a script.
import { parseArgs } from 'node:util';
import { connect, CONNECTION_OPTIONS, CONNECTION_USAGE, toldOf } from './batch/connection.ts';
import { countsOf } from './batch/record.ts';
import { ApiFault, listBatches, openApi } from './gateway-api.ts';
import { onceOf } from './monitor/view.ts';
import { toStandardError } from './standard-error.ts';

const MONITOR_USAGE = `usage: lanyard monitor [--every 2s] [--all] [--once [--json]]

  --every 2s       how often it looks again, from 200ms to 1h
  --all            the batches of every key, for the master key only
  --once           prints the table once and ends
  --json           with --once: one JSON document: batches, and counts by status
${CONNECTION_USAGE}

keys: up k, down j: another batch; left h, right l, tab: another status; pgup, pgdown, g, G; enter: all about a batch;
r: look now; q, esc, ctrl-c: leave

exit status: 0 well, 1 the gateway did not answer, 2 the command was not understood, or this is no terminal`;

/** More are not asked for each time: the newest are what is looked at. */
const BATCHES_MAX = 500;
const EVERY_MS = { min: 200, max: 3_600_000 };
const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** What is taken from where it runs; tests say it. */
interface Surroundings {
  readonly dir: string;
  readonly fail: (line: string) => void;
  readonly is_terminal: boolean;
}

/** @returns the exit code, as in the usage */
export async function monitor(
  argv: readonly string[],
  out: (line: string) => void,
  processEnv: Readonly<Record<string, string | undefined>>,
  { dir, fail, is_terminal }: Surroundings = {
    dir: process.cwd(),
    fail: toStandardError,
    is_terminal: process.stdin.isTTY && process.stdout.isTTY,
  },
): Promise<number> {
  const asked = read(argv);
  if (asked === 'help') {
    out(MONITOR_USAGE);
    return 0;
  }
  if ('wrong' in asked) {
    fail(`lanyard monitor: ${asked.wrong}\n\n${MONITOR_USAGE}`);
    return 2;
  }
  if (!asked.once && !is_terminal) {
    fail('lanyard monitor: this is no terminal; --once prints the batches once, and --once --json for scripts');
    return 2;
  }
  const gateway = connect(asked, dir, processEnv);
  if ('wrong' in gateway) {
    fail(`lanyard monitor: ${gateway.wrong}`);
    return 2;
  }
  const api = openApi(gateway);
  const query = { limit: BATCHES_MAX, ...(asked.all ? { all: 'true' as const } : {}) };
  const look = (signal?: AbortSignal): ReturnType<typeof listBatches> => listBatches(api, query, signal);
  try {
    const first = await look();
    if (asked.json) {
      const { batches } = first;
      out(JSON.stringify({ batches: batches.map(({ told }) => told), counts: countsOf(batches) }, null, 2));
    } else if (asked.once) {
      for (const line of onceOf({ ...first, all: asked.all, now_ms: Date.now() })) out(line);
    } else {
      // React's development build keeps every measurement it takes, for as long as it runs.
      process.env['NODE_ENV'] ??= 'production';
      const { showMonitor } = await import('./monitor/screen.ts');
      await showMonitor({ url: gateway.url, all: asked.all, every_ms: asked.every_ms, first, look });
    }
    return 0;
  } catch (error) {
    if (!(error instanceof ApiFault)) throw error;
    for (const line of toldOf('monitor', error, gateway)) fail(line);
    return 1;
  }
}

function read(argv: readonly string[]) {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...argv],
      options: {
        ...CONNECTION_OPTIONS,
        every: { type: 'string', default: '2s' },
        once: { type: 'boolean', default: false },
        all: { type: 'boolean', default: false },
      },
    }));
  } catch (error) {
    // parseArgs' own words, without their advice on positional arguments.
    return { wrong: error instanceof Error ? (error.message.split('. ', 1)[0] ?? '') : 'not understood' };
  }
  if (values.help) return 'help';
  if (values.json && !values.once) return { wrong: '--json needs --once' };
  const [, digits, unit = ''] = /^(\d{1,7})(ms|s|m|h)$/.exec(values.every) ?? [];
  const every_ms = Number(digits) * (UNITS[unit] ?? Number.NaN);
  if (!(every_ms >= EVERY_MS.min && every_ms <= EVERY_MS.max)) {
    return { wrong: '--every wants a time such as 500ms, 2s or 1m, from 200ms to 1h' };
  }
  return { ...values, every_ms };
}
