/**
 * The part of node-zookeeper-client 1.1.3 (which ships no types) that `connection.ts` builds on: sessions, server
 * rotation, ping and authentication. Fields of its ConnectionManager are named here because the package has no other
 * way to send a request of an operation that it does not know.
 */
declare module 'node-zookeeper-client' {
  import type { EventEmitter } from 'node:events';
  import type { Socket } from 'node:net';

  /** What the package asks of a request in its queues; `xid` is assigned when it is written. */
  export interface Request {
    readonly header: { xid: number; readonly type: number } | null;
    readonly payload: null;
    toBuffer(): Buffer;
  }

  export interface Packet {
    readonly request: Request;
    /** Called with an Exception when the connection is lost after the request was written. */
    readonly callback: (error: Exception) => void;
  }

  export interface Exception extends Error {
    readonly code: number;
  }

  export interface ConnectionManager {
    state: number;
    socket?: Socket;
    /** Last zxid seen, 8 bytes; sent at reconnect so that no server further behind takes the session. */
    zxid: Buffer;
    readonly packetQueue: { readonly queue: Packet[] };
    readonly pendingQueue: Packet[];
    queue(request: Request, callback: (error: Exception) => void): void;
    connect(): void;
    onSocketData(chunk: Buffer): void;
    onSocketConnected(): void;
  }

  export interface Client extends EventEmitter {
    readonly connectionManager: ConnectionManager;
    connect(): void;
    close(): void;
    addAuthInfo(scheme: string, auth: Buffer): void;
    getSessionId(): Buffer;
    /** Negotiated, in milliseconds; valid once connected. */
    getSessionTimeout(): number;
  }

  export function createClient(
    servers: string,
    options: { readonly sessionTimeout: number; readonly spinDelay: number; readonly retries: number },
  ): Client;
}
