import type { TlsMaterial } from '@nxnw/platform/wire/rpc';
import { GatewayClient } from '@nxnw/platform/wire/gateway-client';
import { NxnwError } from '@nxnw/platform/errors';
import { address } from '../../coordinator/engines/cache.js';

const SESSION_MS = 10_000;

/** Join ports of the running platform, as its bundle lists them. */
export interface Gateways {
  readonly machine: string;
  readonly endpoint: string;
}

/**
 * Does `work` with endpoints of the running platform behind its join port: `at` answers where each of them is reached
 * from this process meanwhile.
 */
export async function throughGateways<T>(
  o: { readonly gateways: readonly Gateways[]; readonly tls: TlsMaterial; readonly endpoints: readonly string[] },
  work: (at: (endpoint: string) => string, status: () => string) => Promise<T>,
): Promise<T> {
  const client = await GatewayClient.start({
    gateways: o.gateways.map((g) => ({ machine: g.machine, endpoint: address(g.endpoint) })),
    tls: o.tls,
    forwards: o.endpoints.map((to) => ({ listen: { host: '127.0.0.1', port: 0 }, to })),
    reverse: null,
    log: () => undefined,
  });
  const at = (endpoint: string): string => {
    const place = client.portOf(endpoint);
    if (place === undefined) throw new NxnwError('NOT_FOUND', `${endpoint} was not asked for`);
    return `${place.host}:${String(place.port)}`;
  };
  try {
    await client.ready(SESSION_MS);
    return await work(at, () => client.status().detail);
  } finally {
    client.close();
  }
}
