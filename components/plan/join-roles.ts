import { endpointsOf, type JoinBundle } from '@nxnw/migration/coordinator/join';
import type { Endpoint, RoleSpecInput } from '@nxnw/platform/agent/spec';
import type { PlatformSettings } from '../settings.js';
import { PORTS, type Machine } from './machines.js';

/** Edges of another platform that this one keeps doors to: as many as an edge has places for. */
export const MOST_EDGES = 4;

const at = (host: string, port: number): Endpoint => ({ host, port });
const show = (e: Endpoint): string => `${e.host}:${String(e.port)}`;

function endpointOf(text: string): Endpoint {
  const colon = text.lastIndexOf(':');
  return at(text.slice(0, colon), Number(text.slice(colon + 1)));
}

/** An address that only the machine itself reaches; on the local cloud machines share one loopback. */
function loopbackOf(s: PlatformSettings, m: Machine): string {
  return s.cloud.kind === 'local' ? m.host : '127.0.0.1';
}

/** Where a machine's join port listens. Machines of the local cloud that share a configured address differ by port. */
function listenOf(s: PlatformSettings, m: Machine): Endpoint {
  const { listen } = s.join ?? {};
  if (listen === undefined) return at(m.host, PORTS.join);
  return at(listen, PORTS.join + (s.cloud.kind === 'local' ? m.index : 0));
}

function reverseOf(m: Machine): readonly { target: string; listen: Endpoint }[] {
  return Array.from({ length: MOST_EDGES }, (_, i) => ({
    target: `edge-${String(i + 1)}`,
    listen: at(m.host, PORTS.joinReverse + i),
  }));
}

/** The join ports of a platform, as its join bundle lists them: one on each data machine. */
export function gatewaysOf(s: PlatformSettings, data: readonly Machine[]): JoinBundle['gateways'] {
  const { listen, address } = s.join ?? {};
  const everywhere = listen === '0.0.0.0' ? undefined : listen;
  return data.map((m) => ({
    machine: m.name,
    endpoint: show({ ...listenOf(s, m), host: address ?? everywhere ?? m.host }),
    reverse: reverseOf(m).map((r) => show(r.listen)),
  }));
}

/** The join port of a data machine. @param allow what another platform may reach, host:port each */
export function joinRole(s: PlatformSettings, m: Machine, allow: readonly string[]): RoleSpecInput {
  return {
    kind: 'join',
    id: 'join',
    listen: listenOf(s, m),
    status: at(loopbackOf(s, m), PORTS.joinStatus),
    allow: [...allow],
    reverse: reverseOf(m).map((r) => ({ ...r })),
  };
}

/** Which endpoints of the platform that this one takes over from a machine reaches. */
export interface Needs {
  /** It runs datastore processes. */
  readonly datastore: boolean;
  /** It runs the coordinator. */
  readonly coordinator: boolean;
  /** Where its edge takes HTTP, if it has one. */
  readonly edge: Endpoint | undefined;
}

function wanted(source: JoinBundle, n: Needs): readonly string[] {
  const ends = (list: readonly { readonly endpoint: string }[]): string[] => list.map((e) => e.endpoint);
  return [
    ...(n.datastore ? ends(source.datastore) : []),
    ...(n.coordinator ? [...ends(source.agents), ...source.zookeeper, ...Object.values(source.memcached).flat()] : []),
    ...(n.edge === undefined ? [] : ends(source.edges)),
  ];
}

/** Ports of machine `m` that lead to the source's endpoints, by endpoint; for the roles that run on it. */
export function doorsOn(s: PlatformSettings, m: Machine, n: Needs): ReadonlyMap<string, Endpoint> {
  const { source } = s;
  if (source === undefined) return new Map();
  const needed = new Set(wanted(source, n));
  return new Map(
    endpointsOf(source)
      .map((e, i) => [e, at(loopbackOf(s, m), PORTS.joinDoor + i)] as const)
      .filter(([e]) => needed.has(e)),
  );
}

/** The joining side on a machine that reaches the source, or is reached by it. */
export function joinClientRole(s: PlatformSettings, m: Machine, n: Needs): RoleSpecInput[] {
  const { source } = s;
  const doors = doorsOn(s, m, n);
  if (source === undefined || doors.size === 0) return [];
  return [
    {
      kind: 'join-client',
      id: 'join-client',
      gateways: source.gateways.map((g) => ({ machine: g.machine, endpoint: endpointOf(g.endpoint) })),
      tls: source.tls,
      status: at(loopbackOf(s, m), PORTS.joinClientStatus),
      forwards: [...doors].map(([to, listen]) => ({ to, listen })),
      ...(n.edge === undefined ? {} : { reverse: { target: `edge-${String(m.index + 1)}`, to: n.edge } }),
    },
  ];
}
