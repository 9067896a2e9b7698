// `lanyard serve`: reads the configuration, starts the gateway, says where it listens and what it found, and from then on
// listens to signals and to changes of the file.
import { unwatchFile, watchFile } from 'node:fs';
import { banner } from './banner.ts';
import { ensureMasterKey } from './master-key.ts';
import { handedOver } from './sockets.ts';
import { VERSION } from './version.ts';
import { readEnvironment } from '../config/environment.ts';
import { ConfigError } from '../config/faults.ts';
import { configPath, loadConfig } from '../config/load.ts';
import { WrongSocket } from '../edge/listener.ts';
import { startGateway, type Gateway } from '../gateway.ts';
import { describeError, openLog, type Log } from '../ops/log.ts';
import type { Config } from '../types.ts';

const WATCH_MS = 1_000;

/** What is heard from the system, from before the start to the end. */
interface Signals {
  /** Aborted by the first SIGTERM or SIGINT; a second one ends the process. */
  readonly stop: AbortSignal;
  /** Calls back at each SIGHUP, and at once for one that came earlier. */
  readonly onReload: (listener: () => void) => void;
}

/** Serves until told to stop. Resolves with the exit status: 0 after a clean stop, 1 when it could not start. */
export async function serve(argv: readonly string[], out: (line: string) => void): Promise<number> {
  const dir = process.cwd();
  const started = performance.now();
  let gateway: Gateway;
  let log: Log | undefined;
  let file: string;
  const signals = hear(() => log?.flush());
  try {
    const env = readEnvironment(dir, process.env);
    file = configPath(argv, env);
    const config = await ready(loadConfig(file, env), dir, out);
    log = openLog(config.log_level);
    endOnBugs(log);
    const sockets = handedOver(process.env, process.pid, config);
    gateway = await startGateway({ config, version: VERSION, log, sockets, stopping: signals.stop });
    banner({ config, gateway, version: VERSION, started_ms: performance.now() - started }, out);
  } catch (error) {
    log?.flush();
    for (const line of reasons(error)) process.stderr.write(`${line}\n`);
    return 1;
  }
  return await live(gateway, log, file, dir, signals, out);
}

/**
 * Heard from the first moment: by default SIGHUP would end a gateway that is still starting, SIGTERM would cut off whom it
 * serves already, and the first process of a container would not even end.
 */
function hear(beforeExit: () => void): Signals {
  const stop = new AbortController();
  let missed = false;
  let onReload = (): void => void (missed = true);
  process.on('SIGHUP', () => onReload());
  for (const signal of STOP) {
    process.on(signal, () => {
      // The second one means now.
      if (stop.signal.aborted) {
        beforeExit();
        process.exit(1);
      }
      stop.abort();
    });
  }
  return {
    stop: stop.signal,
    onReload: (listener) => {
      onReload = listener;
      if (missed) listener();
    },
  };
}

const STOP = ['SIGTERM', 'SIGINT'] as const;

/** A bug nobody caught leaves nothing to be trusted. Node's own report would quote its message, and with it perhaps a prompt. */
function endOnBugs(log: Log): void {
  process.on('uncaughtException', (error, origin) => {
    log.error('bug: the gateway ends', { origin, ...describeError(error) });
    log.flush();
    process.exit(1);
  });
}

/** The configuration with a master key, made and kept in `.env` where none was set. */
async function ready(config: Config, dir: string, out: (line: string) => void): Promise<Config> {
  const key = await ensureMasterKey({ dir, config, env: process.env, tty: process.stdout.isTTY, out });
  return key === undefined ? config : { ...config, keys: [key, ...config.keys] };
}

async function live(
  gateway: Gateway,
  log: Log,
  file: string,
  dir: string,
  { stop, onReload }: Signals,
  out: (line: string) => void,
): Promise<number> {
  const once = async (before: Promise<void>): Promise<void> => {
    await before;
    if (stop.aborted) return;
    try {
      await gateway.reload(await ready(loadConfig(file, readEnvironment(dir, process.env)), dir, out));
      log.info('configuration reloaded');
      gateway.reloaded('ok');
    } catch (error) {
      if (stop.aborted) return;
      for (const line of reasons(error)) log.error('configuration refused, the old one stays', { fault: line });
      gateway.reloaded('refused');
    }
  };
  let reloading = Promise.resolve();
  const reload = (): void => void (reloading = once(reloading));
  watchFile(file, { interval: WATCH_MS }, (now, before) => {
    if (now.mtimeMs !== before.mtimeMs || now.ino !== before.ino) reload();
  });
  onReload(reload);
  if (!stop.aborted) await new Promise((resolve) => stop.addEventListener('abort', resolve, { once: true }));
  unwatchFile(file);
  // Not after a reload under way: its probes of a backend that hangs would hold up the drain.
  await gateway.stop();
  // A configuration may have left sockets to others open; nothing of ours is under way any more.
  process.exit(0);
}

function reasons(error: unknown): readonly string[] {
  if (error instanceof ConfigError) return error.faults;
  if (error instanceof WrongSocket) {
    return [`lanyard: ${error.message}. Make ListenStream= in lanyard.socket and "listen" the same, and restart.`];
  }
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
    return [`lanyard: the port is taken (${error.message}). Set PORT, or change "listen" in the configuration.`];
  }
  if (error instanceof Error && 'syscall' in error) return [`lanyard: ${error.message}`];
  const { error: name, stack } = describeError(error);
  return [`lanyard: ${name}`, stack ?? ''];
}
