// The rules nginx.conf keeps, judged on its parse tree. Most are about inheritance: nginx takes a directive from an outer
// block only where the inner one has none of its own kind, and for lists (headers, limits) then takes none of the outer ones.
import { effective, inner, named, placesIn, spelled, type Parsed, type Place, type Statement } from './parse-nginx.ts';

type Rule = (places: readonly Place[]) => readonly string[];

/** What is wrong with it, a sentence each; the line first. */
export function faultsOf({ tree, faults }: Parsed): string[] {
  const places = placesIn(tree, []);
  return [...faults, ...Object.values(RULES).flatMap((rule) => rule(places))];
}

const ONLY_IN_HTTP = new Set(['add_header', 'proxy_set_header', 'error_page', 'proxy_hide_header', 'access_log']);

/** What all that is passed on has around it, word for word. */
const LIMITS: Readonly<Record<string, string>> = {
  limit_req: 'zone=rate_by_address burst=40 nodelay',
  limit_conn: 'open_by_address 200',
};

/** Once, with this value, in http: what nothing may set anew further in. */
const SETTLED: Readonly<Record<string, string>> = {
  proxy_buffering: 'off',
  gzip: 'off',
  proxy_next_upstream: 'off',
  proxy_ignore_client_abort: 'off',
  proxy_http_version: '1.1',
  limit_req_status: '429',
  limit_conn_status: '429',
  server_tokens: 'off',
  ssl_protocols: 'TLSv1.2 TLSv1.3',
  ssl_session_tickets: 'off',
};

/** Overwritten with these, or blanked: no caller says of itself where it comes from. */
const HEADERS: Readonly<Record<string, string>> = {
  'X-Forwarded-For': '$remote_addr',
  'X-Real-IP': '',
  Forwarded: '',
  'X-Forwarded-Host': '',
  'X-Request-Id': '',
  Upgrade: '',
  Connection: '',
};

/**
 * Of what crossplane 0.5.8 knows (its table is of nginx 1.17), what is deprecated or taken out by 1.30, as nginx's CHANGES
 * tell; and what this file is better without.
 */
const NOT_WANTED: Readonly<Record<string, string>> = {
  ssl: 'taken out in 1.25.1',
  ssl_stapling: 'Let’s Encrypt ended OCSP',
  spdy_headers_comp: 'taken out',
  limit_zone: 'taken out',
  http2_idle_timeout: 'obsolete from 1.19.7',
  http2_max_field_size: 'obsolete from 1.19.7',
  http2_max_header_size: 'obsolete from 1.19.7',
  http2_max_requests: 'obsolete from 1.19.7',
  http2_recv_timeout: 'obsolete from 1.19.7',
  http2_push: 'obsolete from 1.25.1',
  http2_push_preload: 'obsolete from 1.25.1',
  http2_max_concurrent_pushes: 'obsolete from 1.25.1',
  if: 'is not what it seems in a location',
  rewrite: 'vulnerabilities of 2026; the path goes on as it came',
  set: 'nothing is computed',
  slice: 'vulnerabilities of 2026',
  ssi: 'vulnerabilities of 2026',
  include: 'one file, read from top to bottom',
};

const RULES: Readonly<Record<string, Rule>> = {
  'lists are written in http only': (places) =>
    places
      .filter(({ statement: { directive }, around }) => ONLY_IN_HTTP.has(directive) && inner(around) !== 'http')
      .map(({ statement }) => `${at(statement)} hides all of its kind in http`),

  'what is settled stays settled': (places) =>
    Object.entries(SETTLED).flatMap(([directive, wanted]) => {
      const found = places.filter(({ statement }) => statement.directive === directive);
      const good = found.filter(
        ({ statement, around }) => inner(around) === 'http' && statement.args.join(' ') === wanted,
      );
      return found.length === 1 && good.length === 1 ? [] : [`${directive} is not ${wanted} once, in http`];
    }),

  'callers do not choose their headers': (places) =>
    Object.entries(HEADERS).flatMap(([name, wanted]) => {
      const found = named(places, 'proxy_set_header').filter(
        ({ args }) => args[0]?.toLowerCase() === name.toLowerCase(),
      );
      return found.length === 1 && found[0]?.args[1] === wanted ? [] : [`${name} is not overwritten with "${wanted}"`];
    }),

  'the path goes on as it came, to the gateway': (places) =>
    named(places, 'proxy_pass')
      .filter(({ args }) => args[0] !== 'http://gateway')
      .map((statement) => `${at(statement)} changes the path, or goes elsewhere`),

  'all but health is limited': (places) =>
    places
      .filter(({ statement, around }) => statement.directive === 'proxy_pass' && !isHealth(around))
      .flatMap(({ statement, around }) =>
        Object.entries(LIMITS)
          .filter(
            ([limit, wanted]) =>
              effective(around, limit)
                .map(({ args }) => args.join(' '))
                .join('; ') !== wanted,
          )
          .map(([limit]) => `${at(statement)} is without its ${limit}`),
      ),

  'every server can refuse': (places) =>
    named(places, 'server')
      .filter(({ block }) => block !== undefined)
      .filter(
        ({ block = [] }) =>
          !block.some(
            ({ directive, args, block: inside = [] }) =>
              directive === 'location' &&
              args.join(' ') === '= /.refused' &&
              inside.map(spelled).join('; ') === 'internal; default_type application/json; return 200 $refusal',
          ),
      )
      .map((server) => `${at(server)} has no answer for its refusals`),

  'refusals are the OpenAI object': (places) => {
    const pages = new Set(named(places, 'error_page').flatMap(({ args }) => args.slice(0, -1)));
    const words = named(places, 'map').find(({ args }) => args[1] === '$refusal')?.block ?? [];
    const told = new Set(words.map(({ directive }) => directive));
    return [
      ...['413', '421', '429', '502', '503', '504']
        .filter((status) => !pages.has(status) || !told.has(status))
        .map((status) => `${status} is not refused in JSON`),
      ...words.filter(({ args }) => !isOpenAi(args[0])).map((line) => `${at(line)} is not OpenAI's error object`),
    ];
  },

  'the doors are the three, and unknown names find none': (places) => {
    const doors = servers(places);
    const faults: string[] = [];
    for (const port of ['80', '443', '8080']) {
      const defaults = doors.filter(({ listens }) =>
        listens.some(([to, ...how]) => to === port && how.includes('default_server')),
      );
      if (defaults.length !== 1) faults.push(`port ${port} has ${defaults.length} default servers`);
    }
    const unknown = doors.find(({ listens }) =>
      listens.some(([to, ...how]) => to === '443' && how.includes('default_server')),
    );
    const answers = unknown?.server.block?.filter(({ directive }) => directive === 'location') ?? [];
    const bodies = answers.map(({ args, block = [] }) => `${args.join(' ')}: ${block.map(spelled).join('; ')}`);
    if (bodies.at(-1) !== '/: return 421' || bodies.length !== 2)
      faults.push('an unknown name on 443 is not just refused');
    for (const { server, listens } of doors) {
      for (const [to = '', ...how] of listens)
        if (how.includes('ssl') !== to.endsWith('443')) faults.push(`port ${to} has TLS where it should not, or none`);
      for (const [to] of listens)
        if (!listens.some(([other]) => other === `[::]:${to}`) && !to?.startsWith('['))
          faults.push(`port ${to} has no IPv6`);
      if (listens.some((how) => how.includes('reuseport'))) faults.push(`${at(server)} loses connections at a reload`);
    }
    return faults;
  },

  'ciphers have forward secrecy and authenticated encryption': (places) =>
    named(places, 'ssl_ciphers')
      .flatMap(({ args }) => args.join(':').split(':'))
      .filter((cipher) => !/^ECDHE-(?:ECDSA|RSA)-(?:AES\d+-GCM-SHA\d+|CHACHA20-POLY1305)$/.test(cipher))
      .map((cipher) => `${cipher} is not a cipher of today`),

  'a reload waits for the longest answer': (places) => {
    const of = (name: string): number => seconds(named(places, name).map(({ args }) => args[0])[0]);
    return of('worker_shutdown_timeout') > of('proxy_read_timeout')
      ? []
      : ['a reload cuts answers that may still come'];
  },

  'uploads of files alone are large and unbuffered': (places) => {
    const uploads = places.filter(
      ({ statement, around }) => statement.directive === 'proxy_request_buffering' && inner(around) !== 'http',
    );
    const where = uploads.map(({ around }) => around.at(-1)?.args.join(' '));
    const paths = ['= /v1/files', '= /v3/files', '= /files'];
    const sizes = uploads.map(({ around }) => effective(around, 'client_max_body_size')[0]?.args[0]);
    return [
      ...(where.join('; ') === [...paths, ...paths].join('; ')
        ? []
        : ['not just uploads of files are unbuffered, on both doors']),
      ...(sizes.every((size) => size === '220m') ? [] : ['uploads of files are not let be 220 MB']),
    ];
  },

  'nothing obsolete or perilous': (places) =>
    places
      .filter(({ statement: { directive } }) => directive in NOT_WANTED)
      .map(({ statement }) => `${at(statement)}: ${NOT_WANTED[statement.directive]}`),

  'no patterns': (places) =>
    named(places, 'map')
      .flatMap(({ block = [] }) => block)
      .concat(named(places, 'location'), named(places, 'server_name'))
      .filter(({ directive, args }) => [directive, ...args].some((word) => word.startsWith('~')))
      .map((statement) => `${at(statement)} is a regular expression`),

  'of listen only what was looked at': (places) => {
    // The rest of listen's words are as they were; http2 there is deprecated from 1.25.1, and the one thing that is.
    const allowed = new Set(['ssl', 'http2', 'default_server']);
    return named(places, 'listen')
      .filter(({ args }) => args.slice(1).some((word) => !allowed.has(word)))
      .map((statement) => `${at(statement)} has a word that was not looked at`);
  },
};

function isHealth(around: readonly Statement[]): boolean {
  return around.at(-1)?.args.join(' ') === '= /health';
}

function servers(places: readonly Place[]): { server: Statement; listens: (readonly string[])[] }[] {
  return places
    .filter(({ statement, around }) => statement.directive === 'server' && inner(around) === 'http')
    .map(({ statement }) => ({
      server: statement,
      listens: (statement.block ?? []).filter(({ directive }) => directive === 'listen').map(({ args }) => args),
    }));
}

function isOpenAi(text: string | undefined): boolean {
  try {
    const { error } = JSON.parse(text ?? '') as { error: Record<string, unknown> };
    return Object.keys(error).join(' ') === 'message type param code' && typeof error['code'] === 'string';
  } catch {
    return false;
  }
}

function seconds(text: string | undefined): number {
  const [, count, unit] = /^(\d+)([smh])$/.exec(text ?? '') ?? [];
  return Number(count) * { s: 1, m: 60, h: 3600 }[unit as 's' | 'm' | 'h'];
}

function at(statement: Statement): string {
  return `line ${statement.line}: ${spelled(statement)}`;
}
