// Sockets that a systemd socket unit opened before we started (sd_listen_fds(3)): it keeps them while the gateway is started
// anew, and who calls in the meantime waits in their queues instead of being refused.
import { ConfigError } from '../config/faults.ts';
import type { Config } from '../types.ts';

/** systemd passes them from this one on. */
const FIRST_FD = 3;

/**
 * Their file descriptors, one for each of the first listeners, in order.
 * @throws ConfigError when there are more of them than listeners
 */
export function handedOver(
  { LISTEN_PID, LISTEN_FDS }: Readonly<Record<string, string | undefined>>,
  pid: number,
  { listen }: Config,
): readonly number[] {
  // Another process's: the variables are inherited, the sockets are not ours.
  if (LISTEN_PID !== String(pid)) return [];
  const count = Number(LISTEN_FDS);
  if (!Number.isInteger(count) || count < 0) return [];
  if (count > listen.length) {
    throw new ConfigError([
      `${count} sockets were handed over (ListenStream= in lanyard.socket), but "listen" names ${listen.length}`,
    ]);
  }
  return Array.from({ length: count }, (_, at) => FIRST_FD + at);
}
