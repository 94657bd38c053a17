import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { findProgram } from '@nxnw/tools';

const run = promisify(execFile);

/** Why machines of a lab cannot be made here; null = they can. */
export function namespacesMissing(): string | null {
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  const missing = ['ip', 'unshare', 'sysctl'].find((p) => findProgram(p) === undefined);
  return missing === undefined ? null : `there is no program "${missing}" (Debian iproute2, util-linux, procps)`;
}

/**
 * A network for machines of a lab, each in a network namespace, whose addresses are of 127.0.0.0/8 all the same: a
 * bridge with `route_localnet`, to which this machine's own routing sends the subnets. Everything else of 127.0.0.0/8
 * stays this machine's, and the namespaces reach it over the bridge.
 */
export class LabNetwork {
  private readonly bridge = `nxe${process.pid}`.slice(0, 12);
  private readonly namespaces = new Map<string, string>();
  private count = 0;

  /** @param network all of the lab, `127.63.0.0/16` @param subnets where the machines are, inside it */
  private constructor(
    private readonly network: string,
    private readonly subnets: readonly string[],
  ) {}

  static async start(network: string, subnets: readonly string[]): Promise<LabNetwork> {
    const lab = new LabNetwork(network, subnets);
    try {
      await run('ip', ['link', 'add', lab.bridge, 'type', 'bridge']);
      await run('sysctl', ['-qw', `net.ipv4.conf.${lab.bridge}.route_localnet=1`]);
      await run('ip', ['link', 'set', lab.bridge, 'up']);
      const source = network.replace(/\.0\/\d+$/, '.1');
      for (const s of subnets) await run('ip', ['route', 'add', s, 'dev', lab.bridge, 'src', source, 'table', 'local']);
    } catch (e) {
      await lab.stop();
      throw e;
    }
    return lab;
  }

  /** A namespace with a loopback of its own and `address`; answers its name. */
  async add(address: string): Promise<string> {
    const n = ++this.count;
    const [name, outer] = [`${this.bridge}-${n}`, `${this.bridge}${n}`.slice(-15)];
    await run('ip', ['netns', 'add', name]);
    this.namespaces.set(address, name);
    await run('ip', ['link', 'add', outer, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name]);
    await run('ip', ['link', 'set', outer, 'master', this.bridge, 'up']);
    await run('ip', ['netns', 'exec', name, 'sysctl', '-qw', 'net.ipv4.conf.all.route_localnet=1']);
    const inside = (...args: string[]) => run('ip', ['-n', name, ...args]);
    await inside('link', 'set', 'lo', 'up');
    await inside('address', 'add', `${address}/${this.network.split('/')[1] ?? ''}`, 'dev', 'eth0');
    await inside('link', 'set', 'eth0', 'up');
    return name;
  }

  /** Takes the namespace away; what runs in it has been ended. */
  async remove(address: string): Promise<void> {
    const name = this.namespaces.get(address);
    if (name === undefined) return;
    this.namespaces.delete(address);
    await run('ip', ['netns', 'delete', name]);
  }

  async stop(): Promise<void> {
    for (const address of [...this.namespaces.keys()]) await this.remove(address);
    for (const s of this.subnets)
      await run('ip', ['route', 'delete', s, 'dev', this.bridge, 'table', 'local']).catch(() => undefined);
    await run('ip', ['link', 'delete', this.bridge]).catch(() => undefined);
  }
}
