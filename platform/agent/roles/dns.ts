import { execFileSync } from 'node:child_process';
import { Resolver } from 'node:dns/promises';
import { join } from 'node:path';
import { findProgram } from '../home.js';
import { keepExisting } from '../plan.js';
import type { MachineContext, Probe, RolePlan } from '../plan.js';
import type { DnsSpec } from '../spec.js';

/**
 * knot for one zone. The zone's file is written once; afterwards the zone changes by RFC 2136 updates only, which knot
 * keeps in its journal and writes back to the file.
 */
export function planDns(spec: DnsSpec, machine: MachineContext): RolePlan {
  const dir = join(machine.dir, 'roles', spec.id);
  const program = findProgram('knotd');
  return {
    dirs: [join(dir, 'run'), join(dir, 'db'), join(dir, 'zones')],
    files: [
      { path: join(dir, 'knot.conf'), content: knotConfig(spec), onChange: 'restart' },
      {
        path: join(dir, 'zones', `${spec.zone}.zone`),
        content: zoneFile(spec),
        onChange: 'nothing',
        merge: keepExisting,
      },
    ],
    version: execFileSync(program, ['--version'], { encoding: 'utf8', timeout: 5000 }).replace(
      /^.*\s(\d\S*)\s*$/s,
      '$1',
    ),
    processes: [
      {
        name: spec.id,
        command: program,
        args: ['-c', 'knot.conf'],
        env: {},
        cwd: dir,
        listens: (['tcp', 'udp'] as const).map((protocol) => ({ host: spec.host, port: spec.port, protocol })),
        probe: () => probeZone(spec),
        stopSignal: 'SIGTERM',
        stopGraceMs: 5000,
      },
    ],
  };
}

async function probeZone(spec: DnsSpec): Promise<Probe> {
  const resolver = new Resolver({ timeout: 1000, tries: 1 });
  resolver.setServers([`${spec.host}:${spec.port}`]);
  const soa = await resolver.resolveSoa(spec.zone);
  return { ok: true, detail: `answers for ${spec.zone}, serial ${soa.serial}` };
}

/** Paths are relative to the role's directory, so that the control socket's path is never too long. */
function knotConfig(spec: DnsSpec): string {
  return `server:
    listen: [ ${spec.host}@${spec.port} ]
    rundir: run
    identity: ""
    version: ""
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: db
log:
  - target: stderr
    any: warning
key:
  - id: ${spec.keyName}
    algorithm: hmac-sha256
    secret: ${spec.keySecret}
acl:
  - id: updates
    address: [ ${spec.allow.join(', ')} ]
    key: ${spec.keyName}
    action: update
template:
  - id: default
    storage: zones
    file: "%s.zone"
    zonefile-load: difference-no-serial
    journal-content: all
zone:
  - domain: ${spec.zone}
    acl: updates
`;
}

function zoneFile(spec: DnsSpec): string {
  const fqdn = (label: string): string => (label === '@' ? `${spec.zone}.` : `${label}.${spec.zone}.`);
  const records = Object.entries(spec.records).flatMap(([label, addresses]) =>
    addresses.map((a) => `${fqdn(label)} ${spec.ttlSeconds} A ${a}`),
  );
  return [
    `${spec.zone}. ${spec.ttlSeconds} SOA ns.${spec.zone}. admin.${spec.zone}. 1 60 60 3600 ${spec.ttlSeconds}`,
    `${spec.zone}. ${spec.ttlSeconds} NS ns.${spec.zone}.`,
    `ns.${spec.zone}. ${spec.ttlSeconds} A ${spec.host}`,
    ...records,
    '',
  ].join('\n');
}
