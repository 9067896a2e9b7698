// A port that is free now and likely stays so until a server of the test takes it. Chosen below the range from which
// systems serve outgoing connections and `listen(0)` (32768 up on Linux, 49152 up elsewhere), so that neither a client's
// socket nor another test's server takes it while a killed server is away.
import { createServer } from 'node:net';

/** Given before in this process: a test that takes several at once must not be given one twice. */
const given = new Set<number>();

export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    return port;
  }
  throw new Error('no free port found between 20000 and 32000');
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
