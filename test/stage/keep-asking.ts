// A caller who asks without a pause on connections it keeps, and repeats a request only where HTTP says it must: a connection
// it had kept was closed before a byte of the answer (RFC 9112 §9.3.1), or HTTP/2 said that the request was not looked at
// (RFC 9113 §6.8, §8.7). Everything else is a failure.
import { once } from 'node:events';
import { Agent as HttpAgent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { connect as connectHttp2, constants } from 'node:http2';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { onTestFinished } from 'vitest';

export interface Asking {
  /** Requests answered so far, each whole and with status 200. */
  readonly answered: number;
  /** Requests that had to be sent again. */
  readonly repeated: number;
  /** Resolves once so many more have been answered; rejects when one failed. */
  more(count: number): Promise<void>;
  /** Ends it after the request under way; rejects when one failed. */
  stop(): Promise<void>;
}

/** One request: `again` when it must be repeated; throws when it failed. */
type Ask = () => Promise<'answered' | 'again'>;

interface Options {
  readonly headers: Readonly<Record<string, string>>;
  readonly ca?: Buffer;
}

/** HTTP/1.1 on one kept connection at a time. */
export function keepAsking(url: string, { headers, ca }: Options): Asking {
  const secure = url.startsWith('https:');
  const agent = secure
    ? new HttpsAgent({ keepAlive: true, maxSockets: 1 })
    : new HttpAgent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  return repeat(async () => {
    const request = (secure ? httpsRequest : httpRequest)(url, { agent, headers, ca });
    const unanswered = closedUnanswered(request);
    request.end();
    try {
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      await whole(response, response.statusCode);
      return 'answered';
    } catch (error) {
      if (unanswered()) return 'again';
      throw error;
    }
  });
}

/** Whether a request's connection had been used before and gave not a byte for it. */
function closedUnanswered(request: ClientRequest): () => boolean {
  let before = 0;
  request.once('socket', (socket) => (before = socket.bytesRead));
  return () => request.reusedSocket && request.socket?.bytesRead === before;
}

/** HTTP/2: a new connection once the old one was told to go away. */
export function keepAskingHttp2(url: string, { headers, ca }: Options): Asking {
  const { origin, pathname } = new URL(url);
  const open = () => {
    const session = connectHttp2(origin, ca === undefined ? {} : { ca });
    const opened = { session, going: false, last_id: Number.POSITIVE_INFINITY };
    session.on('goaway', (_code: number, last_id: number) => Object.assign(opened, { going: true, last_id }));
    session.on('close', () => (opened.going = true)).on('error', () => (opened.going = true));
    onTestFinished(() => session.destroy());
    return opened;
  };
  let connection = open();
  return repeat(async () => {
    if (connection.going) connection = open();
    const used = connection;
    const stream = used.session.request({ ':path': pathname, ...headers });
    try {
      const [answer] = (await once(stream, 'response')) as [{ ':status': number }];
      await whole(stream, answer[':status']);
      return 'answered';
    } catch (error) {
      const refused = stream.rstCode === constants.NGHTTP2_REFUSED_STREAM;
      if (refused || stream.id === undefined || stream.id > used.last_id) return 'again';
      throw error;
    }
  });
}

async function whole(body: AsyncIterable<unknown>, status: number | undefined): Promise<void> {
  for await (const _ of body);
  if (status !== 200) throw new Error(`answered ${status}`);
}

function repeat(ask: Ask): Asking {
  let answered = 0;
  let repeated = 0;
  const stopping = new AbortController();
  const waiting = new Set<() => void>();
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      if ((await ask()) === 'again') repeated += 1;
      else answered += 1;
      for (const look of waiting) look();
    }
  };
  const running = run();
  running.catch(() => undefined);
  return {
    get answered() {
      return answered;
    },
    get repeated() {
      return repeated;
    },
    more(count) {
      const wanted = answered + count;
      const reached = new Promise<void>((resolve) => {
        const look = (): void => {
          if (answered < wanted) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
      });
      return Promise.race([reached, running]);
    },
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
