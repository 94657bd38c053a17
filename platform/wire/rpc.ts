import { Client, Metadata, Server, ServerCredentials, credentials, status } from '@grpc/grpc-js';
import type {
  CallOptions,
  ChannelCredentials,
  MethodDefinition,
  ServerDuplexStream,
  ServerUnaryCall,
  sendUnaryData,
} from '@grpc/grpc-js';
import { Packr } from 'msgpackr';
import { NxnwError, asError } from '../errors.js';

/**
 * Calls between our own processes: gRPC over mTLS, with MessagePack bodies. A method is `service.method`; requests and
 * answers are plain objects (Buffers and numbers below 2^53 allowed). Errors cross as NxnwErrors with code and fields.
 */
const packr = new Packr({ useRecords: false, moreTypes: false });
const encode = (v: unknown): Buffer => packr.pack(v);
const decode = (b: Buffer): unknown => packr.unpack(b) as unknown;

const MAX_MESSAGE_BYTES = 64 << 20;
const CHANNEL = {
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  // counts of each call that nobody reads
  'grpc.enable_channelz': 0,
};

/** mTLS material, PEM. */
export interface TlsMaterial {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** What a client needs that has no certificate itself: PEM of the authority, or of the one certificate, it trusts. */
export interface ServerTrust {
  readonly ca: string;
}

export interface Caller {
  /** Common name of the client's certificate. */
  readonly peer: string;
  readonly signal: AbortSignal;
  readonly deadlineMs: number;
}

export type UnaryHandler = (request: unknown, caller: Caller) => Promise<unknown>;
/** Both directions: `incoming` ends when the caller has no more; yields are answers. Back-pressure is kept. */
export type StreamHandler = (incoming: AsyncIterable<unknown>, caller: Caller) => AsyncIterable<unknown>;

export interface RpcService {
  readonly unary: Readonly<Record<string, UnaryHandler>>;
  readonly streams?: Readonly<Record<string, StreamHandler>>;
}

function method(path: string, stream: boolean): MethodDefinition<unknown, unknown> {
  return {
    path: `/nxnw/${path}`,
    requestStream: stream,
    responseStream: stream,
    requestSerialize: encode,
    requestDeserialize: decode,
    responseSerialize: encode,
    responseDeserialize: decode,
  };
}

function toServiceError(e: unknown): { code: status; details: string; metadata: Metadata } {
  const err = asError(e);
  const metadata = new Metadata();
  const code = e instanceof NxnwError ? e.code : 'INTERNAL';
  const fields = e instanceof NxnwError ? e.fields : {};
  metadata.set('nxnw-error-bin', encode({ code, message: err.message, fields }));
  return { code: status.UNKNOWN, details: err.message.slice(0, 1000), metadata };
}

function fromServiceError(e: unknown, target: string): NxnwError {
  const err = e as { code?: number; details?: string; metadata?: Metadata; message: string };
  const raw = err.metadata?.get('nxnw-error-bin')[0];
  if (Buffer.isBuffer(raw)) {
    const x = decode(raw) as { code: string; message: string; fields: Record<string, unknown> };
    return new NxnwError(x.code, x.message, x.fields);
  }
  const name = err.code === undefined ? 'UNAVAILABLE' : (status[err.code] ?? 'UNKNOWN');
  return new NxnwError(
    name === 'INTERNAL' || name === 'UNKNOWN' ? 'UNAVAILABLE' : name,
    `${target}: ${err.details ?? err.message}`,
    { target },
    e,
  );
}

/** Common name of the peer's certificate; '' on a plain connection. */
function peerName(call: {
  getAuthContext(): { sslPeerCertificate?: { subject?: { CN?: string | string[] } } };
}): string {
  const cn = call.getAuthContext().sslPeerCertificate?.subject?.CN;
  return Array.isArray(cn) ? (cn[0] ?? '') : (cn ?? '');
}

/** The name is looked up only when asked for: reading a certificate costs more than most calls. */
function callerOf(
  call: Parameters<typeof peerName>[0] & Parameters<typeof deadlineOf>[0],
  signal: AbortSignal,
): Caller {
  return {
    get peer() {
      return peerName(call);
    },
    signal,
    deadlineMs: deadlineOf(call),
  };
}

function deadlineOf(call: { getDeadline(): Date | number }): number {
  const d = call.getDeadline();
  return d instanceof Date ? d.getTime() : d;
}

export class RpcServer {
  private readonly server = new Server(CHANNEL);
  private readonly closes = new AbortController();

  /** Aborts when the server is to close: a stream without an end of its own ends then. */
  get closing(): AbortSignal {
    return this.closes.signal;
  }

  /** Adds a service; `name` is the first part of its methods. */
  add(name: string, service: RpcService): void {
    const definition: Record<string, MethodDefinition<unknown, unknown>> = {};
    const handlers: Record<string, (...a: never[]) => void> = {};
    for (const [m, handler] of Object.entries(service.unary)) {
      definition[m] = method(`${name}/${m}`, false);
      handlers[m] = (call: ServerUnaryCall<unknown, unknown>, done: sendUnaryData<unknown>) => {
        const abort = new AbortController();
        call.on('cancelled', () => abort.abort());
        const caller = callerOf(call, abort.signal);
        handler(call.request, caller).then(
          (v) => done(null, v ?? {}),
          (e: unknown) => done(toServiceError(e)),
        );
      };
    }
    for (const [m, handler] of Object.entries(service.streams ?? {})) {
      definition[m] = method(`${name}/${m}`, true);
      handlers[m] = (call: ServerDuplexStream<unknown, unknown>) => {
        const abort = new AbortController();
        call.on('cancelled', () => abort.abort());
        const caller = callerOf(call, abort.signal);
        pump(handler(call.iterator({ destroyOnReturn: false }), caller), call, abort.signal).then(
          () => call.end(),
          (e: unknown) => {
            if (!abort.signal.aborted) call.emit('error', toServiceError(e));
          },
        );
      };
    }
    this.server.addService(definition, handlers as never);
  }

  /**
   * Binds `host:port` (port 0 = any) with TLS, or plain when `tls` is null. `clients`: those with a certificate by
   * `tls.ca` (mTLS), or anyone. Answers the port.
   */
  listen(address: string, tls: TlsMaterial | null, clients: 'certified' | 'anyone' = 'certified'): Promise<number> {
    const certified = clients === 'certified';
    const creds = tls
      ? ServerCredentials.createSsl(
          certified ? Buffer.from(tls.ca) : null,
          [{ cert_chain: Buffer.from(tls.cert), private_key: Buffer.from(tls.key) }],
          certified,
        )
      : ServerCredentials.createInsecure();
    return new Promise((ok, fail) =>
      this.server.bindAsync(address, creds, (e, port) =>
        e
          ? fail(new NxnwError('ADDRESS_IN_USE', `cannot listen on ${address}: ${e.message}`, { address }, e))
          : ok(port),
      ),
    );
  }

  /** Lets running calls end, at most `graceMs`, then closes. */
  async close(graceMs = 1000): Promise<void> {
    this.closes.abort();
    await new Promise<void>((ok) => {
      const t = setTimeout(() => {
        this.server.forceShutdown();
        // a session that was asked to close before is half closed now, and ends with the peer's end or this process
        ok();
      }, graceMs);
      this.server.tryShutdown(() => {
        clearTimeout(t);
        ok();
      });
    });
  }
}

async function pump(
  from: AsyncIterable<unknown>,
  to: ServerDuplexStream<unknown, unknown>,
  signal: AbortSignal,
): Promise<void> {
  for await (const v of from) {
    if (signal.aborted) return;
    if (!to.write(v))
      await new Promise<void>((ok) => {
        const go = () => {
          to.off('drain', go);
          signal.removeEventListener('abort', go);
          ok();
        };
        to.once('drain', go);
        signal.addEventListener('abort', go);
      });
  }
}

/** A connection to one RpcServer; reconnects by itself. */
export class RpcClient {
  private readonly client: Client;

  constructor(
    readonly target: string,
    tls: TlsMaterial | ServerTrust | null,
  ) {
    const own = tls !== null && 'key' in tls ? tls : null;
    const creds: ChannelCredentials = tls
      ? credentials.createSsl(Buffer.from(tls.ca), own && Buffer.from(own.key), own && Buffer.from(own.cert), {
          checkServerIdentity: () => undefined,
        })
      : credentials.createInsecure();
    this.client = new Client(target, creds, {
      ...CHANNEL,
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 1000,
      'grpc.enable_retries': 0,
      'grpc.use_local_subchannel_pool': 1,
      // Peers are known by the platform's authority, not by address; an IP address is no legal TLS server name.
      ...(tls ? { 'grpc.ssl_target_name_override': 'nxnw' } : {}),
    });
  }

  /** One request, one answer. The answer's shape is the callee's promise: `T` is trusted inside the platform. */
  call<T>(path: string, request: unknown, o: { deadlineMs: number; signal?: AbortSignal }): Promise<T> {
    const def = method(path.replace('.', '/'), false);
    return new Promise<T>((ok, fail) => {
      const options: CallOptions = { deadline: o.deadlineMs };
      const call = this.client.makeUnaryRequest(
        def.path,
        def.requestSerialize,
        def.responseDeserialize,
        request,
        new Metadata(),
        options,
        (e, v) => {
          o.signal?.removeEventListener('abort', cancel);
          if (e) fail(fromServiceError(e, this.target));
          else ok(v as T);
        },
      );
      const cancel = () => call.cancel();
      o.signal?.addEventListener('abort', cancel);
    });
  }

  /** Opens a stream both ways; iterate `answers`, `send` waits while the peer is slow. */
  open<In, Out>(
    path: string,
    signal: AbortSignal,
  ): { send(v: In): Promise<void>; end(): void; answers: AsyncIterable<Out> } {
    const def = method(path.replace('.', '/'), true);
    const call = this.client.makeBidiStreamRequest(
      def.path,
      def.requestSerialize,
      def.responseDeserialize,
      new Metadata(),
      {},
    );
    const target = this.target;
    const cancel = () => call.cancel();
    signal.addEventListener('abort', cancel);
    let failed: unknown;
    call.on('error', (e) => {
      failed = e;
    });
    async function* answers(): AsyncIterable<Out> {
      try {
        for await (const v of call) yield v as Out;
      } catch (e) {
        throw fromServiceError(e, target);
      } finally {
        signal.removeEventListener('abort', cancel);
        call.cancel();
      }
    }
    return {
      answers: answers(),
      end: () => call.end(),
      async send(v: In) {
        if (failed !== undefined) throw fromServiceError(failed, target);
        if (!call.write(v))
          await new Promise<void>((ok, fail) => {
            const done = () => {
              call.off('drain', good);
              call.off('error', bad);
              call.off('close', bad);
            };
            const good = () => {
              done();
              ok();
            };
            const bad = (e?: unknown) => {
              done();
              fail(fromServiceError(e ?? new Error('stream closed'), target));
            };
            call.once('drain', good);
            call.once('error', bad);
            call.once('close', bad);
          });
      },
    };
  }

  close(): void {
    this.client.close();
  }
}
