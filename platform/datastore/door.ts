import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import type { ServerUnaryCall, ServiceDefinition, sendUnaryData } from '@grpc/grpc-js';
import { NxnwError } from '../errors.js';
import type { ShardClient } from '../shards/types.js';
import { within } from '../waiting.js';
import { METHODS, encodeAnswer, requests } from './api.js';
import type { Method, ReadOptionsMessage } from './api.js';
import { commit } from './commit.js';
import { answerLost, isLost, sameHome } from './homes.js';
import type { HomeForwarder } from './homes.js';
import { allocateIds, reserveIds } from './ids.js';
import { API_LIMITS, DOOR_LIMITS } from './limits.js';
import type { DoorLimits } from './limits.js';
import { lookup } from './lookup.js';
import type { MessageCodec } from './proto.js';
import { beginTransaction } from './reads.js';
import { invalid } from './refuse.js';
import { runAggregationQuery, runQuery } from './run-query.js';
import { ReadTime } from './service.js';
import type { Call, DoorClock, Service } from './service.js';
import { answeredError } from './status.js';
import { decodeToken } from './tokens.js';
import { TransactionTable } from './transactions.js';

/** Given to the shards' own answer to a deadline, which says more. */
const LATE_MS = 200;
const DRAIN_POLL_MS = 10;

export interface DoorLogger {
  warn(fields: Readonly<Record<string, unknown>>, event: string): void;
  error(fields: Readonly<Record<string, unknown>>, event: string): void;
}

/** Where a door counts; `code` is the gRPC status name. */
export interface DoorMetrics {
  answered(method: Method, code: string, seconds: number): void;
  inFlight(requests: number): void;
  openTransactions(count: number): void;
}

export interface DoorOptions {
  /** The one project that this door serves; the application's name. */
  readonly projectId: string;
  /** @default '' */
  readonly databaseId?: string;
  readonly client: ShardClient;
  readonly forwarder: HomeForwarder;
  /** Name of this platform and of this process, as other processes know it. */
  readonly platform: string;
  readonly processId: string;
  /** Named at each start anew; shared by the doors of a process. @default random */
  readonly boot?: string;
  readonly limits?: Partial<DoorLimits>;
  readonly clock: DoorClock;
  readonly logger: DoorLogger;
  readonly metrics?: DoorMetrics;
}

export interface Door {
  /** Listens on `host:port` without TLS (port 0 = any); answers the port. ADDRESS_IN_USE if it cannot. */
  listen(address: string): Promise<number>;
  /** A request that another process's door forwarded because its transaction's home is here. */
  handleForwarded(method: Method, request: Buffer, deadlineMs: number): Promise<Buffer>;
  /**
   * Takes no more connections and tells the callers to go elsewhere; what they had sent by then is answered, for at most
   * `graceMs`. Requests of transactions whose home is here are still taken when another process forwards them.
   * @default 1000
   */
  close(graceMs?: number): Promise<void>;
  /** Waits until no request runs and no transaction is open here, at most `ms`; then forwarded ones are refused. */
  drain(ms: number): Promise<void>;
}

/** A decoded request: for whom, in which transaction (its bytes), and what to do. */
interface Prepared {
  readonly projectId: string;
  readonly databaseId: string;
  readonly transaction: Buffer | undefined;
  run(call: Call): Promise<Buffer>;
}

function handler<R extends { projectId: string; databaseId: string }>(
  codec: MessageCodec<R>,
  run: (call: Call, request: R, raw: Buffer) => Promise<Buffer>,
  transactionOf: (request: R) => Buffer | undefined = () => undefined,
): (raw: Buffer) => Prepared {
  return (raw) => {
    const request = codec.decode(raw);
    const { projectId, databaseId } = request;
    return { projectId, databaseId, transaction: transactionOf(request), run: (call) => run(call, request, raw) };
  };
}

const readIn = (r: { readOptions: ReadOptionsMessage | null }): Buffer | undefined =>
  r.readOptions?.consistencyType === 'transaction' ? r.readOptions.transaction : undefined;

const HANDLERS: Readonly<Record<Method, (raw: Buffer) => Prepared>> = {
  Lookup: handler(requests.Lookup, lookup, readIn),
  RunQuery: handler(requests.RunQuery, runQuery, readIn),
  RunAggregationQuery: handler(requests.RunAggregationQuery, runAggregationQuery, readIn),
  Commit: handler(requests.Commit, commit, (r) => r.transaction),
  AllocateIds: handler(requests.AllocateIds, allocateIds),
  ReserveIds: handler(requests.ReserveIds, reserveIds),
  BeginTransaction: handler(requests.BeginTransaction, ({ service }, { transactionOptions }) => {
    const transaction = beginTransaction(service, transactionOptions);
    return Promise.resolve(encodeAnswer('BeginTransaction', { transaction }));
  }),
  Rollback: handler(
    requests.Rollback,
    ({ service }, { transaction }) => {
      service.transactions.rollback(decodeToken(transaction));
      return Promise.resolve(encodeAnswer('Rollback', {}));
    },
    (r) => r.transaction,
  ),
};

/** Checks, admits and answers requests of the API for one project. */
class DoorRequests {
  private count = 0;
  private bytes = 0;
  private closing = false;

  constructor(
    private readonly o: DoorOptions,
    private readonly service: Service,
  ) {}

  /** Bounded: what comes above the bounds is refused at once, nothing was done for it. */
  async admitted(method: Method, raw: Buffer, deadlineMs: number, forwarded: boolean): Promise<Buffer> {
    const { maxInFlight, maxInFlightBytes, maxDeadlineMs } = this.service.limits;
    if (this.closing) throw new NxnwError('UNAVAILABLE', 'the datastore process is going down; ask another one');
    if (raw.length > API_LIMITS.requestBytes)
      throw invalid(`the request has ${raw.length} bytes; at most ${API_LIMITS.requestBytes}`);
    if (this.count >= maxInFlight || (this.count > 0 && this.bytes + raw.length > maxInFlightBytes))
      throw new NxnwError(
        'RESOURCE_EXHAUSTED',
        `${this.count} requests of ${this.bytes} bytes are being worked on, which is all that this process takes; try again later`,
      );
    this.count++;
    this.bytes += raw.length;
    this.o.metrics?.inFlight(this.count);
    try {
      const byMs = Math.min(deadlineMs, Date.now() + maxDeadlineMs);
      // answers by the deadline, whatever the work does; its outcome is then unknown to the client
      return await within(
        byMs + LATE_MS - Date.now(),
        this.routed(method, raw, byMs, forwarded),
        () => new NxnwError('DEADLINE_EXCEEDED', `${method}: no answer from the shards within the deadline`),
      );
    } finally {
      this.count--;
      this.bytes -= raw.length;
      this.o.metrics?.inFlight(this.count);
      this.o.metrics?.openTransactions(this.service.transactions.openCount);
    }
  }

  private async routed(method: Method, raw: Buffer, deadlineMs: number, forwarded: boolean): Promise<Buffer> {
    const { project, transactions } = this.service;
    const request = prepared(method, raw);
    this.checkProject(request);
    const token = request.transaction?.length ? decodeToken(request.transaction) : null;
    try {
      if (token && !sameHome(token.home, transactions.home)) {
        if (forwarded) throw new NxnwError('HOME_GONE', 'this process is not the home of the transaction (any more)');
        return await this.o.forwarder.forward(token.home, method, raw, deadlineMs);
      }
      return await request.run({ service: this.service, deadlineMs });
    } catch (e) {
      if (!token || forwarded || !isLost(e)) throw e;
      return await answerLost(method, token, project, this.o.forwarder, deadlineMs);
    }
  }

  private checkProject({ projectId, databaseId }: Prepared): void {
    const { project, database } = this.service;
    if (projectId === '') throw invalid('project_id is missing');
    if (projectId !== project)
      throw new NxnwError(
        'PERMISSION_DENIED',
        `this port serves project ${project}, not ${JSON.stringify(projectId)}; an application reaches the data of its own project only`,
      );
    if (databaseId !== database)
      throw new NxnwError(
        'NOT_FOUND',
        `project ${project} has no database ${JSON.stringify(databaseId)}; the only one is ${JSON.stringify(database)}`,
      );
  }

  get idle(): boolean {
    return this.count === 0 && this.service.transactions.openCount === 0;
  }

  close(): void {
    this.closing = true;
  }
}

function prepared(method: Method, raw: Buffer): Prepared {
  try {
    return HANDLERS[method](raw);
  } catch (e) {
    throw new NxnwError('INVALID_ARGUMENT', `the request is not a ${method}Request`, {}, e);
  }
}

/** The public API for one project, on insecure gRPC ports of this machine. */
export function createDoor(o: DoorOptions): Door {
  const limits = { ...DOOR_LIMITS, ...o.limits };
  const home = { platform: o.platform, process: o.processId, boot: o.boot ?? randomBytes(8).toString('hex') };
  const service: Service = {
    project: o.projectId,
    database: o.databaseId ?? '',
    client: o.client,
    limits,
    readTime: new ReadTime(o.clock, limits.clockSkewUs),
    transactions: new TransactionTable(home, limits, () => o.clock.nowUs()),
  };
  const doorRequests = new DoorRequests(o, service);
  const server = new Server({
    'grpc.max_receive_message_length': 2 * API_LIMITS.requestBytes,
    'grpc.max_send_message_length': -1,
    // counts of each call that nobody reads; `metrics` has ours
    'grpc.enable_channelz': 0,
  });

  const serve = (method: Method) => (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
    const began = performance.now();
    const deadline = call.getDeadline();
    const deadlineMs = deadline instanceof Date ? deadline.getTime() : deadline;
    const count = (code: status) => o.metrics?.answered(method, status[code], (performance.now() - began) / 1000);
    doorRequests.admitted(method, call.request, deadlineMs, false).then(
      (answer) => {
        count(status.OK);
        done(null, answer);
      },
      (e: unknown) => {
        const { code, details, internal } = answeredError(e);
        if (internal) o.logger.error({ err: e, method, project: o.projectId }, 'datastore.internal');
        count(code);
        done({ code, details });
      },
    );
  };
  const plain = (b: Buffer): Buffer => b;
  const path = (method: Method) => ({
    path: `/google.datastore.v1.Datastore/${method}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: plain,
    requestDeserialize: plain,
    responseSerialize: plain,
    responseDeserialize: plain,
  });
  const definition: ServiceDefinition = Object.fromEntries(METHODS.map((m) => [m, path(m)]));
  server.addService(definition, Object.fromEntries(METHODS.map((m) => [m, serve(m)])));

  return {
    listen: (address) =>
      new Promise((ok, fail) => {
        server.bindAsync(address, ServerCredentials.createInsecure(), (e, port) => {
          if (e)
            fail(
              new NxnwError(
                'ADDRESS_IN_USE',
                `the datastore port of project ${o.projectId} cannot listen on ${address}: ${e.message}; free the port or configure another one`,
                { address },
                e,
              ),
            );
          else ok(port);
        });
      }),
    handleForwarded: (method, request, deadlineMs) => doorRequests.admitted(method, request, deadlineMs, true),
    close: async (graceMs = 1000) => {
      await new Promise<void>((ok) => {
        const timer = setTimeout(() => server.forceShutdown(), graceMs);
        server.tryShutdown(() => {
          clearTimeout(timer);
          ok();
        });
      });
    },
    drain: async (ms) => {
      const endMs = performance.now() + ms;
      while (!doorRequests.idle && performance.now() < endMs) await delay(DRAIN_POLL_MS);
      doorRequests.close();
    },
  };
}
