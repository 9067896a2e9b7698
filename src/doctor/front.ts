// The address people use, with nginx in front: seen from outside, without inferring. Whether it leads to a Lanyard, tells
// addresses truly, takes bodies as large as the gateway does, keeps private pages private, and refuses in JSON.
import { ask, inWords, offer, Unanswered, type Told } from './ask.ts';
import { certificate } from './certificate.ts';
import { about, type Finding } from './finding.ts';
import { instanceOf, type Gateway } from './gateway.ts';
import { largerBody } from './nginx.ts';
import { isJson } from '../fleet/engines.ts';
import { inRanges, isLoopback, parseRanges } from '../wire/address.ts';
import type { Config } from '../types.ts';

export interface FrontNews {
  readonly findings: readonly Finding[];
  /** It leads to a Lanyard, and a key may be sent there. */
  readonly usable: boolean;
}

export interface Front {
  readonly url: URL;
  readonly config: Config;
  readonly gateway: Gateway | undefined;
  readonly ca: readonly string[];
  /** Certificates on this machine that nginx is to serve. */
  readonly certificates: readonly string[];
}

const WAIT_MS = 2_500;
/** RFC 5737: nobody's address. */
const FORGED = '203.0.113.77';
/** Linux answers for the whole of 127.0.0.0/8, so a caller on this machine can come from an address that no proxy has. */
const OWN_ADDRESS = '127.0.0.77';

export async function examineFront(front: Front): Promise<FrontNews> {
  const { url, ca, certificates } = front;
  const said = about('front.reachable', url.host);
  if (front.gateway !== undefined && isGateway(url, front.gateway)) {
    const found = 'is the gateway itself, with nothing in front of it';
    return { findings: [said.note(found, 'Give the address that people use (--url https://…).')], usable: true };
  }
  try {
    const page = await ask({ url: new URL('/', url), wait_ms: WAIT_MS });
    const instance = instanceOf(page);
    if (instance === undefined) {
      const remedy =
        page.status === 421 || page.status === 404
          ? `nginx may not know the name ${url.hostname}: put it into server_name of the 443 server.`
          : 'Let nginx pass it on to the gateway (`proxy_pass`), and see that the gateway runs.';
      return { findings: [said.fail(`answers with ${page.status}, and not by Lanyard`, remedy)], usable: false };
    }
    const shown = url.protocol === 'https:' ? await certificate(url, ca, certificates, WAIT_MS) : undefined;
    const parts = await Promise.all([addresses(front), body(front), pages(front), insecure(url)]);
    const same = front.gateway === undefined || front.gateway.instance === instance;
    const first = same
      ? said.ok('leads to the gateway')
      : said.note(
          'leads to another gateway than the one found here',
          'Right when several share the work; else correct the upstream in nginx.conf.',
        );
    return { findings: [first, ...(shown?.findings ?? []), ...parts.flat()], usable: shown?.trusted ?? true };
  } catch (error) {
    if (!(error instanceof Unanswered)) throw error;
    return {
      findings: [
        said.fail(
          inWords(error),
          'Is nginx started (`nginx -t`, its error log), and does a firewall let this port through?',
        ),
      ],
      usable: false,
    };
  }
}

function isGateway(url: URL, gateway: Gateway): boolean {
  const here = url.hostname === 'localhost' || isLoopback(url.hostname) || url.hostname === gateway.url.hostname;
  return here && url.protocol === 'http:' && url.port === gateway.url.port;
}

/** Whether something answers there as Lanyard: for addresses that nobody named. */
export async function isLanyard(url: URL): Promise<boolean> {
  const page = await ask({ url: new URL('/', url), wait_ms: WAIT_MS }).catch(() => undefined);
  return page !== undefined && instanceOf(page) !== undefined;
}

/** Two requests: a plain one, and one that claims to come from elsewhere. */
async function addresses({ url, config }: Front): Promise<Finding[]> {
  const said = about('front.address', url.host);
  const plain = await whoAmI(url, {});
  const forged = await whoAmI(url, {
    'x-forwarded-for': FORGED,
    'x-real-ip': FORGED,
    forwarded: `for=${FORGED}`,
    'x-client-ip': FORGED,
  });
  const found = [judged(plain, config, said)];
  if (forged.seen === FORGED) {
    found.push(
      said.fail(
        'a caller can choose its own address: what it claims in X-Forwarded-For is believed',
        'Overwrite it in nginx: `proxy_set_header X-Forwarded-For $remote_addr;` (not $proxy_add_x_forwarded_for).',
      ),
    );
  } else if (forged.seen === plain.seen) {
    found.push(said.ok('what a caller claims about its address is not believed'));
  } else {
    found.push(said.note(`seen as ${forged.seen} when claiming another address, else as ${plain.seen}`));
  }
  return found;
}

function judged({ seen, from }: Visitor, { limits }: Config, said: ReturnType<typeof about>): Finding {
  const trusted = parseRanges(limits.trusted_proxies);
  if (seen === from) {
    // Both nginx and we are on this machine: one loopback address says nothing of the other.
    if (isLoopback(from) && from !== OWN_ADDRESS) {
      return said.skipped(
        `we reach it by ${from}, as nginx reaches the gateway: ask by this machine's LAN address (--url)`,
      );
    }
    return said.ok(`callers are seen by their own address (${seen})`);
  }
  const shared = 'all callers share one limit and one line of the log';
  if (!inRanges(trusted, seen) && (isLoopback(seen) || limits.trusted_proxies.length === 0)) {
    return said.fail(
      `we come from ${from} and are seen as ${seen}, which is nginx: ${shared}`,
      `limits: { trusted_proxies: [${seen.includes(':') ? `"${seen}"` : seen}] } in the configuration.`,
    );
  }
  if (inRanges(trusted, seen)) {
    return said.fail(
      `we come from ${from} and are seen as the proxy ${seen}: ${shared}`,
      'Let nginx say who calls: `proxy_set_header X-Forwarded-For $remote_addr;` where it passes on (one in a location drops all above it).',
    );
  }
  return said.note(
    `we come from ${from} and are seen as ${seen}`,
    'Right if addresses are translated on the way (a router, Docker); else see limits.trusted_proxies.',
  );
}

interface Visitor {
  /** Whom the gateway takes us for. */
  readonly seen: string;
  /** Where we really come from. */
  readonly from: string;
}

/** By an address of our own where that can be had. */
async function whoAmI(url: URL, headers: Readonly<Record<string, string>>): Promise<Visitor> {
  const here = url.hostname === 'localhost' || url.hostname.startsWith('127.');
  const question = { url: new URL('/', url), headers, wait_ms: WAIT_MS };
  const told = here ? await ask({ ...question, from: OWN_ADDRESS }).catch(() => ask(question)) : await ask(question);
  return { seen: seenIn(told), from: told.from.replace(/^::ffff:/, '') };
}

function seenIn({ text }: Told): string {
  try {
    const page: unknown = JSON.parse(text);
    return isJson(page) && typeof page['your_address'] === 'string' ? page['your_address'] : 'unknown';
  } catch {
    return 'unknown';
  }
}

/** Offers a body of the gateway's own largest size, and sends none of it. */
async function body({ url, config }: Front): Promise<Finding[]> {
  const said = about('front.body', url.host);
  const most = config.limits.body_bytes_max;
  const mib = `${Math.round(most / 2 ** 20)} MiB`;
  const question = {
    url: new URL('/v1/chat/completions', url),
    method: 'POST' as const,
    headers: { 'content-type': 'application/json' },
    wait_ms: WAIT_MS,
  };
  const answer = await offer(question, most);
  if (answer === 'welcome') return [said.ok(`takes bodies of ${mib}, as the gateway does`)];
  const own = answer.headers['x-lanyard-instance'] === undefined;
  if (answer.status === 413 && own) {
    const found = [
      said.fail(
        `nginx refuses bodies that the gateway takes (${mib}): images and long files fail with 413`,
        `\`client_max_body_size ${largerBody(most)};\` in nginx.conf: twice the gateway's limit, so that it is the gateway that answers.`,
      ),
    ];
    return [...found, ...refusal(answer, url)];
  }
  // Unbuffered, the gateway asks for the key before the body.
  if (!own) return [said.ok(`nginx passes bodies of ${mib} on to the gateway`)];
  return [said.note(`nginx answered ${answer.status} to a body of ${mib}`), ...refusal(answer, url)];
}

/** What is between gateway and operator must not be passed on. */
async function pages({ url }: Front): Promise<Finding[]> {
  const said = about('front.private', url.host);
  const remedy = 'In nginx.conf: `location ^~ /metrics { return 404; }` and `location ^~ /health/ { return 404; }`.';
  const [metrics, ready] = await Promise.all(
    ['/metrics', '/health/ready'].map((path) => ask({ url: new URL(path, url), wait_ms: WAIT_MS })),
  );
  const found: Finding[] = [];
  if (metrics === undefined || ready === undefined) return found;
  if (instanceOf(metrics) !== undefined) {
    // To a caller on this machine they are open in any case.
    const open = metrics.status === 200 && !isLoopback(metrics.from);
    found.push(
      open
        ? said.fail('/metrics is open to whoever comes as we do', remedy)
        : said.warn('/metrics is passed on; only the master key and metrics.allow protect it', remedy),
    );
  }
  if (instanceOf(ready) !== undefined) found.push(said.warn('/health/ready is passed on', remedy));
  if (found.length === 0) found.push(said.ok('/metrics and /health/ready are not passed on'));
  return [...found, ...(instanceOf(metrics) === undefined ? refusal(metrics, url) : [])];
}

/** Whether nginx' own refusals are such as clients can read. */
function refusal({ headers, text, status }: Told, { host }: URL): Finding[] {
  const said = about('front.refusals', host);
  if (headers['content-type']?.startsWith('application/json') === true && text.trimStart().startsWith('{"error":')) {
    return [said.ok('nginx refuses in JSON, as OpenAI does')];
  }
  return [
    said.warn(
      `nginx answers ${status} with a page that no client understands`,
      'Take `error_page` and `location = /.refused` from our nginx.conf.',
    ),
  ];
}

/** Keys in the clear: an http address of another machine, or port 80 beside an https one that is on its usual port. */
async function insecure(url: URL): Promise<readonly Finding[]> {
  if (url.protocol === 'https:') return url.port === '' ? await plain(url, 80) : [];
  if (url.hostname === 'localhost' || isLoopback(url.hostname)) return [];
  const said = about('front.plain', url.host);
  return [
    said.note('http: keys cross this network in the clear', 'Right on a network you trust; else the https address.'),
  ];
}

/** The http port of an https address: closed, or leading to https. */
export async function plain({ hostname, host }: URL, port: number): Promise<readonly Finding[]> {
  const said = about('front.plain', host);
  try {
    const answer = await ask({ url: new URL(`http://${hostname}:${port}/health`), wait_ms: WAIT_MS });
    const away = [301, 302, 307, 308].includes(answer.status) && answer.headers.location?.startsWith('https:') === true;
    if (instanceOf(answer) !== undefined) {
      return [
        said.warn(
          'http is served too: keys sent there cross the internet in the clear',
          'Redirect it: `return 308 https://$host$request_uri;`.',
        ),
      ];
    }
    return [away ? said.ok('http leads to https') : said.note(`http answers ${answer.status}`)];
  } catch (error) {
    if (!(error instanceof Unanswered)) throw error;
    return [said.ok(`http is not served (${inWords(error)})`)];
  }
}
