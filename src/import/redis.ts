// Where Redis is: LiteLLM's pieces in `router_settings`, put together into one URL.
import { redisUrl } from '../config/addresses.ts';
import type { Path } from '../config/faults.ts';
import type { Note, Source } from './source.ts';
import { literal, reference } from './values.ts';

/** @returns the URL as written in our YAML; `undefined`: there is none */
export function redis(source: Source): string | undefined {
  const at = (key: string): Path => ['router_settings', key];
  const text = (key: string): string | undefined => source.text(...at(`redis_${key}`));
  const url = text('url');
  if (url !== undefined) {
    for (const key of ['host', 'port', 'password', 'username', 'db', 'ssl'])
      source.remark({ kind: 'lost', text: 'redis_url goes before it' }, ...at(`redis_${key}`));
    return redisFromUrl(source, url, at('redis_url'));
  }
  const host = piece(text('host'), /^[A-Za-z0-9.-]+$/);
  if (host === undefined) return undefined;
  const parts = {
    port: piece(text('port'), /^([1-5]?\d{1,4}|6[0-4]\d{3})$/),
    db: piece(text('db'), /^\d+$/),
    username: piece(text('username'), /^[\w.-]+$/),
  };
  for (const [key, part] of Object.entries({ host, ...parts }))
    if (part !== undefined) source.carry(...at(`redis_${key}`));
  const ssl = source.at(...at('redis_ssl')) === true;
  if (typeof source.at(...at('redis_ssl')) === 'boolean') source.carry(...at('redis_ssl'));
  const login = `${parts.username ?? ''}${redisPassword(source, text('password'), at('redis_password'))}`;
  const port = parts.port ?? '6379';
  return `redis${ssl ? 's' : ''}://${login === '' ? '' : `${login}@`}${host}:${port}${parts.db === undefined ? '' : `/${parts.db}`}`;
}

function redisFromUrl(source: Source, url: string, path: Path): string | undefined {
  const variable = reference(url);
  if (variable !== undefined) source.carry(...path);
  else if (!redisUrl().safeParse(url).success) return undefined;
  else if (SECRETIVE.test(url)) source.remark(secret('REDIS_URL'), ...path);
  else source.carry(...path);
  return variable ?? (SECRETIVE.test(url) ? '${REDIS_URL}' : literal(url));
}

/** A URL with what may be a password. */
const SECRETIVE = /[@?]/;

function redisPassword(source: Source, password: string | undefined, path: Path): string {
  if (password === undefined) return '';
  source.remark(reference(password) === undefined ? secret('REDIS_PASSWORD') : ENCODED, ...path);
  return `:${reference(password) ?? '${REDIS_PASSWORD}'}`;
}

const ENCODED: Note = {
  kind: 'todo',
  text: 'it becomes part of a URL: characters such as @ : / % in it must be percent-encoded in .env',
};

function secret(name: string): Note {
  const text = `this secret stood in the file; it is not copied: put it into .env as ${name}, percent-encoded as a URL needs it`;
  return { kind: 'todo', text };
}

/** One part of an address: from the environment, or as it stands. */
function piece(text: string | undefined, form: RegExp): string | undefined {
  if (text === undefined) return undefined;
  return reference(text) ?? (form.test(text) ? text : undefined);
}
