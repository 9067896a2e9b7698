// By which names and addresses clients reach this machine, as far as it can be known from here: for the certificate, and for
// the URLs that people are told. Pure: what the system says comes in.
import type { NetworkInterfaceInfo } from 'node:os';
import { domainToASCII } from 'node:url';
import { inRanges, parseRanges } from '../wire/address.ts';

export type Interfaces = Readonly<Partial<Record<string, readonly NetworkInterfaceInfo[]>>>;

/**
 * Interfaces no other machine reaches, by their systems' names for them: containers', virtual machines', and Apple's for its
 * own devices. A bridge that someone made (br0, vmbr0) is the LAN itself, and stays.
 */
const INWARD =
  /^(docker|br-[0-9a-f]{12}$|veth|virbr|vnet|lxc|lxd|podman|cni|flannel|cali|cilium|kube|vmnet|vboxnet|bridge\d{3}$|awdl|llw|anpi|vEthernet)/i;
/** Tunnels: others reach the machine by them, but not those beside it. */
const TUNNEL = /^(tun|tap|utun|wg|tailscale|zt|ppp|ipsec|nordlynx)/i;
const LINK_LOCAL = parseRanges(['169.254.0.0/16', 'fe80::/10']);
/** What port 8080 of nginx.conf takes. */
const PRIVATE = parseRanges(['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7']);

/**
 * The addresses at which others on the LAN find this machine, the likeliest first. IPv6 only where there is no IPv4: those
 * that a machine gives itself change by the day, and a certificate does not.
 */
export function lanAddresses(interfaces: Interfaces): readonly string[] {
  const found = Object.entries(interfaces)
    .filter(([name]) => !INWARD.test(name))
    .flatMap(([name, all = []]) => all.map((one) => ({ ...one, tunnel: TUNNEL.test(name) })))
    .filter(({ internal, address }) => !internal && !inRanges(LINK_LOCAL, address));
  const family = found.some((one) => one.family === 'IPv4') ? 'IPv4' : 'IPv6';
  const rank = ({ tunnel, address }: { tunnel: boolean; address: string }): number =>
    (tunnel ? 2 : 0) + (inRanges(PRIVATE, address) ? 0 : 1);
  const sorted = found.filter((one) => one.family === family).toSorted((one, other) => rank(one) - rank(other));
  return [...new Set(sorted.map(({ address }) => address))];
}

/** Whether nginx.conf's port 8080 takes callers of this address' network. */
export function isPrivate(address: string): boolean {
  return inRanges(PRIVATE, address);
}

/** The value of LANYARD_HOSTS: the machine's name, alone and as it is announced on the LAN, and its addresses. */
export function hostsOf(hostname: string, interfaces: Interfaces): readonly string[] {
  const full = hostname.toLowerCase().replace(/\.$/, '');
  const short = full.split('.')[0] ?? '';
  const names = [full, short, `${short}.local`].filter(isName);
  return [...new Set([...(short === 'localhost' ? [] : names), 'localhost', '127.0.0.1', ...lanAddresses(interfaces)])];
}

/** A public name as it stands in certificates (ü is written xn--…), or `undefined` for what is none, such as an address. */
export function publicName(text: string): string | undefined {
  // domainToASCII would make a name of the start of a URL.
  if (/[\s/:@?#%\\[\]]/.test(text)) return undefined;
  const name = domainToASCII(text.replace(/\.$/, ''));
  return name.includes('.') && isName(name) ? name : undefined;
}

/** Whether a host of LANYARD_HOSTS is a name that the whole internet may know, and not one of the LAN's own. */
export function isPublic(host: string): boolean {
  return publicName(host) === host && !/\.(?:local|localdomain|lan|home|internal|intranet|corp|home\.arpa)$/.test(host);
}

/** RFC 1123 §2.1; and not digits alone at the end, which would be an address. */
function isName(name: string): boolean {
  const label = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
  return name.length <= 253 && new RegExp(`^(?:${label}\\.)*${label}$`).test(name) && !/(?:^|\.)\d+$/.test(name);
}
