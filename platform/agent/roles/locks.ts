import { join } from 'node:path';
import { ZooKeeper } from '../../locks/client.js';
import { jarVersion, jarsDir, javaProgram } from '../home.js';
import type { MachineContext, Probe, RolePlan } from '../plan.js';
import type { LocksSpec } from '../spec.js';

const SESSION_TIMEOUT_MS = 4000;

/** One ZooKeeper member. Its data lies in `data` of the role's directory. */
export function planLocks(spec: LocksSpec, machine: MachineContext): RolePlan {
  const dir = join(machine.dir, 'roles', spec.id);
  const lib = jarsDir('zookeeper');
  const own = spec.members.find((m) => m.memberId === spec.memberId);
  const quorumPorts = own ? [own.electionPort].map((port) => ({ host: own.host, port, protocol: 'tcp' as const })) : [];
  return {
    dirs: [join(dir, 'data')],
    files: [
      { path: join(dir, 'zoo.cfg'), content: zooConfig(spec, dir), onChange: 'restart' },
      ...(own ? [{ path: join(dir, 'data/myid'), content: `${spec.memberId}\n`, onChange: 'restart' as const }] : []),
    ],
    version: jarVersion(lib, 'zookeeper'),
    processes: [
      {
        name: spec.id,
        command: javaProgram(),
        args: [
          `-Xmx${spec.heapMiB}m`,
          '-XX:+UseSerialGC',
          '-XX:TieredStopAtLevel=1',
          '-XX:+ExitOnOutOfMemoryError',
          `-Djute.maxbuffer=${spec.juteMaxBufferBytes}`,
          '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
          '-Dorg.slf4j.simpleLogger.showDateTime=true',
          '-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS',
          // One warning for each session ("old client"), the readiness check's included.
          '-Dorg.slf4j.simpleLogger.log.org.apache.zookeeper.server.ZooKeeperServer=error',
          ...['-cp', `${dir}:${lib}/*`],
          'org.apache.zookeeper.server.quorum.QuorumPeerMain',
          join(dir, 'zoo.cfg'),
        ],
        env: {},
        cwd: dir,
        listens: [{ host: spec.host, port: spec.clientPort, protocol: 'tcp' }, ...quorumPorts],
        probe: (signal) => probeSession(`${spec.host}:${spec.clientPort}`, signal),
        stopSignal: 'SIGTERM',
        stopGraceMs: 5000,
      },
    ],
  };
}

/** A session that reads the root: the port alone opens even when no session is ever served. */
async function probeSession(server: string, signal: AbortSignal): Promise<Probe> {
  signal.throwIfAborted();
  const client = await ZooKeeper.connect({
    servers: server,
    sessionTimeoutMs: SESSION_TIMEOUT_MS,
    connectTimeoutMs: 2000,
    callTimeoutMs: 2000,
  });
  try {
    const children = await client.children('/');
    return { ok: true, detail: `a session was served; the root has ${children.names.length} children` };
  } finally {
    await client.close();
  }
}

function zooConfig(spec: LocksSpec, dir: string): string {
  const ensemble = spec.members.map((m) => `server.${m.memberId}=${m.host}:${m.quorumPort}:${m.electionPort}`);
  return [
    `tickTime=${spec.tickTimeMs}`,
    'initLimit=20',
    'syncLimit=10',
    `dataDir=${join(dir, 'data')}`,
    `clientPort=${spec.clientPort}`,
    `clientPortAddress=${spec.host}`,
    'maxClientCnxns=0',
    'admin.enableServer=false',
    '4lw.commands.whitelist=ruok',
    'preAllocSize=1024',
    'snapCount=10000',
    'autopurge.snapRetainCount=3',
    'autopurge.purgeInterval=1',
    ...(ensemble.length > 0 ? ['standaloneEnabled=false', ...ensemble] : []),
    '',
  ].join('\n');
}
