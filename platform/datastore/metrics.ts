import { Counter, Gauge, Histogram } from 'prom-client';
import type { Registry } from 'prom-client';
import type { DoorMetrics } from './door.js';

/** Prometheus metrics of the doors of a process, by project. Call once for a registry. */
export function doorMetrics(registry: Registry): (projectId: string) => DoorMetrics {
  const registers = [registry];
  const requests = new Counter({
    name: 'nxnw_datastore_requests_total',
    help: 'Answered requests of the Datastore API',
    labelNames: ['project', 'method', 'code'],
    registers,
  });
  const seconds = new Histogram({
    name: 'nxnw_datastore_request_seconds',
    help: 'Time from a request to its answer',
    labelNames: ['project', 'method'],
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10],
    registers,
  });
  const inFlight = new Gauge({
    name: 'nxnw_datastore_requests_in_flight',
    help: 'Requests being worked on',
    labelNames: ['project'],
    registers,
  });
  const open = new Gauge({
    name: 'nxnw_datastore_transactions_open',
    help: 'Transactions whose home is this process',
    labelNames: ['project'],
    registers,
  });
  return (project) => ({
    answered: (method, code, took) => {
      requests.inc({ project, method, code });
      seconds.observe({ project, method }, took);
    },
    inFlight: (n) => inFlight.set({ project }, n),
    openTransactions: (n) => open.set({ project }, n),
  });
}
