import { setTimeout as delay } from 'node:timers/promises';
import { auth, Client, errors, policies, types } from 'cassandra-driver';
import type { Host } from 'cassandra-driver';
import { NxnwError } from '../errors.js';

export interface CassandraConfig {
  readonly kind: 'cassandra';
  readonly contactPoints: readonly string[];
  /** @default 9042 */
  readonly port?: number | undefined;
  /** @default datacenter1 */
  readonly localDataCenter?: string | undefined;
  /** Lower-case letters, digits and `_`. @default nxnw */
  readonly keyspace?: string | undefined;
  /** Copies in the local data centre. @default 1 */
  readonly replication?: number | undefined;
  readonly credentials?: { readonly username: string; readonly password: string } | undefined;
  /** Deadline of one request, ms; after it the outcome is unknown. @default 5000 */
  readonly requestTimeoutMs?: number | undefined;
}

export interface Statement {
  readonly query: string;
  readonly params: readonly unknown[];
}

/** No hidden second try, ever: whoever sent a statement decides whether the same bytes go out again (C2). */
class NeverRetry extends policies.retry.RetryPolicy {
  override onRequestError(): policies.retry.DecisionInfo {
    return this.rethrowResult();
  }
  override onUnavailable(): policies.retry.DecisionInfo {
    return this.rethrowResult();
  }
  override onReadTimeout(): policies.retry.DecisionInfo {
    return this.rethrowResult();
  }
  override onWriteTimeout(): policies.retry.DecisionInfo {
    return this.rethrowResult();
  }
}

/** `object`: the driver's types lack null, which leaves timestamps to the server where a statement names none. */
const POLICIES: object = {
  retry: new NeverRetry(),
  speculativeExecution: new policies.speculativeExecution.NoSpeculativeExecutionPolicy(),
  reconnection: new policies.reconnection.ExponentialReconnectionPolicy(100, 1000, false),
  timestampGeneration: null,
};

const { localQuorum, serial } = types.consistencies;

/** Answers of a server that has certainly not executed the statement, and never will. */
const REFUSALS = new Set([0x0100, 0x2000, 0x2100, 0x2200, 0x2300, 0x2400]);

/**
 * A connection to a Cassandra cluster: prepared, token-aware, LOCAL_QUORUM; conditional statements and the reads of
 * what they wrote at SERIAL. Whatever goes wrong on the way is UNAVAILABLE: for a write that means "unknown".
 */
export class CassandraSession {
  private constructor(readonly client: Client) {}

  static async connect(config: CassandraConfig): Promise<CassandraSession> {
    const { contactPoints, port = 9042, localDataCenter = 'datacenter1', requestTimeoutMs = 5000 } = config;
    const client = new Client({
      contactPoints: [...contactPoints],
      localDataCenter,
      protocolOptions: { port },
      policies: POLICIES,
      queryOptions: { prepare: true, consistency: localQuorum, serialConsistency: serial, isIdempotent: false },
      socketOptions: { connectTimeout: requestTimeoutMs, readTimeout: requestTimeoutMs },
      ...(config.credentials === undefined
        ? {}
        : { authProvider: new auth.PlainTextAuthProvider(config.credentials.username, config.credentials.password) }),
    });
    const session = new CassandraSession(client);
    try {
      await client.connect();
      closeReplacedHosts(client);
      return session;
    } catch (e) {
      await client.shutdown().catch(() => undefined); // the error that counts is the first
      throw new NxnwError('UNAVAILABLE', `cannot reach Cassandra at ${contactPoints.join(', ')} port ${port}, data centre ${localDataCenter}: ${text(e)}; check the addresses, the data centre's name and the credentials`, { contactPoints, port }, e); // prettier-ignore
    }
  }

  async run(query: string, params: readonly unknown[]): Promise<types.Row[]> {
    return (await this.execute(query, params, { consistency: localQuorum })).rows;
  }

  /** Reads what conditional statements wrote: linearizable. */
  async runSerial(query: string, params: readonly unknown[]): Promise<types.Row[]> {
    return (await this.execute(query, params, { consistency: serial })).rows;
  }

  /** A conditional statement: the row that it answers, and whether it was applied. */
  async runConditional(query: string, params: readonly unknown[]): Promise<{ applied: boolean; row: types.Row }> {
    return applied(await this.execute(query, params, { consistency: localQuorum, serialConsistency: serial }));
  }

  /** Statements of ONE partition: one atomic mutation. With a condition in it the whole batch is conditional. */
  async batch(statements: readonly Statement[]): Promise<types.ResultSet> {
    const queries = statements.map(({ query, params }) => ({ query, params: [...params] }));
    try {
      return await this.client.batch(queries, {
        prepare: true,
        logged: false,
        consistency: localQuorum,
        serialConsistency: serial,
      });
    } catch (e) {
      throw storeError(e);
    }
  }

  /** Every row of a query's answer, page by page. `fetchSize` bounds what is in memory, in rows. */
  async *pages(query: string, params: readonly unknown[], fetchSize: number): AsyncGenerator<types.Row> {
    let pageState: string | undefined;
    do {
      const page = await this.execute(query, params, {
        consistency: localQuorum,
        fetchSize,
        ...(pageState ? { pageState } : {}),
      });
      yield* page.rows;
      pageState = page.pageState;
    } while (pageState);
  }

  /** Changes the schema and waits until all nodes agree. */
  async define(statement: string): Promise<void> {
    try {
      await this.client.execute(statement, [], { prepare: false, consistency: localQuorum });
    } catch (e) {
      throw storeError(e);
    }
  }

  /** Waits until all nodes have the same schema; UNAVAILABLE after 10 s. */
  async agreeOnSchema(): Promise<void> {
    const deadline = Date.now() + 10_000;
    while ((await this.schemaVersions()).size > 1) {
      if (Date.now() > deadline) throw new NxnwError('UNAVAILABLE', 'the nodes of Cassandra do not agree on the schema after 10 s; see `nodetool describecluster`'); // prettier-ignore
      await delay(100);
    }
  }

  /** A setting of one node, or `unknown` where a node does not tell. */
  async setting(host: Host, name: string): Promise<string> {
    const rows = (
      await this.execute('SELECT value FROM system_views.settings WHERE name = ?', [name], {
        host,
        consistency: types.consistencies.one,
      })
    ).rows;
    return String(rows[0]?.get('value') ?? 'unknown');
  }

  async close(): Promise<void> {
    await this.client.shutdown();
  }

  private async schemaVersions(): Promise<Set<string>> {
    const hosts = this.client.hosts.values().filter((host) => host.isUp());
    const query = 'SELECT schema_version FROM system.local';
    const answers = await Promise.all(
      hosts.map((host) => this.execute(query, [], { host, consistency: types.consistencies.one })),
    );
    return new Set(answers.map((answer) => String(answer.rows[0]?.get('schema_version'))));
  }

  private async execute(query: string, params: readonly unknown[], options: object): Promise<types.ResultSet> {
    try {
      return await this.client.execute(query, [...params], { prepare: true, ...options });
    } catch (e) {
      throw storeError(e);
    }
  }
}

/**
 * After an outage of all nodes the driver (4.10) puts new hosts in the places of the old ones and leaves the old ones'
 * pools connecting for ever, also after its own shutdown. This closes a host when another takes its place.
 */
function closeReplacedHosts({ hosts }: Client): void {
  const set: unknown = Reflect.get(hosts, 'set');
  if (typeof set !== 'function') return;
  Reflect.set(hosts, 'set', (address: string, host: Host) => {
    const old = hosts.get(address);
    set.call(hosts, address, host);
    const shutdown: unknown = old === undefined || old === host ? undefined : Reflect.get(old, 'shutdown');
    if (typeof shutdown === 'function') shutdown.call(old, false);
  });
}

export function applied(result: types.ResultSet): { applied: boolean; row: types.Row } {
  const row = result.first();
  if (row === null) throw new NxnwError('INTERNAL', 'a conditional statement answered no row');
  return { applied: row.get('[applied]') === true, row };
}

function storeError(e: unknown): NxnwError {
  if (e instanceof errors.ResponseError && REFUSALS.has(e.code)) {
    const missing = /unconfigured table|does not exist/i.test(e.message);
    return missing
      ? new NxnwError(
          'NOT_FOUND',
          `Cassandra has no such table (${e.message}); ensureApp makes an application's tables`,
          {},
          e,
        )
      : new NxnwError('INTERNAL', `Cassandra refused a statement: ${e.message}`, { code: e.code }, e);
  }
  return new NxnwError('UNAVAILABLE', `Cassandra did not answer: ${text(e)}`, {}, e);
}

function text(e: unknown): string {
  const inner = e instanceof errors.NoHostAvailableError ? Object.values(e.innerErrors).map(String) : [];
  return [e instanceof Error ? e.message : String(e), ...inner].join(': ');
}

/** Readers of a row's columns; a column of another type is a fault of ours. */
export function longOf(row: types.Row, name: string): number {
  const value: unknown = row[name];
  if (value instanceof types.Long) return value.toNumber();
  throw new NxnwError('INTERNAL', `column ${name} is not a bigint`);
}

export function intOf(row: types.Row, name: string): number {
  const value: unknown = row[name];
  if (typeof value === 'number') return value;
  throw new NxnwError('INTERNAL', `column ${name} is not an int`);
}

export function blobOf(row: types.Row, name: string): Buffer {
  const value: unknown = row[name];
  if (Buffer.isBuffer(value)) return value;
  throw new NxnwError('INTERNAL', `column ${name} is not a blob`);
}
