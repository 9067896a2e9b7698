// The addresses an operator writes: listening hosts, address ranges, backends' and Redis' URLs, browser origins. They are
// checked as written and kept as written; no message repeats a value, because a URL may hold a password.
import { isIP } from 'node:net';
import { z } from 'zod';

/** A host to listen on. */
export function host() {
  const error = 'must be an address or a host name to listen on, such as 127.0.0.1, 0.0.0.0, "::1" or localhost';
  return z.string({ error }).refine((text) => (isIP(text) !== 0 && !text.includes('%')) || isHostName(text), { error });
}

export function isLoopback(host: string): boolean {
  return host.toLowerCase() === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** An IP address, or a range such as `10.0.0.0/8`. */
export function range() {
  const error = 'must be an address or a range, such as 127.0.0.1, 10.0.0.0/8, "::1" or "fd00::/8"';
  return z.string({ error }).refine((text) => bits(text) !== undefined, { error });
}

/** A range whose X-Forwarded-For is believed: never everyone, or any caller could choose its own address. */
export function proxy() {
  const error = 'would trust every address on earth to say who it is; name the proxies';
  return range().refine((text) => bits(text) !== 0, { error });
}

/** The same, or empty. */
export function optionalUrl() {
  return z.union([z.literal(''), backendUrl()], { error: 'must be empty, or an http:// or https:// URL' });
}

/** Where a backend listens: http or https, and nothing in it that belongs elsewhere. */
export function backendUrl() {
  const error =
    'must be an http:// or https:// URL such as http://10.0.0.11:11434, with no user or password (use `key`), query or fragment';
  return z.string({ error }).refine((text) => isUrl(text, ['http:', 'https:']) && !/[?#]/.test(text) && !named(text), {
    error,
  });
}

/** Where Redis is; empty means none. */
export function redisUrl() {
  const error =
    'must be empty (no Redis) or a URL such as redis://127.0.0.1:6379/0, rediss://… for TLS, or unix:///run/redis.sock';
  return z
    .string({ error })
    .refine((text) => text === '' || isRedis(text), { error, abort: true })
    .refine((text) => text === '' || isDecodable(text), {
      error: 'has a % that begins no escape: write each % of the password as %25',
    });
}

/** A browser origin exactly as browsers send it; anything else would never match, and `*` would match too much. */
export function origin() {
  const error =
    'must be one origin as browsers send it: scheme://host or scheme://host:port, lower case, no path, no default port, never *';
  return z.string({ error }).refine(isOrigin, { error });
}

function isHostName(text: string): boolean {
  // All digits and dots, or one lone label of digits, would be a mistyped address.
  return (
    text.length <= 253 && /^(?![\d.]+$)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(text) && !text.includes('..')
  );
}

/** How many leading bits the range fixes; `undefined` when it is none. */
function bits(text: string): number | undefined {
  const [address = '', prefix, ...more] = text.split('/');
  const family = address.includes('%') ? 0 : isIP(address);
  if (family === 0 || more.length > 0) return undefined;
  const full = family === 4 ? 32 : 128;
  if (prefix === undefined) return full;
  if (!/^(0|[1-9]\d{0,2})$/.test(prefix) || Number(prefix) > full) return undefined;
  return Number(prefix);
}

/** Absolute, with a host, and free of what `URL` would silently repair: white space and backslashes. */
function isUrl(text: string, protocols: readonly string[]): boolean {
  if (/[\s\\\p{Cc}]/u.test(text) || !/^[a-z]+:\/\/[^/?#]/i.test(text) || !URL.canParse(text)) return false;
  const url = new URL(text);
  return protocols.includes(url.protocol) && url.hostname !== '';
}

function named(text: string): boolean {
  const url = new URL(text);
  return url.username !== '' || url.password !== '' || /^[^/]*\/\/[^/]*@/.test(text);
}

function isRedis(text: string): boolean {
  return /^unix:\/\/\/[^\s\p{Cc}]+$/u.test(text) || (isUrl(text, ['redis:', 'rediss:']) && !text.includes('#'));
}

/** The client takes user and password apart so, and would throw. */
function isDecodable(text: string): boolean {
  const { username, password } = new URL(text);
  try {
    return decodeURIComponent(`${username}:${password}`) !== '';
  } catch {
    return false;
  }
}

function isOrigin(text: string): boolean {
  if (/^https?:/i.test(text)) return !text.includes('*') && URL.canParse(text) && new URL(text).origin === text;
  // Desktop and editor clients: tauri://localhost, app://obsidian.md, vscode-webview://<id>.
  return /^[a-z][a-z0-9+.-]*:\/\/[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[1-9]\d{0,4})?$/.test(text);
}
