/**
 * The test suites in the order they run, cheapest first. `timeoutMs` is for one test, `limitMs` for the whole suite:
 * a suite that does not end (a handle left open) is a failure, not a hang. `tools` are brought before it runs.
 * `beside`: only computes, so it runs beside the checks and the light suites. `alone`: loads the machine; nothing runs
 * beside it. `onDemand`: runs only when it is named.
 */
const SECOND = 1000;
const MINUTE = 60 * SECOND;

export const SUITES = [
  { name: 'tidy', timeoutMs: 20 * SECOND, limitMs: 2 * MINUTE, tools: [] },
  { name: 'unit', timeoutMs: 30 * SECOND, limitMs: 5 * MINUTE, tools: ['virt-xml'] },
  { name: 'model', timeoutMs: 3 * MINUTE, limitMs: 10 * MINUTE, tools: [], beside: true },
  { name: 'component', timeoutMs: 30 * SECOND, limitMs: 5 * MINUTE, tools: [] },
  {
    name: 'contract',
    timeoutMs: 2 * MINUTE,
    limitMs: 15 * MINUTE,
    tools: ['zookeeper', 'cassandra', 'memcached'],
    alone: true,
  },
  { name: 'integration', timeoutMs: 3 * MINUTE, limitMs: 30 * MINUTE, tools: ['all'], alone: true },
  { name: 'provider', timeoutMs: 8 * MINUTE, limitMs: 30 * MINUTE, tools: ['all'], alone: true },
  { name: 'fault', timeoutMs: 5 * MINUTE, limitMs: 30 * MINUTE, tools: ['all'], alone: true },
  { name: 'migration', timeoutMs: 15 * MINUTE, limitMs: 40 * MINUTE, tools: ['all'], alone: true },
  {
    name: 'providers-live',
    timeoutMs: 3 * MINUTE,
    limitMs: 20 * MINUTE,
    tools: ['pulumi', 'sshd', 'providers'],
    alone: true,
    onDemand: true,
  },
  {
    name: 'hosts',
    timeoutMs: 5 * MINUTE,
    limitMs: 60 * MINUTE,
    tools: ['pulumi', 'zookeeper', 'cassandra', 'memcached', 'haproxy', 'knot', 'sshd', 'command-provider'],
    alone: true,
    onDemand: true,
  },
  {
    name: 'cloud-failures',
    timeoutMs: 15 * MINUTE,
    limitMs: 45 * MINUTE,
    tools: ['pulumi', 'py', 'sshd', 'providers'],
    alone: true,
    onDemand: true,
  },
  {
    name: 'ec2',
    timeoutMs: 20 * MINUTE,
    limitMs: 90 * MINUTE,
    tools: ['pulumi', 'py', 'zookeeper', 'cassandra', 'memcached', 'haproxy', 'aws-provider'],
    alone: true,
    onDemand: true,
  },
  { name: 'libvirt', timeoutMs: 8 * MINUTE, limitMs: 30 * MINUTE, tools: ['pulumi'], alone: true, onDemand: true },
  {
    name: 'openstack',
    timeoutMs: 60 * MINUTE,
    limitMs: 180 * MINUTE,
    tools: ['pulumi', 'zookeeper', 'cassandra', 'openstack-provider'],
    alone: true,
    onDemand: true,
  },
  {
    name: 'image',
    timeoutMs: 15 * MINUTE,
    limitMs: 40 * MINUTE,
    tools: ['zookeeper', 'cassandra'],
    alone: true,
    onDemand: true,
  },
  {
    name: 'kvm',
    timeoutMs: 30 * MINUTE,
    limitMs: 90 * MINUTE,
    tools: ['pulumi', 'zookeeper', 'cassandra', 'memcached', 'haproxy', 'knot'],
    alone: true,
    onDemand: true,
  },
  {
    name: 'xen',
    timeoutMs: 60 * MINUTE,
    limitMs: 120 * MINUTE,
    tools: ['pulumi', 'zookeeper', 'cassandra'],
    alone: true,
    onDemand: true,
  },
];
