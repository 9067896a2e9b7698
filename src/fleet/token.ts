// The token of a service that gives one for a code: had once for any number of waiting requests, kept in memory only, had anew
// a little before it ends, dropped when the service refuses it. Understood are the original's answer, `{"data":
// {"access_token"}}`, and RFC 6749's (§5.1, §5.2).
import { setTimeout as pause } from 'node:timers/promises';
import { isRecord, parseRecord, type Json } from '../wire/record.ts';
import { HttpFault, Refused } from './fault.ts';
import { readAll, type Ask, type HttpAnswer } from './http.ts';
import type { Waits } from './exchange.ts';
import { GatewayError } from '../wire/errors.ts';
import type { TokenSource } from '../types.ts';

/** One token, told apart from the next: a late refusal must not drop its successor. */
export interface Had {
  readonly authorization: string;
  /** On the monotonic clock, as `ends_at`: from here on another one is fetched meanwhile. */
  readonly renew_at: number;
  readonly ends_at: number;
}

/** Renewed this long before its end, or a fifth of its life before, whichever is less. */
const EARLY_MS = 60_000;
const EARLY_SHARE = 0.2;
/** After a failure the service is left alone this long; who asks meanwhile is told of the failure. */
const REST_MS = 1_000;
const REST_MS_MAX = 300_000;
const TRIES = 3;
const PAUSE_MS = 200;
const ANSWER_BYTES_MAX = 64 * 1024;
const ANSWER_MS = 10_000;

type Send = (
  ask: Ask & { origin: string },
  waits: Waits & { connect_ms: number },
  signal: AbortSignal,
) => Promise<HttpAnswer>;

export class Token {
  readonly #source: TokenSource;
  readonly #send: Send;
  readonly #connect_ms: number;
  #had: Had | undefined;
  #fetching: Promise<Had> | undefined;
  #failed: { readonly error: Refused; readonly until: number } | undefined;
  #refresh_token: string | undefined;
  /** Of the code, in a row. */
  #refusals = 0;

  constructor(source: TokenSource, send: Send, connect_ms: number) {
    this.#source = source;
    this.#send = send;
    this.#connect_ms = connect_ms;
  }

  /** The token to go with a request. @throws Refused where none can be had */
  async get(now = performance.now()): Promise<Had> {
    const had = this.#had;
    if (had !== undefined && now < had.ends_at) {
      if (now >= had.renew_at) void this.#fetch().catch(() => undefined);
      return had;
    }
    if (this.#failed !== undefined && now < this.#failed.until) throw this.#failed.error;
    return await this.#fetch();
  }

  /** Why none can be had, since the last try. */
  get failure(): GatewayError | undefined {
    return this.#failed?.error.meaning;
  }

  /** The service refused exactly this one. */
  drop(had: Had): void {
    if (this.#had === had) this.#had = undefined;
  }

  /** Whether an answer says that the token is refused: by its status, or by `errorCode: 401` whatever the status. */
  refusedBy(status: number, body: Buffer | undefined): boolean {
    if (this.#source.refused.includes(status)) return true;
    const told = body === undefined ? undefined : parseRecord(body.toString('utf8'));
    return told !== undefined && (told['errorCode'] === 401 || told['errorCode'] === '401');
  }

  #fetch(): Promise<Had> {
    this.#fetching ??= this.#tryFetch().finally(() => (this.#fetching = undefined));
    return this.#fetching;
  }

  async #tryFetch(): Promise<Had> {
    try {
      for (let tries = 1; ; tries += 1) {
        try {
          return await this.#ask();
        } catch (error) {
          // Only what says nothing about the code: the next try may find the service up.
          const again = error instanceof HttpFault || (error instanceof Refused && error.status >= 500);
          if (!again || tries === TRIES) throw error;
          await pause(PAUSE_MS * tries * (0.5 + Math.random()));
        }
      }
    } catch (error) {
      const failure = error instanceof Refused ? error : unreachable(error);
      // A code that is refused once is refused again, and may be taken for an attack.
      const rest_ms = failure.status < 500 ? Math.min(REST_MS * 2 ** this.#refusals++, REST_MS_MAX) : REST_MS;
      this.#failed = { error: failure, until: performance.now() + rest_ms };
      throw failure;
    }
  }

  async #ask(): Promise<Had> {
    const { origin, pathname } = new URL(this.#source.url);
    const sent = this.#request();
    const waits = { connect_ms: this.#connect_ms, first_byte_ms: ANSWER_MS, idle_ms: ANSWER_MS };
    const ask = {
      method: 'POST',
      origin,
      path: pathname,
      headers: sent.headers,
      body: [Buffer.from(sent.body)],
    } as const;
    const answer = await this.#send(ask, waits, AbortSignal.timeout(ANSWER_MS));
    const body = parseRecord((await readAll(answer, ANSWER_BYTES_MAX, ANSWER_MS)).toString('utf8'));
    const told = tokenIn(body);
    if (answer.status < 200 || answer.status > 299 || told === undefined) {
      // A refresh token that has ended is no reason to give up: the code may still be good.
      if (this.#refresh_token !== undefined) {
        this.#refresh_token = undefined;
        return await this.#ask();
      }
      throw refused(answer.status, body?.['error']);
    }
    this.#refresh_token = this.#source.request === 'form' ? told.refresh_token : undefined;
    const life_ms = told.life_ms ?? this.#source.ttl_ms;
    const now = performance.now();
    const had: Had = {
      authorization: this.#source.header === 'raw' ? told.token : `Bearer ${told.token}`,
      renew_at: now + life_ms - Math.min(EARLY_MS, life_ms * EARLY_SHARE),
      ends_at: now + life_ms,
    };
    this.#had = had;
    this.#failed = undefined;
    this.#refusals = 0;
    return had;
  }

  #request(): { readonly headers: Readonly<Record<string, string>>; readonly body: string } {
    const { request, code, fields } = this.#source;
    if (request === 'json')
      return { headers: JSON_HEADERS, body: JSON.stringify({ ...(code !== undefined && { code }), ...fields }) };
    const form = new URLSearchParams(
      this.#refresh_token !== undefined
        ? { ...fields, grant_type: 'refresh_token', refresh_token: this.#refresh_token }
        : {
            grant_type: code === undefined ? 'client_credentials' : 'authorization_code',
            ...(code !== undefined && { code }),
            ...fields,
          },
    );
    return { headers: FORM_HEADERS, body: form.toString() };
  }
}

const COMMON = { accept: 'application/json', 'accept-encoding': 'identity', 'user-agent': 'lanyard' };
const JSON_HEADERS = { ...COMMON, 'content-type': 'application/json' };
const FORM_HEADERS = { ...COMMON, 'content-type': 'application/x-www-form-urlencoded' };

interface Told {
  readonly token: string;
  readonly life_ms: number | undefined;
  readonly refresh_token: string | undefined;
}

/** A token as a header can carry it, wherever the answer has it. */
function tokenIn(body: Json | undefined): Told | undefined {
  if (body === undefined) return undefined;
  const told = isRecord(body['data']) ? { ...body, ...body['data'] } : body;
  const { access_token, expires_in, expires_at, refresh_token } = told;
  if (typeof access_token !== 'string' || !/^[\x21-\x7e]+$/.test(access_token)) return undefined;
  return {
    token: access_token,
    life_ms: lifeOf(expires_in, expires_at, access_token),
    refresh_token: typeof refresh_token === 'string' ? refresh_token : undefined,
  };
}

/** From `expires_in` or `expires_at` in seconds, else from the `exp` of a token that is a JWT (RFC 7519 §4.1.4). */
function lifeOf(expires_in: unknown, expires_at: unknown, token: string): number | undefined {
  const seconds = Number(expires_in ?? Number.NaN);
  if (Number.isFinite(seconds) && seconds > 0) return seconds * 1000;
  const [, payload = ''] = token.split('.');
  const claims = parseRecord(Buffer.from(payload, 'base64url').toString('utf8'));
  const at = Number(expires_at ?? claims?.['exp'] ?? Number.NaN);
  const life_ms = at * 1000 - Date.now();
  return Number.isFinite(life_ms) && life_ms > 0 ? life_ms : undefined;
}

/** RFC 6749 §5.2 has the reason as one of a few words; nothing else of the answer is told. */
function refused(status: number, error: unknown): Refused {
  const word = typeof error === 'string' && /^[a-z_]{1,40}$/.test(error) ? ` (${error})` : '';
  const message =
    status >= 500
      ? `The backend's token URL failed with status ${status}.`
      : `The backend's token URL gave no token${word}: check \`token_url\` and \`code\` of its \`exchange\` (TOKEN_URL and AUTH_CODE).`;
  return new Refused(status, new GatewayError('upstream_auth', message, { cause: `token status ${status}` }), true);
}

function unreachable(error: unknown): Refused {
  const kind = error instanceof HttpFault ? error.kind : 'unreadable';
  const message = "The backend's token URL cannot be reached (TOKEN_URL).";
  return new Refused(502, new GatewayError('upstream_unreachable', message, { cause: `token ${kind}` }), true);
}
