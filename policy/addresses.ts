import { BlockList, isIP } from 'node:net';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8);
loopback.addAddress('::1', 'ipv6');

const inner = new BlockList();
for (const [net, bits] of [['10.0.0.0', 8], ['172.16.0.0', 12], ['192.168.0.0', 16], ['100.64.0.0', 10]] as const) inner.addSubnet(net, bits); // prettier-ignore
for (const [net, bits] of [
  ['fc00::', 7],
  ['fe80::', 10],
] as const)
  inner.addSubnet(net, bits, 'ipv6');

const within = (known: BlockList, host: string): boolean => {
  const family = isIP(host);
  return family !== 0 && known.check(host, family === 6 ? 'ipv6' : 'ipv4');
};

/** The local cloud's addresses. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || within(loopback, host);
}

/** True of an address that others than the platform's own network may reach: public ones, and "every interface". */
export function isOpen(host: string): boolean {
  return isIP(host) !== 0 && !within(loopback, host) && !within(inner, host);
}
