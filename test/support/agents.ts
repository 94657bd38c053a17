import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { AgentClient } from '@nxnw/platform/agent/api';
import type { MachineStatus } from '@nxnw/platform/agent/api';
import { createLocalMachine, destroyLocalMachine } from '@nxnw/platform/agent/local';
import type { LocalMachineInfo } from '@nxnw/platform/agent/local';
import type { RoleSpecInput } from '@nxnw/platform/agent/spec';
import { createAuthority, issueCertificate } from '@nxnw/platform/wire/ca';
import type { TlsMaterial } from '@nxnw/platform/wire/rpc';

/** A platform of local machines for tests, with an authority and an operator of its own. */
export class TestPlatform {
  private readonly dirs: string[] = [];
  private readonly clients: AgentClient[] = [];

  private constructor(
    readonly id: string,
    private readonly authority: { cert: string; key: string },
    readonly operator: TlsMaterial,
  ) {}

  static async create(id: string): Promise<TestPlatform> {
    const authority = await createAuthority(id);
    return new TestPlatform(id, authority, await issueCertificate(authority, { name: 'operator', hosts: [] }));
  }

  issue(name: string, hosts: readonly string[]): Promise<TlsMaterial> {
    return issueCertificate(this.authority, { name, hosts });
  }

  /** A new machine with its agent, and a client for it. */
  async machine(
    name: string,
    address: string,
  ): Promise<{ info: LocalMachineInfo; agent: AgentClient; again(): Promise<LocalMachineInfo> }> {
    const dir = mkdtempSync(join(tmpdir(), `nxnw-${this.id}-${name}-`));
    this.dirs.push(dir);
    const tls = await this.issue(name, [address]);
    const again = () => createLocalMachine({ dir, platformId: this.id, machine: name, address, tls });
    const info = await again();
    const agent = new AgentClient(info.target, this.operator);
    this.clients.push(agent);
    return { info, agent, again };
  }

  /** Destroys every machine. */
  async destroy(): Promise<void> {
    for (const c of this.clients) c.close();
    for (const dir of this.dirs) {
      await destroyLocalMachine({ dir });
      rmSync(dir, { recursive: true, force: true });
    }
  }
}

/** A folder with a tiny application: it answers its environment as JSON, to `/wait` once it is asked for `/go`, and at
 * SIGTERM says that it is ending for as long as an edge needs to see it, and then finishes what is under way. */
export function tinyApp(version = '1'): string {
  const dir = mkdtempSync(join(tmpdir(), 'nxnw-app-'));
  process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'app.yaml'), `runtime: node\nentrypoint: server.js\nenv: {VERSION: "${version}"}\n`);
  writeFileSync(
    join(dir, 'server.js'),
    `const { createServer } = require('node:http');
let ending = false;
const waiting = [];
const server = createServer((q, r) => {
  if (ending && q.url === '/healthz') r.statusCode = 503;
  r.setHeader('content-type', 'application/json');
  const answer = () => r.end(JSON.stringify({ pid: process.pid, url: q.url, env: process.env }));
  if (q.url === '/wait') return waiting.push(answer);
  if (q.url === '/go') for (const go of waiting.splice(0)) go();
  answer();
});
server.listen(Number(process.env.PORT), process.env.HOST);
process.on('SIGTERM', () => {
  ending = true;
  setTimeout(() => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  }, 1500);
});
`,
  );
  return dir;
}

/** What an instance answered through an edge; 0 and {} unless the status is 200. */
export interface Seen {
  readonly status: number;
  readonly pid: number;
  readonly env: Record<string, string>;
}

/** One request through an edge, by Host header. */
export async function through(
  address: string,
  port: number,
  host: string,
  path = '/',
  waitMs = 5000,
  more: Readonly<Record<string, string>> = {},
): Promise<Seen> {
  const headers = { host, ...more };
  const request = get({ host: address, port, path, headers, agent: false, timeout: waitMs });
  const [response] = (await once(request, 'response', { signal: AbortSignal.timeout(waitMs) })) as [IncomingMessage];
  let body = '';
  for await (const d of response) body += String(d);
  const seen = response.statusCode === 200 ? (JSON.parse(body) as { pid: number; env: Record<string, string> }) : null;
  return { status: response.statusCode ?? 0, pid: seen?.pid ?? 0, env: seen?.env ?? {} };
}

/** Looks again and again until there is something, at most `ms`. */
export async function until<T>(what: string, ms: number, look: () => Promise<T | null | false>): Promise<T> {
  const deadline = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found !== null && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await delay(50);
  }
}

/** Process ids by process name. */
export const pids = (s: MachineStatus): Record<string, number> =>
  Object.fromEntries(s.roles.flatMap((r) => r.processes.map((p) => [p.name, p.pid])));

/** A small platform on one machine: the tiny application `shop` behind an edge, with its locks and its cache. */
export function rolesAt(address: string, bundle: string): RoleSpecInput[] {
  const instances = [8101, 8102].map((port) => ({ host: address, port }));
  return [
    { kind: 'locks', id: 'locks', host: address },
    { kind: 'lmdb', id: 'store' },
    { kind: 'cache', id: 'cache-shop', app: 'shop', host: address, memoryMiB: 16 },
    {
      kind: 'app',
      id: 'shop',
      app: 'shop',
      bundle,
      instances,
      env: { COLOUR: 'plain' },
      secrets: { TOKEN: 'very-secret-token' },
      datastore: { host: address, port: 8081 },
      memcache: [{ host: address, port: 11211 }],
      locks: [`${address}:2181`],
    },
    {
      kind: 'edge',
      id: 'edge',
      http: { host: address, port: 8080 },
      apps: [{ app: 'shop', domains: ['shop.test'], servers: instances }],
    },
  ];
}
