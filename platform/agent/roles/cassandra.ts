import { join } from 'node:path';
import { Client } from 'cassandra-driver';
import { jarVersion, jarsDir, javaProgram } from '../home.js';
import type { MachineContext, Probe, RolePlan } from '../plan.js';
import type { CassandraSpec } from '../spec.js';

/** What Java 17 must open for Cassandra 5.0; found by adding one at a time. */
const OPENED = ['java.base/sun.nio.ch', 'java.base/jdk.internal.ref', 'java.base/java.io'];
/** Up to this heap the serial collector takes less memory and is not slower. */
const SMALL_HEAP_MIB = 1024;
/**
 * Cassandra's idle worker threads look for work again and again, 10 µs apart: 23,000 context switches a second where one
 * client writes 150 rows a second (decision 024). Timers that may be 0.3 ms late cost a quarter less of a core.
 */
const COARSE_TIMERS = 'echo 300000 > /proc/self/timerslack_ns; exec "$0" "$@"';

/** One Cassandra node. Its data lies in `data` of the role's directory. JMX is off. */
export function planCassandra(spec: CassandraSpec, machine: MachineContext): RolePlan {
  const dir = join(machine.dir, 'roles', spec.id);
  const lib = jarsDir('cassandra');
  const config = join(dir, 'cassandra.yaml');
  return {
    dirs: [join(dir, 'data')],
    files: [
      { path: config, content: cassandraYaml(spec), onChange: 'restart' },
      { path: join(dir, 'logback.xml'), content: LOGBACK, onChange: 'restart' },
    ],
    version: jarVersion(lib, 'cassandra-all'),
    processes: [
      {
        name: spec.id,
        command: '/bin/sh',
        args: [
          ...['-c', COARSE_TIMERS, javaProgram()],
          // a heap that grows collects all of it each time: nobody is answered meanwhile
          `-Xms${spec.heapMiB}m`,
          `-Xmx${spec.heapMiB}m`,
          `-Xmn${Math.floor(spec.heapMiB / 3)}m`,
          `-XX:MaxDirectMemorySize=${Math.max(64, spec.heapMiB / 4)}m`,
          ...(spec.heapMiB <= SMALL_HEAP_MIB ? ['-XX:+UseParallelGC', '-XX:TieredStopAtLevel=1'] : ['-XX:+UseG1GC']),
          '-XX:+ExitOnOutOfMemoryError',
          `-Xlog:gc:file=${join(dir, 'gc.log')}:time,uptime:filecount=2,filesize=1m`,
          ...OPENED.map((m) => `--add-opens=${m}=ALL-UNNAMED`),
          `-javaagent:${join(lib, `jamm-${jarVersion(lib, 'jamm')}.jar`)}`,
          `-Dcassandra.config=file://${config}`,
          `-Dcassandra.storagedir=${join(dir, 'data')}`,
          '-Dcassandra-foreground=yes',
          ...(spec.seeds.length <= 1 ? ['-Dcassandra.skip_wait_for_gossip_to_settle=0'] : []),
          ...['-cp', `${dir}:${lib}/*`],
          'org.apache.cassandra.service.CassandraDaemon',
        ],
        env: {},
        cwd: dir,
        listens: [spec.cqlPort, spec.storagePort].map((port) => ({ host: spec.host, port, protocol: 'tcp' })),
        probe: (signal) => probeQuery(spec, signal),
        stopSignal: 'SIGTERM',
        stopGraceMs: 20_000,
      },
    ],
  };
}

async function probeQuery(spec: CassandraSpec, signal: AbortSignal): Promise<Probe> {
  signal.throwIfAborted();
  const client = new Client({
    contactPoints: [spec.host],
    localDataCenter: 'datacenter1',
    protocolOptions: { port: spec.cqlPort },
    socketOptions: { connectTimeout: 2000, readTimeout: 2000 },
    isMetadataSyncEnabled: false,
  });
  const close = (): void => void client.shutdown();
  signal.addEventListener('abort', close, { once: true });
  try {
    const result = await client.execute('SELECT release_version FROM system.local');
    return { ok: true, detail: `CQL answers, release ${String(result.first()['release_version'])}` };
  } finally {
    signal.removeEventListener('abort', close);
    await client.shutdown();
  }
}

/**
 * `batch` commit log: an acknowledged write survives the end of the process. A mutation may be half a segment (2 MiB),
 * and so may a batch.
 */
function cassandraYaml(spec: CassandraSpec): string {
  const share = Math.max(32, Math.floor(spec.heapMiB / 8));
  return `cluster_name: ${JSON.stringify(spec.clusterName)}
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
listen_address: ${spec.host}
rpc_address: ${spec.host}
storage_port: ${spec.storagePort}
native_transport_port: ${spec.cqlPort}
commitlog_sync: batch
commitlog_segment_size: 4MiB
commitlog_total_space: ${4 * share}MiB
memtable_heap_space: ${share}MiB
memtable_offheap_space: ${share}MiB
memtable_allocation_type: offheap_objects
batch_size_warn_threshold: 1024KiB
batch_size_fail_threshold: 2048KiB
networking_cache_size: 8MiB
file_cache_enabled: false
key_cache_size: 4MiB
counter_cache_size: 0MiB
concurrent_reads: 8
${spec.heapMiB <= SMALL_HEAP_MIB ? SLOW_COMPACTION : ''}concurrent_writes: 16
native_transport_max_threads: 16
auto_snapshot: false
hinted_handoff_enabled: ${spec.seeds.length > 1}
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: "${(spec.seeds.length > 0 ? spec.seeds : [spec.host]).join(',')}"}]
`;
}

/** On a small machine compaction shares the cores with all the rest. */
const SLOW_COMPACTION = `concurrent_compactors: 1
compaction_throughput: 8MiB/s
`;

/** Without a configuration it logs at DEBUG. */
const LOGBACK = `<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{yyyy-MM-dd'T'HH:mm:ss.SSS} %-5level %logger{20} %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="out"/></root>
  <logger name="org.apache.cassandra.service.CassandraDaemon" level="INFO"/>
</configuration>
`;
