import type { AddressInfo } from 'node:net';
import { startRelay } from '@nxnw/platform/apps/relay';
import type { Access } from '@nxnw/migration/resources/engines/access';
import { PORTS } from '@nxnw/components/plan/machines';

const LOOPBACK = '127.0.0.1';

/**
 * A door to the datastore of a platform that is not on this machine's loopback: a relay of the test's own, which goes
 * in by the operator's certificate, as an app machine's relay does by its own. For the first application. The data
 * machine's relay port (20000) must be reachable from here.
 */
export async function operatorDoor(
  access: Access,
  dataMachine: string,
): Promise<{ readonly endpoint: string; close(): void }> {
  const server = await startRelay({
    listen: { host: LOOPBACK, port: 0 },
    targets: () => [{ host: dataMachine, port: PORTS.relay }],
    tlsSide: 'targets',
    tls: access.operator,
  });
  const { port } = server.address() as AddressInfo;
  return { endpoint: `${LOOPBACK}:${String(port)}`, close: () => void server.close() };
}
