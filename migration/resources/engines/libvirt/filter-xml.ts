import { isIPv4 } from 'node:net';
import { NxnwError } from '@nxnw/platform/errors';
import { allAt, at, el, type XmlElement } from './xml.js';

/** TCP that is let in: ports `first` to `last`, from a range of IPv4 addresses or an IPv4 network. */
export interface FilterRule {
  /** `10.77.0.4-10.77.0.6`, `10.0.0.0/8`, `10.77.0.9` */
  readonly source: string;
  readonly first: number;
  readonly last: number;
  /** Becomes the rule's comment. */
  readonly what: string;
}

const MOST_PORT = 65_535;
const ALLOW = 500;
const REFUSE = 1000;

/** Everything that is wrong with a rule. */
function faultsOf(r: FilterRule, i: number): string[] {
  const at = `rule ${String(i + 1)} (${r.what})`;
  const [from = '', to] = r.source.split('-');
  const [network = '', bits] = from.split('/');
  const bad =
    !isIPv4(network) || (to !== undefined && (!isIPv4(to) || bits !== undefined)) || (bits !== undefined && !(/^\d{1,2}$/.test(bits) && Number(bits) <= 32)); // prettier-ignore
  const ports = [r.first, r.last].every((p) => Number.isInteger(p) && p >= 1 && p <= MOST_PORT) && r.first <= r.last;
  return [
    ...(bad ? [`${at}: "${r.source}" is no IPv4 address, network or range`] : []),
    ...(ports ? [] : [`${at}: ${String(r.first)} to ${String(r.last)} are no ports`]),
  ];
}

/** Throws BAD_CONFIG with every fault. */
export function checkRules(name: string, rules: readonly FilterRule[]): void {
  const faults = rules.flatMap(faultsOf);
  if (faults.length === 0) return;
  throw new NxnwError(
    'BAD_CONFIG',
    `the filter ${name} cannot be made:\n${faults.map((f) => `  ${f}`).join('\n')}\nIPv4 only; see nxnw:cloud.KIND.access`,
    { name, faults },
  );
}

function sourceOf(source: string): Record<string, string> {
  const [from = '', to] = source.split('-');
  if (to !== undefined) return { srcipfrom: from, srcipto: to };
  const [network = '', bits = '32'] = from.split('/');
  return bits === '0' ? {} : { srcipaddr: network, srcipmask: bits };
}

/**
 * The filter of a group's machines: a machine sends from its own addresses only and may begin what it likes; what comes
 * to it must be one of the rules, an answer, or ping. `IP` is the parameter that each interface gives.
 */
export function filterXml(name: string, rules: readonly FilterRule[], uuid?: string): XmlElement {
  checkRules(name, rules);
  const rule = (action: string, direction: string, priority: number, what: XmlElement) =>
    el('rule', { action, direction, priority }, what);
  return el(
    'filter',
    { name, chain: 'root' },
    uuid !== undefined && el('uuid', {}, uuid),
    rule('drop', 'out', -900, el('mac', { match: 'no', srcmacaddr: '$MAC' })),
    rule('drop', 'out', -800, el('ip', { match: 'no', srcipaddr: '$IP' })),
    rules.map((r) =>
      rule(
        'accept',
        'in',
        ALLOW,
        el('tcp', { ...sourceOf(r.source), dstportstart: r.first, dstportend: r.last, comment: r.what }),
      ),
    ),
    rule('accept', 'in', ALLOW, el('icmp', { type: 8 })),
    // "too large, fragment" and the like belong to a connection, but do not come from its other end
    rule('accept', 'in', ALLOW, el('icmp', { type: 3, state: 'NONE' })),
    rule('accept', 'out', ALLOW, el('all')),
    rule('drop', 'inout', REFUSE, el('all')),
    rule('drop', 'inout', REFUSE, el('all-ipv6')),
  );
}

/** libvirt writes networks' bits as a dotted mask for some rules, as a number for others. */
function bitsOf(mask: string): number {
  if (!mask.includes('.')) return Number(mask);
  return mask
    .split('.')
    .map((b) => Number(b).toString(2).replaceAll('0', '').length)
    .reduce((a, b) => a + b, 0);
}

/** The rules of a filter that libvirt holds, as they were given. */
export function rulesOf(filter: XmlElement): FilterRule[] {
  return allAt(filter, 'rule').flatMap((r) => {
    const tcp = at(r, 'tcp');
    if (tcp === undefined) return [];
    const a = tcp.attributes;
    const bits = bitsOf(a['srcipmask'] ?? '32');
    const network = a['srcipaddr'] === undefined ? '0.0.0.0/0' : `${a['srcipaddr']}/${String(bits)}`;
    const source = a['srcipfrom'] === undefined ? network : `${a['srcipfrom']}-${a['srcipto'] ?? ''}`;
    const first = Number(a['dstportstart'] ?? 0);
    return [{ source, first, last: Number(a['dstportend'] ?? first), what: a['comment'] ?? '' }];
  });
}
