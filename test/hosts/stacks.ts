import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { ensureTools } from '@nxnw/tools';
import { ensureRelease } from '@nxnw/tools/release/build';
import { Project } from '../support/project.js';
import type { SshLab } from '../support/ssh-lab.js';
import { labAddress, labMissing } from '../support/ssh-lab.js';
import { startZone } from '../support/zone.js';
import type { Zone } from '../support/zone.js';

export const APP = 'gazetteer';
export const EDGE_PORT = 8080;
const ZONE = 'nxnw.example';
export const NAME = `${APP}.${ZONE}`;
/** The name server stands outside of both platforms, where hosts, clients and the operator reach it. */
export const DNS = { host: labAddress(1), port: 5353 } as const;
const TTL_S = 2;
const RUN_MS = 15 * 60_000;

/** Brings what the tests on hosts need; says why when they cannot run here. */
export async function canRunOnHosts(): Promise<boolean> {
  const missing = labMissing();
  if (missing !== null) {
    console.log(`skipped: ${missing}`);
    return false;
  }
  await ensureTools(['pulumi', 'zookeeper', 'cassandra', 'memcached', 'haproxy', 'knot', 'sshd', 'command-provider']);
  await ensureRelease();
  return true;
}

/** Addresses of a platform's machines by group, in order. */
export interface Machines {
  readonly data: readonly string[];
  readonly app: readonly string[];
  readonly edge: readonly string[];
}

/** Platforms on the lab's hosts, brought up by `nxnw` in a project of their own, with a zone for their clients. */
export class HostStacks {
  readonly project: Project;

  private constructor(
    private readonly lab: SshLab,
    private readonly zone: Zone,
  ) {
    this.project = new Project(join(lab.dir, 'home'));
    this.project.make();
  }

  /** @param edges what the clients' name leads to first */
  static async start(lab: SshLab, edges: readonly string[]): Promise<HostStacks> {
    const zone = await startZone({
      dir: join(lab.dir, 'zone'),
      ...DNS,
      zone: ZONE,
      ttlS: TTL_S,
      records: { [APP]: [...edges] },
      allow: [`${labAddress(0)}/24`],
    });
    return new HostStacks(lab, zone);
  }

  get clients() {
    return { host: NAME, port: EDGE_PORT, dns: DNS };
  }

  write(stack: string, at: Machines, more: Readonly<Record<string, unknown>>): void {
    const groups = ['data', 'app', 'edge'] as const;
    const hosts = groups.flatMap((group) => at[group].map((address) => ({ group, address })));
    const { keyName, keySecret } = this.zone;
    this.project.write(stack, {
      platform: { name: 'shop', protect: false },
      cloud: {
        kind: 'hosts',
        appMachines: at.app.length,
        hosts: { hosts, directory: join(this.lab.dir, 'nxnw'), privateKey: this.lab.privateKey },
      },
      edge: { nodes: at.edge.length, httpPort: EDGE_PORT },
      dns: {
        driver: 'rfc2136',
        zone: ZONE,
        name: NAME,
        ttlSeconds: TTL_S,
        rfc2136: { server: `${DNS.host}:${DNS.port}`, keyName, keySecret },
      },
      ...more,
    });
  }

  /** `nxnw COMMAND --yes` on the stack; throws with the end of its output. */
  async run(command: 'up' | 'refresh' | 'destroy', stack: string): Promise<void> {
    await this.project.nxnw([command, '--yes', '--stack', stack], {
      timeoutMs: RUN_MS,
      priority: 'normal',
      signal: new AbortController().signal,
    });
  }

  /** Folder of a machine on its host, and that of its release. */
  folders(stack: string, machine: string): string[] {
    const platform = join(this.lab.dir, 'nxnw', `shop-${stack}`);
    return [join(platform, machine), join(platform, 'releases', machine)];
  }

  /** What a host loses with its disk. */
  wipe(stack: string, machine: string): void {
    for (const f of this.folders(stack, machine)) rmSync(f, { recursive: true, force: true });
  }

  stop(): void {
    process.kill(this.zone.pid, 'SIGTERM');
  }
}
