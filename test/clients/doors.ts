// An editor before the gateway: the page's addresses as they are reached here, a request by hand, and a stream read the way
// editors read it.
import { once } from 'node:events';
import { request as requestHttp, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import { expect, onTestFinished } from 'vitest';
import { LAN, LOCAL, NET } from '../docs/stage.ts';
import { startEngine, type FakeEngine } from '../engines/engine.ts';
import { openFront } from '../stage/front.ts';
import { KEY, openGateway, type Stage } from '../stage/gateway.ts';
import type { ENGINES } from './engines.ts';

export interface Doors {
  readonly engine: FakeEngine;
  readonly gateway: Stage;
  /** An address of the page, as it is reached here. */
  at(url: string): string;
  ask(url: string, body?: object, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  /** What a browser asks before a page may send a chat. */
  preflight(url: string, origin: string): Promise<Answer>;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export const VLLM = { kind: 'vllm', engine: 'vllm', base: '' } as const;
export const AUTH = { authorization: `Bearer ${KEY}` };

/** One engine behind the names of the page, the gateway, and (where `through` says so) nginx in front of it. */
export async function openDoors(
  row: (typeof ENGINES)[number] = VLLM,
  through: 'gateway' | 'nginx' = 'gateway',
  yaml = '',
): Promise<Doors> {
  const engine = await startEngine({ kind: row.kind, models: ['there', { name: 'vectors', embeds: true }] });
  onTestFinished(() => engine.stop());
  const gateway = await openGateway(`
backends:
  rack: { engine: ${row.engine}, url: "${engine.url}${row.base}" }
models:
  deepseek-coder: [rack/there]
  qwen-coder: [rack/there]
  qwen-coder-fim: [rack/there]
  mistral: [rack/there]
  embedding: [rack/vectors]
${yaml}`);
  const front =
    through === 'nginx'
      ? await openFront('ip: off', [['proxy_pass http://gateway;', `proxy_pass http://127.0.0.1:${gateway.port};`]])
      : undefined;
  const at = (url: string): string => {
    const here = url.replace(LOCAL, gateway.url);
    return front === undefined ? here : here.replace(LAN, front.lan).replace(NET, front.tls);
  };
  const send = async (
    method: string,
    url: string,
    headers: Readonly<Record<string, string>>,
    body?: object,
  ): Promise<Answer> => {
    const make = at(url).startsWith('https:') ? requestHttps : requestHttp;
    const trust = front === undefined ? {} : { ca: front.ca };
    const asked = make(at(url), { method, agent: false, headers, ...trust });
    asked.end(body === undefined ? undefined : JSON.stringify(body));
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    const parts = await response.setEncoding('utf8').toArray();
    return { status: response.statusCode ?? 0, headers: response.headers, text: parts.join('') };
  };
  return {
    engine,
    gateway,
    at,
    ask: (url, body, headers = AUTH) =>
      send(body === undefined ? 'GET' : 'POST', url, { 'content-type': 'application/json', ...headers }, body),
    preflight: (url, origin) =>
      send('OPTIONS', url, {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization, content-type',
      }),
  };
}

/** Of a body that arrived at the engine. */
export const asked = ({ engine }: Doors, at = 0): Record<string, unknown> =>
  JSON.parse(String(engine.asked[at]?.body)) as Record<string, unknown>;

interface Chunk {
  readonly object: string;
  readonly choices: readonly { readonly delta?: { readonly content?: string | null }; readonly text?: string }[];
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number } | null;
}

/**
 * Continue's own reader (core's streamSse): a line at a time; `: ping` ends its loop over what has arrived, so it must never
 * come; of other lines only those with `data:` count, and what follows must be JSON.
 */
export function readLines(text: string): Chunk[] {
  const chunks: Chunk[] = [];
  for (const line of text.split('\n')) {
    expect(line).toMatch(/^(?:data: .*|: keep-alive|)$/);
    if (!line.startsWith('data:')) continue;
    const data = line.slice('data:'.length).trim();
    if (data === '[DONE]') return chunks;
    const chunk = JSON.parse(data) as Chunk & { error?: { message: string } };
    if (chunk.error !== undefined) throw new Error(chunk.error.message);
    chunks.push(chunk);
  }
  throw new Error('the stream ended without [DONE]');
}

export const said = (chunks: readonly Chunk[]): string =>
  chunks.map(({ choices }) => choices[0]?.delta?.content ?? choices[0]?.text ?? '').join('');
