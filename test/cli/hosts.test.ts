// Which of a machine's interfaces others reach it by, as systems report them.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hostsOf, isPublic, lanAddresses, publicName, type Interfaces } from '../../src/cli/hosts.ts';

/** `eth0: 192.168.1.20`, several with commas; loopback is what is called so. */
function interfaces(of: Readonly<Record<string, string>>): Interfaces {
  return Object.fromEntries(
    Object.entries(of).map(([name, list]) => [
      name,
      list.split(', ').map((address) => ({
        address,
        family: address.includes(':') ? ('IPv6' as const) : ('IPv4' as const),
        internal: /^lo/i.test(name),
        netmask: '',
        mac: '',
        cidr: null,
        scopeid: 0,
      })),
    ]),
  );
}

const LO = '127.0.0.1, ::1';

describe('the addresses on the LAN', () => {
  test.each<[string, Record<string, string>, string[]]>([
    ['nothing but loopback', { lo: LO }, []],
    ['one card', { lo: LO, eth0: '192.168.1.20, fe80::1' }, ['192.168.1.20']],
    ['wire and radio', { enp3s0: '10.0.0.5', wlp2s0: '10.0.0.6' }, ['10.0.0.5', '10.0.0.6']],
    [
      'Docker beside it',
      { docker0: '172.17.0.1', 'br-0123456789ab': '172.18.0.1', veth1a: '169.254.3.4', eth0: '10.0.0.5' },
      ['10.0.0.5'],
    ],
    [
      'virtual machines',
      { virbr0: '192.168.122.1', vboxnet0: '192.168.56.1', vmnet8: '172.16.3.1', en0: '192.168.1.7' },
      ['192.168.1.7'],
    ],
    ['a bridge that is the LAN', { br0: '192.168.1.2', vmbr0: '10.1.1.2' }, ['192.168.1.2', '10.1.1.2']],
    [
      'a Mac',
      { lo0: LO, en0: '192.168.1.7', awdl0: 'fe80::2', bridge100: '192.168.64.1', utun3: '10.8.0.2' },
      ['192.168.1.7', '10.8.0.2'],
    ],
    [
      'Windows',
      { Ethernet: '192.168.1.9', 'vEthernet (WSL)': '172.29.0.1', 'Loopback Pseudo-Interface 1': '127.0.0.1' },
      ['192.168.1.9'],
    ],
    ['a tunnel first in the list', { tailscale0: '100.64.0.9', eth0: '192.168.1.20' }, ['192.168.1.20', '100.64.0.9']],
    ['a public address before the private one', { eth0: '203.0.113.9', eth1: '10.0.0.5' }, ['10.0.0.5', '203.0.113.9']],
    ['no DHCP answer', { eth0: '169.254.7.7' }, []],
    ['IPv6 beside IPv4', { eth0: '10.0.0.5, 2001:db8::5' }, ['10.0.0.5']],
    ['IPv6 alone', { eth0: 'fe80::5, 2001:db8::5, fd00::5' }, ['fd00::5', '2001:db8::5']],
    ['one address twice', { eth0: '10.0.0.5', 'eth0:1': '10.0.0.5' }, ['10.0.0.5']],
  ])('%s', (_, given, wanted) => {
    expect(lanAddresses(interfaces(given))).toEqual(wanted);
  });

  test('an interface without addresses is no fault', () => {
    expect(lanAddresses({ eth0: undefined, eth1: [] })).toEqual([]);
  });
});

describe('the hosts', () => {
  test.each([
    ['gpu-box', ['gpu-box', 'gpu-box.local']],
    ['GPU-Box.lan.example.com', ['gpu-box.lan.example.com', 'gpu-box', 'gpu-box.local']],
    ['studio.local', ['studio.local', 'studio']],
    ['localhost', []],
    ['localhost.localdomain', []],
    ['my_box', []],
    ['bürorechner', []],
    ['', []],
    ['10', ['10.local']],
  ])('of a machine called %j', (name, wanted) => {
    expect(hostsOf(name, interfaces({ eth0: '10.0.0.5' }))).toEqual([...wanted, 'localhost', '127.0.0.1', '10.0.0.5']);
  });

  test('can always be written in a certificate and in nginx.conf', () => {
    fc.assert(
      fc.property(fc.string(), (name) => {
        for (const host of hostsOf(name, interfaces({ eth0: 'fd00::5' }))) expect(host).toMatch(/^[a-z0-9.:-]+$/);
      }),
    );
  });
});

describe('a public name', () => {
  test.each([
    ['lanyard.example.com', 'lanyard.example.com'],
    ['Lanyard.Example.COM.', 'lanyard.example.com'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['https://lanyard.example.com', undefined],
    ['lanyard.example.com:443', undefined],
    ['lanyard.example.com/v1', undefined],
    ['lanyard', undefined],
    ['*.example.com', undefined],
    ['203.0.113.9', undefined],
    ['0x7f.1', undefined],
    ['fd00::1', undefined],
    ['-a.example.com', undefined],
    ['a..example.com', undefined],
    ['a b.example.com', undefined],
    ['"; rm -rf /', undefined],
    ['', undefined],
    [`${'a'.repeat(64)}.example.com`, undefined],
  ])('%j is %j', (given, wanted) => {
    expect(publicName(given)).toBe(wanted);
  });

  test.each([
    ['lanyard.example.com', true],
    ['gpu-box.local', false],
    ['gpu-box.home.arpa', false],
    ['gpu-box', false],
    ['192.168.1.20', false],
  ])('among the hosts: %s, %j', (host, wanted) => {
    expect(isPublic(host)).toBe(wanted);
  });
});
