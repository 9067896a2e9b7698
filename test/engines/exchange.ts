// A service behind a token exchange, as the original was: a token for a code, two routes that want it raw, answers in an
// envelope, and `errorCode: 401` where a token is refused. It keeps what it was sent, and refuses what it is told to.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTls } from 'node:https';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { vector } from './answers.ts';

export interface Exchange {
  readonly url: string;
  /** The bodies of token requests, as they came. */
  readonly codes: string[];
  readonly asked: {
    readonly path: string;
    readonly token: string;
    readonly body: Record<string, unknown>;
    readonly raw: string;
  }[];
  /** Calls under way that have not been answered. */
  readonly open: () => number;
  /** For the next token requests, one each. */
  tokens(...answers: Told[]): void;
  /** For the next calls, one each. */
  next(...answers: Told[]): void;
  /** From now on only tokens given after this are good. */
  expire(): void;
  /** Lets the calls go on that are `held`. */
  release(): void;
}

/** An answer in place of the usual one. */
interface Told {
  readonly status?: number;
  readonly body?: unknown;
  readonly type?: string;
  readonly held?: boolean;
  /** Whole events, sent as a stream. */
  readonly events?: readonly object[];
}

interface Options {
  readonly code?: string;
  /** Of a token, in seconds; left out of the answer where it is. */
  readonly expires_in?: number;
  /** How the token answer is laid out. */
  readonly layout?: 'envelope' | 'rfc6749';
  /** What stands before the token in the header. */
  readonly before?: string;
  readonly tls?: { readonly key: string; readonly cert: string };
}

export async function startExchange(options: Options = {}): Promise<Exchange> {
  const { code = 'the-code', layout = 'envelope', before = '', tls } = options;
  const codes: string[] = [];
  const asked: Exchange['asked'] = [];
  const token_answers: Told[] = [];
  const call_answers: Told[] = [];
  const waiting = new Set<() => void>();
  let given = 0;
  let good_from = 1;
  let open = 0;

  const tell = (res: ServerResponse, { status = 200, body, type = 'application/json' }: Told): void => {
    res.writeHead(status, { 'content-type': type }).end(typeof body === 'string' ? body : JSON.stringify(body));
  };

  const give = async (res: ServerResponse, raw: string): Promise<void> => {
    codes.push(raw);
    const told = token_answers.shift();
    if (told?.held === true) await new Promise<void>((resolve) => waiting.add(resolve));
    else if (told !== undefined) return tell(res, told);
    if (!raw.includes(code))
      return tell(res, { status: 400, body: { error: 'invalid_grant', error_description: raw } });
    const token = { access_token: `token-${(given += 1)}`, expires_in: options.expires_in };
    tell(res, { body: layout === 'envelope' ? { data: token } : { token_type: 'Bearer', ...token } });
  };

  const serve = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk as Buffer);
    const raw = Buffer.concat(chunks).toString('utf8');
    const path = req.url ?? '';
    if (path === '/token') return await give(res, raw);
    const token = req.headers.authorization ?? '';
    const body = JSON.parse(raw) as Record<string, unknown>;
    asked.push({ path, token, body, raw });
    open += 1;
    res.once('close', () => (open -= 1));
    const told = call_answers.shift();
    if (told?.held === true) await new Promise<void>((resolve) => waiting.add(resolve));
    if (told?.events !== undefined) {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const event of told.events) res.write(`data: ${JSON.stringify(event)}\n\n`);
      return void res.end('data: [DONE]\n\n');
    }
    if (told?.body !== undefined || told?.status !== undefined) return tell(res, told);
    const number = Number(/^token-(\d+)$/.exec(token.slice(before.length))?.[1] ?? 0);
    if (!token.startsWith(before) || number < good_from)
      return tell(res, { status: 400, body: { errorCode: 401, message: 'expired' } });
    if (path === '/embeddings') return tell(res, { body: { data: { content: vector(String(body['text'])) } } });
    const called = Array.isArray(body['tools']) && body['tool_choice'] !== 'none';
    const content = called
      ? { content: '', tool_calls: [{ name: 'look', arguments: '{"where":"there"}' }] }
      : { content: 'Grüße, 世界 🌍!' };
    tell(res, { body: { data: { content } } });
  };

  const handler = (req: IncomingMessage, res: ServerResponse): void => void serve(req, res).catch(() => res.destroy());
  const server = tls === undefined ? createServer(handler) : createTls(tls, handler);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const go of waiting) go();
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    codes,
    asked,
    open: () => open,
    tokens: (...answers) => void token_answers.push(...answers),
    next: (...answers) => void call_answers.push(...answers),
    expire: () => void (good_from = given + 1),
    release: () => {
      for (const go of waiting) go();
      waiting.clear();
    },
  };
}
