// Answers onto the wire, and waiting for what happens.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createReadStream } from 'node:fs';
import { finished, pipeline } from 'node:stream/promises';
import type { Reply } from './routes.ts';

/** After the whole of the request: who still uploads would see a broken connection and not the answer. */
export async function tell(
  req: IncomingMessage,
  res: ServerResponse,
  reply: Reply,
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  req.resume();
  await finished(req, { writable: false }).catch(() => {});
  if ('path' in reply) {
    res.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': reply.bytes });
    await pipeline(createReadStream(reply.path), res);
    return;
  }
  const { status, body } = reply;
  const type = typeof body === 'string' ? 'text/plain' : 'application/json';
  res.writeHead(status, { 'content-type': type, ...headers });
  res.end(typeof body === 'string' ? body : JSON.stringify(body));
}

export function until<Of>(
  watching: Set<() => void>,
  of: Of,
  predicate: (of: Of) => boolean,
  timeout_ms: number,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      watching.delete(look);
      clearTimeout(timer);
    };
    const timer = setTimeout(() => {
      end();
      reject(new Error(`It did not happen within ${timeout_ms} ms: ${String(predicate)}`));
    }, timeout_ms);
    const look = (): void => {
      try {
        if (!predicate(of)) return;
        end();
        resolve();
      } catch (error) {
        end();
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    };
    watching.add(look);
    look();
  });
}
