// One request by hand, as a caller on the network makes it: no pool and no retries, the address it comes from may be chosen, and
// the certificate it was shown can be looked at. fleet/http.ts is for backends, and hides just what is wanted here.
import { once } from 'node:events';
import { request as requestHttp, type ClientRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import { getCACertificates } from 'node:tls';

export interface Question {
  readonly url: URL;
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** The address to come from, one of this machine's. */
  readonly from?: string;
  /** More authorities to believe, in PEM. Without `trusting`, any certificate will do: then nothing secret is sent. */
  readonly trusting?: readonly string[];
  readonly wait_ms: number;
  readonly signal?: AbortSignal;
}

export interface Told {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The address we were seen to come from, on this machine. */
  readonly from: string;
}

/** No answer: `code` is the system's, OpenSSL's or `TIMEOUT`. */
export class Unanswered extends Error {
  override readonly name = 'Unanswered';
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

const TEXT_BYTES_MAX = 4 << 20;

/** The whole answer. @throws Unanswered */
export async function ask(question: Question): Promise<Told> {
  const asked = open(question);
  asked.end(question.body);
  try {
    const response = await answerOf(asked);
    const from = response.socket.localAddress ?? '';
    let text = '';
    response.setEncoding('utf8');
    for await (const part of response as AsyncIterable<string>) {
      text += part;
      if (text.length > TEXT_BYTES_MAX) throw new Unanswered('TOO_LARGE');
    }
    return { status: response.statusCode ?? 0, headers: response.headers, text, from };
  } catch (error) {
    throw unanswered(error);
  } finally {
    asked.destroy();
  }
}

/** The answer's body as it comes: `arrived` is called for every piece until it returns false. @throws Unanswered */
export async function listen(
  question: Question,
  arrived: (piece: string, at_ms: number) => boolean,
): Promise<{ status: number; headers: IncomingHttpHeaders }> {
  const asked = open(question);
  asked.end(question.body);
  try {
    const response = await answerOf(asked);
    response.setEncoding('utf8');
    for await (const piece of response as AsyncIterable<string>) if (!arrived(piece, performance.now())) break;
    return { status: response.statusCode ?? 0, headers: response.headers };
  } catch (error) {
    throw unanswered(error);
  } finally {
    asked.destroy();
  }
}

/**
 * Offers a body of `bytes` without sending it (RFC 9110 §10.1.1): 100 says that it would be taken, anything else is the
 * refusal. @throws Unanswered
 */
export async function offer(question: Question, bytes: number): Promise<Told | 'welcome'> {
  const headers = { ...question.headers, 'content-length': String(bytes), expect: '100-continue' };
  const asked = open({ ...question, headers });
  const welcome = once(asked, 'continue').then(() => 'welcome' as const);
  welcome.catch(() => undefined);
  asked.flushHeaders();
  try {
    const answer = await Promise.race([welcome, answerOf(asked)]);
    if (answer === 'welcome') return answer;
    const parts = await answer.setEncoding('utf8').toArray();
    return { status: answer.statusCode ?? 0, headers: answer.headers, text: parts.join(''), from: '' };
  } catch (error) {
    throw unanswered(error);
  } finally {
    asked.destroy();
  }
}

/** What programs on this machine may believe: Node's own authorities, NODE_EXTRA_CA_CERTS, the system's, and `more`. */
export function authorities(more: readonly string[] = []): string[] {
  return [...getCACertificates('default'), ...getCACertificates('system'), ...more];
}

function open({ url, method = 'GET', headers = {}, from, trusting, wait_ms, signal }: Question): ClientRequest {
  const times = [AbortSignal.timeout(wait_ms), ...(signal === undefined ? [] : [signal])];
  const options = {
    method,
    agent: false as const,
    headers: { 'user-agent': 'lanyard-doctor', ...headers },
    signal: AbortSignal.any(times),
    ...(from === undefined ? {} : { localAddress: from, family: 4 }),
  };
  if (url.protocol === 'http:') return requestHttp(url, options);
  const belief = trusting === undefined ? { rejectUnauthorized: false } : { ca: authorities(trusting) };
  return requestHttps(url, { ...options, ...belief });
}

async function answerOf(asked: ClientRequest): Promise<IncomingMessage> {
  // After the answer has begun, its own stream tells; without a listener here a late reset would end the process.
  asked.on('error', () => undefined);
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  return response;
}

function unanswered(error: unknown): Unanswered {
  if (error instanceof Unanswered) return error;
  if (!(error instanceof Error)) return new Unanswered('UNKNOWN');
  if (error.name === 'AbortError' || error.name === 'TimeoutError') return new Unanswered('TIMEOUT');
  return new Unanswered('code' in error && typeof error.code === 'string' ? error.code : 'UNKNOWN');
}

/** A failure in words. */
export function inWords({ code }: Unanswered): string {
  return WORDS[code] ?? (TLS.test(code) ? `its certificate is not accepted (${code})` : `does not answer (${code})`);
}

const TLS = /^(?:CERT_|ERR_TLS|ERR_SSL|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|HOSTNAME_|EPROTO$)/;
const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'the name is not known',
  EAI_AGAIN: 'the name cannot be looked up now',
  EHOSTUNREACH: 'no way leads there',
  ENETUNREACH: 'no way leads there',
  ECONNRESET: 'the connection is cut at once',
  TIMEOUT: 'no answer in time',
};
