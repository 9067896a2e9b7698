// A plain TCP way between a client and the gateway: it hears what the gateway sends, and can be cut.
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import { until } from '../engines/batch-api/tell.ts';

export interface Tap {
  readonly url: string;
  /** What came from the gateway, a text for each connection in the order of their beginnings. */
  readonly heard: readonly string[];
  /** Resolves when the predicate holds; looked at whenever something comes. Rejects after `timeout_ms` (5 s). */
  until(predicate: (tap: Tap) => boolean, timeout_ms?: number): Promise<void>;
  /** Breaks every connection; the next ones are whole. */
  cut(): void;
}

export async function openTap(port: number): Promise<Tap> {
  const heard: string[] = [];
  const sockets = new Set<Socket>();
  const watching = new Set<() => void>();
  const server = createServer((client) => {
    const gateway = connect(port, '127.0.0.1');
    const at = heard.push('') - 1;
    gateway.on('data', (bytes: Buffer) => {
      heard[at] += bytes.toString('latin1');
      for (const look of watching) look();
    });
    for (const [one, other] of [
      [client, gateway],
      [gateway, client],
    ] as const) {
      sockets.add(one);
      one.on('error', () => {});
      one.once('close', () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  onTestFinished(() => {
    cut();
    server.close();
  });
  const tap: Tap = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    heard,
    until: (predicate, timeout_ms = 5000) => until(watching, tap, predicate, timeout_ms),
    cut,
  };
  return tap;
}
