import { NxnwError, hasCode } from '../errors.js';
import { RpcClient } from '../wire/rpc.js';
import type { TlsMaterial } from '../wire/rpc.js';
import type { Endpoint, RoleKind, RoleSpecInput } from './spec.js';

/**
 * The agent's RPC service `agent`. Methods that change something are for callers whose certificate names one of
 * CONTROLLERS (subject common name, a part after the first dot or dash is free: `coordinator-1`); any certificate of
 * the platform may read.
 */
export const CONTROLLERS = ['operator', 'coordinator'] as const;

/** An edge holds requests no longer: their clients wait. */
export const MAX_HOLD_MS = 10_000;

export type ProcessState = 'starting' | 'healthy' | 'unhealthy' | 'backoff' | 'failed' | 'stopped';

export interface ProcessStatus {
  readonly name: string;
  readonly state: ProcessState;
  /** 0 = not running. */
  readonly pid: number;
  readonly startedAtMs: number;
  /** Starts after the first one that were not asked for. */
  readonly restarts: number;
  /** One line for a person; with a stable code where there is one, such as `PORT_IN_USE: …`. */
  readonly detail: string;
}

export interface RoleStatus {
  readonly id: string;
  readonly kind: RoleKind;
  /** The worst of its processes; `healthy` when all are, `failed` when one cannot start until something is mended. */
  readonly state: ProcessState;
  readonly detail: string;
  readonly processes: readonly ProcessStatus[];
  /** Of the program, for instance `3.9.5`; '' while unknown. */
  readonly version: string;
  /** Digest of the specification. */
  readonly specHash: string;
}

export interface MachineStatus {
  readonly platformId: string;
  readonly machine: string;
  readonly agentVersion: string;
  readonly agentPid: number;
  /** Number of `apply` calls that changed something, kept over restarts. */
  readonly generation: number;
  readonly holds: readonly Hold[];
  readonly roles: readonly RoleStatus[];
}

export interface ApplyAnswer {
  /** True when every role is healthy. */
  readonly converged: boolean;
  /** What this call did, one line each; empty when nothing had to be done. */
  readonly changes: readonly string[];
  readonly status: MachineStatus;
}

/** A reason why the machine may not be destroyed or lose its stores, such as being the source of a migration. */
export interface Hold {
  readonly name: string;
  readonly reason: string;
  readonly sinceMs: number;
}

/** What a machine says of itself when its network is examined. Times are ms since 1970 by its own clock. */
export interface Probe {
  readonly receivedAtMs: number;
  readonly sentAtMs: number;
  /** Free where the machine's folder lies. */
  readonly freeBytes: number;
  /** As many bytes as were asked for. */
  readonly bytes: Buffer;
}

/** Most bytes of one probe. */
export const PROBE_BYTES = 1 << 20;

export type RouteTarget = 'local' | 'peer';

export interface EdgeAppCounters {
  readonly app: string;
  readonly route: RouteTarget;
  /** Requests since the proxy was started, by where they went. */
  readonly localRequests: number;
  readonly peerRequests: number;
  /** Requests and connections in progress now. */
  readonly localSessions: number;
  readonly peerSessions: number;
  /** Answers 5xx since the start, HAProxy's own included. */
  readonly responses5xx: number;
  readonly retries: number;
  readonly serversUp: number;
  readonly peersUp: number;
}

/** No request of the application is under way through the edge. */
export const isIdle = (a: EdgeAppCounters): boolean => a.localSessions + a.peerSessions === 0;

export interface EdgeCounters {
  /** Open client connections. */
  readonly connections: number;
  readonly requests: number;
  readonly apps: readonly EdgeAppCounters[];
}

export interface DrainAnswer {
  /** False: nothing was done, since an application would have had no other instance that is up. */
  readonly drained: boolean;
  /** Requests that the instances still have. */
  readonly sessions: number;
}

export interface UploadAnswer {
  /** Bytes the agent holds of this blob; the next piece starts here. */
  readonly haveBytes: number;
  readonly complete: boolean;
}

const UPLOAD_PIECE_BYTES = 4 << 20;
/** An apply is answered with progress after this long at the latest. */
const APPLY_WAIT_MS = 20_000;
const CALL_MS = 15_000;

/** Calls to one machine's agent. Errors are NxnwErrors with the agent's codes. */
export class AgentClient {
  private readonly rpc: RpcClient;

  /** `target` is `host:port`. */
  constructor(
    readonly target: string,
    tls: TlsMaterial,
  ) {
    this.rpc = new RpcClient(target, tls);
  }

  private call<T>(method: string, request: unknown, ms = CALL_MS): Promise<T> {
    return this.rpc.call<T>(`agent.${method}`, request, { deadlineMs: Date.now() + ms });
  }

  /** Makes `roles` the machine's whole set; answers when all are healthy, one has failed for good, or after `waitMs`. */
  apply(roles: readonly RoleSpecInput[], waitMs = APPLY_WAIT_MS): Promise<ApplyAnswer> {
    return this.call('apply', { roles, waitMs }, waitMs + CALL_MS);
  }

  /**
   * As `apply`, until all roles are healthy. Throws ROLE_FAILED (or the role's own code, such as PORT_IN_USE) when one
   * cannot start, ROLE_NOT_HEALTHY after `deadlineMs` (milliseconds since 1970).
   */
  async converge(
    roles: readonly RoleSpecInput[],
    deadlineMs: number,
    progress: (s: MachineStatus) => void = () => undefined,
  ): Promise<ApplyAnswer> {
    const changes: string[] = [];
    for (;;) {
      const left = Math.max(0, deadlineMs - Date.now());
      const a = await this.apply(roles, Math.min(left, 2000)).catch((e: unknown) => {
        // an agent that unpacks an application on a busy machine answers late; it is asked for the same again
        if (left > 0 && hasCode(e, 'DEADLINE_EXCEEDED')) return null;
        throw e;
      });
      if (a === null) continue;
      changes.push(...a.changes);
      if (a.converged) return { ...a, changes };
      progress(a.status);
      const failed = a.status.roles.find((r) => r.state === 'failed');
      if (failed) throw roleError(this.target, failed);
      if (left === 0) {
        const slow = a.status.roles.filter((r) => r.state !== 'healthy');
        throw new NxnwError(
          'ROLE_NOT_HEALTHY',
          `machine ${a.status.machine} (${this.target}): not healthy in time: ` +
            slow.map((r) => `${r.id} is ${r.state} (${r.detail})`).join('; ') +
            `; see "nxnw logs"`,
          { machine: a.status.machine, roles: slow.map((r) => r.id) },
        );
      }
    }
  }

  status(): Promise<MachineStatus> {
    return this.call('status', {});
  }

  /** One exchange of four timestamps, with `wantBytes` (at most PROBE_BYTES) that cannot be made smaller on the way. */
  probe(wantBytes: number, ms: number): Promise<Probe> {
    return this.call('probe', { wantBytes }, ms);
  }

  /** The last lines of a role's logs, all its processes; at most 10,000. */
  async logs(role: string, lines = 200): Promise<readonly string[]> {
    return (await this.call<{ lines: string[] }>('logs', { role, lines })).lines;
  }

  /** Prometheus text. */
  async metrics(): Promise<string> {
    return (await this.call<{ text: string }>('metrics', {})).text;
  }

  /** Stores `bytes` under its SHA-256 on the machine, going on where an earlier try ended. */
  async upload(digest: string, bytes: Buffer): Promise<void> {
    let at = await this.call<UploadAnswer>('upload', { digest, totalBytes: bytes.length, offset: 0, bytes: null });
    while (!at.complete) {
      const piece = bytes.subarray(at.haveBytes, at.haveBytes + UPLOAD_PIECE_BYTES);
      const request = { digest, totalBytes: bytes.length, offset: at.haveBytes, bytes: piece };
      at = await this.call<UploadAnswer>('upload', request, 60_000);
    }
  }

  /** Reads a stored blob back; NOT_FOUND if the machine has none of this digest. */
  async download(digest: string): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for (let offset = 0; ;) {
      const request = { digest, offset, maxBytes: UPLOAD_PIECE_BYTES };
      const p = await this.call<{ bytes: Buffer; totalBytes: number }>('download', request, 60_000);
      pieces.push(Buffer.from(p.bytes));
      offset += p.bytes.length;
      if (offset >= p.totalBytes) return Buffer.concat(pieces);
    }
  }

  /** Restarts the processes of a role, one after another. */
  restart(role: string): Promise<MachineStatus> {
    return this.call('restart', { role }, 120_000);
  }

  /** Sends an application's requests to the local instances or to the peer's edge; in force when it answers. */
  setRoute(role: string, app: string, to: RouteTarget): Promise<EdgeCounters> {
    return this.call('setRoute', { role, app, to });
  }

  /**
   * Holds an application's requests at an edge until `setRoute`, or for `holdMs`, after which they go where they went
   * before. Requests that came through the other platform's edge are not held. Answers once no request of the
   * application is under way through the edge, or when the hold is over.
   */
  holdRequests(role: string, app: string, holdMs: number): Promise<EdgeCounters> {
    return this.call('holdRequests', { role, app, holdMs }, holdMs + CALL_MS);
  }

  /**
   * Tells an edge whose specification names no peer where the other platform's edges are (IP addresses; at most 4,
   * none = forget). Kept over restarts; an `apply` does not change it. `caPem`: speak TLS to them, verified by it.
   */
  setPeer(role: string, servers: readonly Endpoint[], caPem?: string): Promise<MachineStatus> {
    return this.call('setPeer', { role, servers, ...(caPem === undefined ? {} : { caPem }) }, 60_000);
  }

  /**
   * Gives the instances at these addresses no new requests, and answers when they have none left or after `waitMs`. Ends
   * by `undrain`, and by itself after five minutes.
   */
  drain(role: string, servers: readonly Endpoint[], waitMs: number): Promise<DrainAnswer> {
    return this.call('drain', { role, servers, waitMs }, waitMs + CALL_MS);
  }

  /** Ends a drain; answers when the instances are up, or after `waitMs` the addresses of those that are not. */
  undrain(role: string, servers: readonly Endpoint[], waitMs: number): Promise<{ readonly down: readonly string[] }> {
    return this.call('undrain', { role, servers, waitMs }, waitMs + CALL_MS);
  }

  edgeCounters(role: string): Promise<EdgeCounters> {
    return this.call('edgeCounters', { role });
  }

  /** Writes the file that NXNW_SERVING names for the instances of an `app` role. */
  setServing(role: string, serving: boolean): Promise<Record<string, never>> {
    return this.call('setServing', { role, serving });
  }

  /** Sets a hold: until it is released `destroy`, and an `apply` that drops or changes a store, answer HELD. */
  hold(name: string, reason: string): Promise<MachineStatus> {
    return this.call('hold', { name, reason });
  }

  release(name: string): Promise<MachineStatus> {
    return this.call('release', { name });
  }

  /** Stops all roles, keeps their data and specifications; the next `apply` starts them again. */
  stop(): Promise<MachineStatus> {
    return this.call('stop', {}, 120_000);
  }

  /** Stops all roles, removes the machine's directory and ends the agent. */
  destroy(): Promise<Record<string, never>> {
    return this.call('destroy', {}, 120_000);
  }

  /** The agent starts a successor (perhaps of a newer version) and ends; no role is touched. */
  restartAgent(): Promise<Record<string, never>> {
    return this.call('restartAgent', {});
  }

  /** The machine makes a new key, which never leaves it. Answers a request (PKCS #10, PEM) to have it signed. */
  newKey(): Promise<{ readonly csr: string }> {
    return this.call('newKey', {});
  }

  /**
   * Gives the machine the certificate for its new key; the agent starts a successor with it. Roles that use the machine's
   * certificate are started again with the new one, the others go on. Throws CERTIFICATE_REFUSED, NO_PENDING_KEY.
   */
  setCertificate(given: { readonly cert: string; readonly ca: string }): Promise<Record<string, never>> {
    return this.call('setCertificate', given);
  }

  close(): void {
    this.rpc.close();
  }
}

function roleError(target: string, r: RoleStatus): NxnwError {
  const code = /^([A-Z][A-Z_]+): /.exec(r.detail)?.[1] ?? 'ROLE_FAILED';
  return new NxnwError(code, `${target}: role ${r.id} (${r.kind}) cannot run: ${r.detail}`, { role: r.id, target });
}
