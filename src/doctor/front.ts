// The address people use, with nginx in front: seen from outside, without inferring. Whether it leads to a Lanyard, by which
// certificate, and whether keys cross a network in the clear; addresses.ts and passage.ts look at what nginx does to a request.
import { addresses } from './addresses.ts';
import { ask, inWords, Unanswered } from './ask.ts';
import { certificate } from './certificate.ts';
import { about, type Finding } from './finding.ts';
import { instanceOf, type Gateway } from './gateway.ts';
import { body, pages } from './passage.ts';
import { isLoopback } from '../wire/address.ts';
import type { Config } from '../types.ts';

export interface FrontNews {
  readonly findings: readonly Finding[];
  /** It leads to a Lanyard, and a key may be sent there. */
  readonly usable: boolean;
}

interface Front {
  readonly url: URL;
  readonly config: Config;
  readonly gateway: Gateway | undefined;
  readonly ca: readonly string[];
  /** Certificates on this machine that nginx is to serve. */
  readonly certificates: readonly string[];
}

const WAIT_MS = 2_500;
/** The resolver's words for a name it does not have. */
const NAMELESS = new Set(['ENOTFOUND', 'EAI_AGAIN']);

export async function examineFront(front: Front): Promise<FrontNews> {
  const { url, config, ca, certificates } = front;
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
    const parts = await Promise.all([
      addresses(url, config.limits),
      body(url, config.limits),
      pages(url),
      insecure(url),
    ]);
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
          NAMELESS.has(error.code)
            ? 'Add the name to your DNS, or to /etc/hosts of who asks.'
            : 'Is nginx started (`nginx -t`, its error log), and does a firewall let this port through?',
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
