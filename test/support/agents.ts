import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentClient } from '@nxnw/platform/agent/api';
import { createLocalMachine, destroyLocalMachine } from '@nxnw/platform/agent/local';
import type { LocalMachineInfo } from '@nxnw/platform/agent/local';
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

/** A folder with a tiny application: it answers its environment as JSON, and at SIGTERM says that it is
 * ending for as long as an edge needs to see it, and then finishes what is under way. */
export function tinyApp(version = '1'): string {
  const dir = mkdtempSync(join(tmpdir(), 'nxnw-app-'));
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'app.yaml'), `runtime: node\nentrypoint: server.js\nenv: {VERSION: "${version}"}\n`);
  writeFileSync(
    join(dir, 'server.js'),
    `const { createServer } = require('node:http');
let ending = false;
const server = createServer((q, r) => {
  if (ending && q.url === '/healthz') r.statusCode = 503;
  r.setHeader('content-type', 'application/json');
  r.end(JSON.stringify({ pid: process.pid, url: q.url, env: process.env }));
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
