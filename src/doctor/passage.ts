// What nginx passes on to the gateway, and what it keeps to itself: bodies as large as the gateway takes, no private pages; and
// whether its own refusals are such as clients can read.
import { ask, offer, type Told } from './ask.ts';
import { about, type Finding } from './finding.ts';
import { instanceOf } from './gateway.ts';
import { largerBody } from './nginx.ts';
import { isLoopback } from '../wire/address.ts';
import type { Config } from '../types.ts';

const WAIT_MS = 2_500;

/** Offers a body of the gateway's own largest size, and sends none of it. */
export async function body(url: URL, { body_bytes_max: most }: Config['limits']): Promise<Finding[]> {
  const said = about('front.body', url.host);
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
export async function pages(url: URL): Promise<Finding[]> {
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
