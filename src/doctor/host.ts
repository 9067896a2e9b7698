// This machine: Node's version, open files, memory, disk, and its clock against those of the servers that were asked.
import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { totalmem } from 'node:os';
import { dirname, resolve } from 'node:path';
import { about, count, type Finding } from './finding.ts';
import type { Config } from '../types.ts';

/** Another machine's time, as it was told: milliseconds ahead of ours, or behind (negative). */
export interface Clock {
  readonly of: string;
  readonly ahead_ms: number;
}

/** `engines` of package.json. */
const NODE_MIN = [24, 12] as const;
/** Beside callers and backends: log, Redis, listeners, files. */
const FILES_RESERVE = 64;
/** The gateway itself, and Node beneath it. */
const GATEWAY_BYTES = 256 << 20;
/** A Date header has whole seconds, and may be as old as its request. */
const AHEAD_NOTE_MS = 5_000;
const AHEAD_WARN_MS = 60_000;

/** `gateway_files_max`: of the running gateway, where it tells. */
export function host(limits: Config['limits'], gateway_files_max: number | undefined): Finding[] {
  return [node(), files(limits, gateway_files_max), memory(limits)];
}

/** Where batches are kept on this machine's disk: whether it can be written, and has room. `dir`: what the path is relative to. */
export function disk({ batch, database }: Pick<Config, 'batch' | 'database'>, dir: string): Finding[] {
  if (batch === undefined || database !== undefined) return [];
  const path = resolve(dir, batch.data);
  const said = about('host.disk', batch.data);
  const there = existing(path);
  try {
    accessSync(there, constants.W_OK);
  } catch {
    return [said.fail(`${there} cannot be written`, 'Give the folder to the user that runs the gateway.')];
  }
  const { bavail, bsize } = statfsSync(there);
  const free = bavail * bsize;
  const found = `${mib(free)} MiB free; files may take ${mib(batch.store_bytes_max)} MiB, and ${mib(batch.disk_free_bytes_min)} MiB are left`;
  if (free < batch.disk_free_bytes_min) {
    return [said.fail(found, 'No file is taken (507): make room, or lower batch.disk_free_bytes_min.')];
  }
  if (free < batch.disk_free_bytes_min + batch.store_bytes_max) {
    return [said.note(found, 'Lower batch.store_bytes_max if others need this disk too.')];
  }
  return [said.ok(found)];
}

/** The path, or what there is above it: the gateway makes the rest. */
function existing(path: string): string {
  let at = path;
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  return at;
}

/** A connection for each caller, and one to a backend for each request under way. */
function filesNeeded({ connections_max }: Config['limits']): number {
  return connections_max * 2 + FILES_RESERVE;
}

export function clock(clocks: readonly Clock[]): Finding[] {
  const said = about('host.clock', '');
  if (clocks.length === 0) return [said.skipped('no server was there to compare with')];
  const worst = clocks.reduce((a, b) => (Math.abs(b.ahead_ms) > Math.abs(a.ahead_ms) ? b : a));
  const apart_ms = Math.abs(worst.ahead_ms);
  const found = `the clocks of this machine and of ${worst.of} are ${Math.round(apart_ms / 1000)} s apart`;
  const remedy = 'Let both keep time by NTP (`timedatectl set-ntp true`): certificates and log lines go by it.';
  if (apart_ms >= AHEAD_WARN_MS) return [said.warn(found, remedy)];
  if (apart_ms >= AHEAD_NOTE_MS) return [said.note(found, remedy)];
  return [said.ok(`within ${AHEAD_NOTE_MS / 1000} s of ${count(clocks.length, 'server')}`)];
}

function node(): Finding {
  const said = about('host.node', process.version);
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const enough = major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1]);
  if (enough) return said.ok('new enough');
  return said.fail(
    `older than ${NODE_MIN.join('.')}`,
    'Use `npm start` or `npx lanyard`, which run the pinned Node.js.',
  );
}

function files(limits: Config['limits'], of_gateway: number | undefined): Finding {
  const said = about('host.files', '');
  const needed = filesNeeded(limits);
  const max = of_gateway ?? filesMax();
  const whose = of_gateway === undefined ? 'this process may open' : 'the running gateway may open';
  if (max === undefined) return said.skipped('this system does not tell how many files may be open');
  const found = `${whose} ${max === Infinity ? 'any number of' : max} files; ${needed} are needed for connections_max ${limits.connections_max}`;
  if (max >= needed) {
    return said.ok(of_gateway === undefined ? `${found} (a service has its own limit: LimitNOFILE)` : found);
  }
  return said.warn(
    found,
    `Raise it (systemd: LimitNOFILE=${needed}; Compose: ulimits.nofile), or lower limits.connections_max to ${Math.max(1, Math.floor((max - FILES_RESERVE) / 2))}.`,
  );
}

function memory({ bodies_bytes_max }: Config['limits']): Finding {
  const said = about('host.memory', '');
  // A container's own limit, where there is one; without, Node gives 0 or more than the machine has.
  const constrained = process.constrainedMemory();
  const total = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  const found = `${mib(total)} MiB; request bodies may take ${mib(bodies_bytes_max)} MiB of it`;
  if (bodies_bytes_max + GATEWAY_BYTES <= total / 2) return said.ok(found);
  if (bodies_bytes_max + GATEWAY_BYTES <= total)
    return said.note(found, 'If engines run here too, lower limits.bodies_bytes_max.');
  return said.warn(found, 'Lower limits.bodies_bytes_max, or give the gateway more memory: the system would end it.');
}

/** Node raises its own soft limit to the hard one as it starts, so the soft one told here is what counts. */
function filesMax(): number | undefined {
  // The types of Node 26.6 do not know it: without, the names of all peers are looked up, which takes its time.
  const report = Object.assign(process.report, { excludeNetwork: true });
  const { userLimits } = report.getReport() as { userLimits?: { open_files?: { soft?: unknown } } };
  const soft = userLimits?.open_files?.soft;
  if (soft === 'unlimited') return Infinity;
  return typeof soft === 'number' || typeof soft === 'string' ? Number(soft) : undefined;
}

function mib(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
