// A listening socket that outlives the gateways it is handed to, as systemd's socket units do: bound here and polled by
// nobody here, it goes to a child as file descriptor 3, and callers wait in its queue while no child is there.
import net from 'node:net';
import { onTestFinished } from 'vitest';

interface BoundHandle {
  readonly fd: number;
  getsockname(out: { port?: number }): number;
  close(): void;
}

export interface HeldSocket {
  readonly fd: number;
  readonly port: number;
}

export function holdSocket(): HeldSocket {
  // What node:cluster binds shared ports with: a server made the public way would take the callers itself.
  const bind = (
    net as unknown as Record<'_createServerHandle', (host: string, port: number, family: number) => unknown>
  )['_createServerHandle'];
  const handle = bind('127.0.0.1', 0, 4) as BoundHandle | number;
  if (typeof handle === 'number') throw new Error(`no socket could be bound (${handle})`);
  onTestFinished(() => handle.close());
  const name: { port?: number } = {};
  handle.getsockname(name);
  return { fd: handle.fd, port: name.port ?? 0 };
}
