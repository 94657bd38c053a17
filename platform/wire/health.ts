import { hasCode } from '../errors.js';
import type { RpcServer, TlsMaterial } from './rpc.js';
import { RpcClient } from './rpc.js';

/** What a process says of itself. `detail` is one line for a person; no secrets. */
export interface Health {
  readonly ready: boolean;
  readonly detail: string;
}

/** Serves `health.check`. `state` must answer at once, from memory. */
export function addHealth(server: RpcServer, state: () => Health): void {
  server.add('health', { unary: { check: () => Promise.resolve(state()) } });
}

/** Asks the process behind `target` (`host:port`) how it is; a process that cannot be reached is not ready. */
export async function askHealth(target: string, tls: TlsMaterial, deadlineMs: number): Promise<Health> {
  const client = new RpcClient(target, tls);
  try {
    return await client.call<Health>('health.check', {}, { deadlineMs });
  } catch (e) {
    if (hasCode(e, 'UNAVAILABLE', 'DEADLINE_EXCEEDED', 'UNIMPLEMENTED')) return { ready: false, detail: e.message };
    throw e;
  } finally {
    client.close();
  }
}
