// Whom the gateway takes callers for at the address people use: each for itself, whatever it claims.
import { ask, type Told } from './ask.ts';
import { about, type Finding } from './finding.ts';
import { parseRecord } from '../wire/record.ts';
import { inRanges, isLoopback, parseRanges } from '../wire/address.ts';
import type { Config } from '../types.ts';

const WAIT_MS = 2_500;
/** RFC 5737: nobody's address. */
const FORGED = '203.0.113.77';
/** Linux answers for the whole of 127.0.0.0/8, so a caller on this machine can come from an address that no proxy has. */
const OWN_ADDRESS = '127.0.0.77';

/** Two requests: a plain one, and one that claims to come from elsewhere. */
export async function addresses(url: URL, limits: Config['limits']): Promise<Finding[]> {
  const said = about('front.address', url.host);
  const plain = await whoAmI(url, {});
  const forged = await whoAmI(url, {
    'x-forwarded-for': FORGED,
    'x-real-ip': FORGED,
    forwarded: `for=${FORGED}`,
    'x-client-ip': FORGED,
  });
  const found = [judged(plain, limits, said)];
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

function judged(
  { seen, from }: Visitor,
  { trusted_proxies }: Config['limits'],
  said: ReturnType<typeof about>,
): Finding {
  const trusted = parseRanges(trusted_proxies);
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
  if (!inRanges(trusted, seen) && (isLoopback(seen) || trusted_proxies.length === 0)) {
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
  const seen = parseRecord(text)?.['your_address'];
  return typeof seen === 'string' ? seen : 'unknown';
}
