// The URL of a PostgreSQL: what of it may be told, and how it is understood. Pure.

/** @throws Error, without the URL, for one that pg could not parse */
export function checkUrl(url: string): void {
  if (!/^postgres(?:ql)?:\/\//i.test(url)) throw new Error('the database is a URL postgres://…, or none');
  if (parsed(url) === undefined) throw new Error('the URL of the database cannot be parsed');
}

/** A URL without what is secret in it: host, port and database. */
export function describe(url: string): string {
  const known = parsed(url);
  if (known === undefined) return 'PostgreSQL';
  const host = known.searchParams.get('host') ?? known.host;
  return `${host}${known.pathname}`;
}

/** As pg has it (pg-connection-string 2.x `parse`): `user@/database?host=/folder` has no host, for a Unix socket. */
function parsed(url: string): URL | undefined {
  const with_host = url.replace('@/', '@local/');
  return URL.canParse(with_host) ? new URL(with_host) : undefined;
}

/**
 * What pg 8.23.1 makes of `sslmode`: none or `disable`: no TLS; `prefer`, `require`, `verify-ca`, `verify-full`: TLS, and the
 * certificate and the name are verified (Node's own authorities, or `sslrootcert`); `no-verify`: TLS with anybody. It warns
 * that pg 9 will weaken the first three to what libpq does: so they are written as what they are, which keeps it so and saves
 * the warning. `uselibpqcompat=true` in the URL asks for libpq's meanings and gets them.
 */
export function withVerifiedTls(url: string): string {
  if (/[?&]uselibpqcompat=true(?:&|$)/.test(url)) return url;
  return url.replace(/([?&]sslmode=)(?:prefer|require|verify-ca)(?=&|$)/, '$1verify-full');
}
