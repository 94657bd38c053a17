import { randomBytes } from 'node:crypto';
import { statfsSync } from 'node:fs';
import { z } from 'zod';
import { servingFile } from '../apps/role.js';
import { drainServers, edgeCounters, holdRequests, rememberPeer, setRoute, undrainServers } from '../edge/role.js';
import { NxnwError } from '../errors.js';
import type { Caller, RpcService, UnaryHandler } from '../wire/rpc.js';
import type { Agent } from './agent.js';
import { CONTROLLERS, MAX_HOLD_MS, PROBE_BYTES } from './api.js';
import { readPiece, takePiece } from './blobs.js';
import { writeAtomic } from './files.js';
import type { KeyRotation } from './identity.js';
import { logPath, tailLog } from './logs.js';
import { method } from './method.js';
import { metricsText } from './metrics.js';
import { endpointSchema } from './spec.js';
import type { EdgeSpec } from './spec.js';

const MAX_WAIT_MS = 600_000;
/** An application may run as another user. */
const READABLE = 0o644;
const servers = z.array(endpointSchema).max(64);
const digest = z.string().regex(/^[0-9a-f]{64}$/);

/** What ends the agent process; done after the answer was sent. */
export interface Endings {
  destroy(): void;
  successor(): void;
}

/** The methods of the agent's service; api.ts says what they do. */
export function agentService(agent: Agent, rotation: KeyRotation, endings: Endings): RpcService {
  const { dir } = agent.machine;
  const edgeOf = (role: string): EdgeSpec => {
    const spec = agent.role(role).specification;
    if (spec.kind === 'edge') return spec;
    throw new NxnwError('INVALID_ARGUMENT', `role ${role} is of kind ${spec.kind}, not edge`, { role });
  };
  const status = method(z.object({}), () => Promise.resolve(agent.status()));
  const reading: Record<string, UnaryHandler> = {
    status,
    metrics: method(z.object({}), async () => ({ text: await metricsText(agent) })),
    probe: method(z.object({ wantBytes: z.int().min(0).max(PROBE_BYTES) }), ({ wantBytes }) => {
      const receivedAtMs = Date.now();
      const { bavail, bsize } = statfsSync(dir);
      const bytes = randomBytes(wantBytes);
      return Promise.resolve({ receivedAtMs, freeBytes: bavail * bsize, bytes, sentAtMs: Date.now() });
    }),
    edgeCounters: method(z.object({ role: z.string() }), (r) => edgeCounters(dir, edgeOf(r.role))),
  };
  const changing: Record<string, UnaryHandler> = {
    apply: method(z.object({ roles: z.unknown(), waitMs: z.number().min(0).max(MAX_WAIT_MS) }), (r) =>
      agent.apply({ roles: r.roles }, r.waitMs),
    ),
    logs: method(z.object({ role: z.string(), lines: z.int().min(1) }), (r) => {
      const names =
        r.role === 'agent'
          ? ['agent']
          : agent
              .role(r.role)
              .status()
              .processes.map((p) => p.name);
      const lines = names.flatMap((n) =>
        tailLog(logPath(dir, n), r.lines).map((l) => (names.length > 1 ? `${n}: ${l}` : l)),
      );
      return Promise.resolve({ lines });
    }),
    upload: method(
      z.object({ digest, totalBytes: z.int().min(1), offset: z.int().min(0), bytes: z.instanceof(Buffer).nullable() }),
      (r) => Promise.resolve(takePiece(dir, r)),
    ),
    download: method(
      z.object({ digest, offset: z.int().min(0), maxBytes: z.int().min(1).max(32 << 20) }), // prettier-ignore
      (r) => Promise.resolve(readPiece(dir, r)),
    ),
    restart: method(z.object({ role: z.string() }), async (r) => {
      await agent.restart(r.role);
      return agent.status();
    }),
    setRoute: method(z.object({ role: z.string(), app: z.string(), to: z.enum(['local', 'peer']) }), (r) =>
      setRoute(dir, edgeOf(r.role), r.app, r.to),
    ),
    holdRequests: method(
      z.object({ role: z.string(), app: z.string(), holdMs: z.number().min(1).max(MAX_HOLD_MS) }),
      (r) => holdRequests(dir, edgeOf(r.role), r.app, r.holdMs),
    ),
    setPeer: method(
      z.object({ role: z.string(), servers: z.array(z.unknown()), caPem: z.string().optional() }),
      async ({ role, ...peer }) => {
        rememberPeer(dir, edgeOf(role).id, peer);
        await agent.reapply(role);
        return agent.status();
      },
    ),
    drain: method(z.object({ role: z.string(), servers, waitMs: z.number().min(0).max(MAX_WAIT_MS) }), (r) =>
      drainServers(dir, edgeOf(r.role), r.servers, r.waitMs),
    ),
    undrain: method(z.object({ role: z.string(), servers, waitMs: z.number().min(0).max(MAX_WAIT_MS) }), async (r) => ({
      down: await undrainServers(dir, edgeOf(r.role), r.servers, r.waitMs),
    })),
    setServing: method(z.object({ role: z.string(), serving: z.boolean() }), (r) => {
      const spec = agent.role(r.role).specification;
      if (spec.kind !== 'app')
        throw new NxnwError('INVALID_ARGUMENT', `role ${r.role} is of kind ${spec.kind}, not app`, { role: r.role });
      writeAtomic(servingFile(dir, r.role), r.serving ? 'serving\n' : 'standby\n', READABLE);
      return Promise.resolve({});
    }),
    hold: method(z.object({ name: z.string().min(1), reason: z.string() }), (r) => {
      agent.hold(r.name, r.reason);
      return Promise.resolve(agent.status());
    }),
    release: method(z.object({ name: z.string() }), (r) => {
      agent.release(r.name);
      return Promise.resolve(agent.status());
    }),
    stop: method(z.object({}), async () => {
      await agent.stop();
      return agent.status();
    }),
    destroy: method(z.object({}), () => {
      agent.refuseDestroyWhenHeld();
      endings.destroy();
      return Promise.resolve({});
    }),
    newKey: method(z.object({}), () => rotation.newKey()),
    setCertificate: method(z.object({ cert: z.string(), ca: z.string() }), async (r) => {
      await rotation.setCertificate(r);
      endings.successor();
      return {};
    }),
    restartAgent: method(z.object({}), () => {
      endings.successor();
      return Promise.resolve({});
    }),
  };
  const guarded = Object.entries(changing).map(([name, handler]) => [name, forControllers(name, handler)] as const);
  return { unary: { ...reading, ...Object.fromEntries(guarded) } };
}

/** Refuses callers whose certificate names no controller. */
function forControllers(name: string, handler: UnaryHandler): UnaryHandler {
  return async (request, caller: Caller) => {
    const role = caller.peer.split(/[.-]/)[0];
    if (CONTROLLERS.some((c) => c === role)) return handler(request, caller);
    throw new NxnwError(
      'PERMISSION_DENIED',
      `"${caller.peer}" may not call ${name} of an agent; only certificates for ${CONTROLLERS.join(' or ')} may`,
      { peer: caller.peer },
    );
  };
}
