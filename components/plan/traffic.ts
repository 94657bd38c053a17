import type { MachineGroup } from '../clouds/settings.js';
import type { PlatformSettings } from '../settings.js';
import { MOST_EDGES } from './join-roles.js';
import { APP_PORT_STRIDE, DOOR_STRIDE, PORTS } from './machines.js';

/** Who may begin to speak: a group of the platform's machines, or somebody outside. */
export type Speaker = MachineGroup | 'operators' | 'ssh' | 'clients' | 'peers';

/** TCP that is allowed: `first` to `last` on machines of group `to`. */
export interface Flow {
  readonly from: Speaker;
  readonly to: MachineGroup;
  readonly first: number;
  readonly last: number;
  /** What it is for, in a word or two: it becomes the rule's description. */
  readonly what: string;
}

const MEMBERS: readonly MachineGroup[] = ['data', 'app', 'edge'];

/** Everything that a platform's machines say to each other and hear from outside. Pure: only the named ports. */
export function flowsOf(s: PlatformSettings): readonly Flow[] {
  const apps = Math.max(1, s.apps.length);
  const flow = (from: Speaker, to: MachineGroup, what: string, first: number, count = 1): Flow => ({
    from,
    to,
    what,
    first,
    last: first + count - 1,
  });
  const perMachine = Math.ceil(s.datastore.processes / s.store.nodes);
  return [
    ...MEMBERS.flatMap((to) => [
      flow('operators', to, 'agent', PORTS.agent),
      flow('ssh', to, 'ssh', 22),
      // the coordinator speaks to every agent
      flow('data', to, 'agent', PORTS.agent),
    ]),
    ...(s.source === undefined ? [] : [flow('operators', 'data', 'coordinator', PORTS.coordinator)]),
    flow('data', 'data', 'datastore', PORTS.datastorePeer, perMachine),
    flow('data', 'data', 'zookeeper', PORTS.zookeeper),
    flow('app', 'data', 'zookeeper', PORTS.zookeeper),
    ...(s.locks.nodes > 1
      ? [
          flow('data', 'data', 'zookeeper quorum', PORTS.zookeeperQuorum),
          flow('data', 'data', 'zookeeper election', PORTS.zookeeperElection),
        ]
      : []),
    ...(s.store.kind === 'cassandra'
      ? [flow('data', 'data', 'cql', PORTS.cql), flow('data', 'data', 'cassandra', PORTS.cassandra)]
      : []),
    ...(s.cloud.kind === 'local'
      ? []
      : [flow('app', 'data', 'datastore doors', PORTS.relay, perMachine * DOOR_STRIDE)]),
    flow('app', 'app', 'memcached', PORTS.memcached, apps),
    flow('data', 'app', 'memcached', PORTS.memcached, apps),
    flow('edge', 'app', 'applications', PORTS.app, apps * APP_PORT_STRIDE),
    flow('clients', 'edge', 'http', s.edge.httpPort),
    ...(s.edge.certificate === undefined ? [] : [flow('clients', 'edge', 'https', s.edge.httpsPort)]),
    // another platform joins: all that it says comes in at the join port, which goes on to the platform's own machines
    flow('peers', 'data', 'join', PORTS.join),
    flow('data', 'edge', 'http', s.edge.httpPort),
    flow('edge', 'data', 'join doors', PORTS.joinReverse, MOST_EDGES),
  ];
}
