import { Counter, Gauge, Registry } from 'prom-client';
import { edgeCounters } from '../edge/role.js';
import { hasCode } from '../errors.js';
import type { Agent } from './agent.js';
import type { EdgeAppCounters } from './api.js';
import { usage } from './procfs.js';

const EDGE_FIGURES = [
  'localRequests',
  'peerRequests',
  'localSessions',
  'peerSessions',
  'responses5xx',
  'retries',
  'serversUp',
  'peersUp',
] as const satisfies readonly (keyof EdgeAppCounters)[];

/** Prometheus text about the machine: its roles, their processes, and what its edge counts. */
export async function metricsText(agent: Agent): Promise<string> {
  const registry = new Registry();
  const registers = [registry];
  const status = agent.status();
  registry.setDefaultLabels({ platform: status.platformId, machine: status.machine });
  const healthy = new Gauge({
    name: 'nxnw_role_healthy',
    help: '1 = healthy',
    labelNames: ['role', 'kind'],
    registers,
  });
  const labelNames = ['role', 'process'];
  const restarts = new Counter({
    name: 'nxnw_process_restarts_total',
    help: 'Unasked restarts',
    labelNames,
    registers,
  });
  const resident = new Gauge({ name: 'nxnw_process_resident_bytes', help: 'Resident memory', labelNames, registers });
  const cpu = new Counter({ name: 'nxnw_process_cpu_seconds_total', help: 'Processor time', labelNames, registers });
  const edge = new Gauge({
    name: 'nxnw_edge',
    help: 'Figures of the edge by application',
    labelNames: ['role', 'app', 'figure'],
    registers,
  });
  for (const r of status.roles) {
    healthy.set({ role: r.id, kind: r.kind }, r.state === 'healthy' ? 1 : 0);
    for (const p of r.processes) {
      const labels = { role: r.id, process: p.name };
      restarts.inc(labels, p.restarts);
      const used = p.pid === 0 ? null : usage(p.pid);
      if (!used) continue;
      resident.set(labels, used.residentBytes);
      cpu.inc(labels, used.cpuSeconds);
    }
    const spec = agent.role(r.id).specification;
    if (spec.kind !== 'edge' || r.state !== 'healthy') continue;
    try {
      for (const a of (await edgeCounters(agent.machine.dir, spec)).apps)
        for (const figure of EDGE_FIGURES) edge.set({ role: r.id, app: a.app, figure }, a[figure]);
    } catch (e) {
      if (!hasCode(e, 'EDGE_DOWN')) throw e; // ended since its last check; nxnw_role_healthy says so next time
    }
  }
  return registry.metrics();
}
