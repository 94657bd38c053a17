import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { openAsBlob } from 'node:fs';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { z } from 'zod';
import { until } from '../../support/agents.js';
import { OpenstackApi } from './api.js';
import { authUrl, BRIDGE, logs, PHYSICAL, REGION, writeSite, type Site } from './config.js';
import { adminOf, ControlPlane, roomScript } from './control-plane.js';
import { Room } from './room.js';

const run = promisify(execFile);

/** The outer network: the APIs' address, this machine's own, and what routers and floating addresses come from. */
const OUTER = { cidr: '10.99.0.0/24', api: '10.99.0.1', operator: '10.99.0.254', first: '10.99.0.100', last: '10.99.0.200' }; // prettier-ignore
/** Network of the machines, for those who configure a platform. */
export const MACHINES_CIDR = '10.98.0.0/24';
export const OUTER_CIDR = OUTER.cidr;
export const OPERATOR = OUTER.operator;
export const EXTERNAL = PHYSICAL;
const PROJECT = 'shop';
const USER = 'operator';
const IMAGE_MS = 300_000;

/** A size of machine. */
export interface Size {
  readonly ramMiB: number;
  readonly diskGiB: number;
  readonly vcpus: number;
}

/**
 * The OpenStack of one machine: Keystone, Glance, Placement, Nova, Neutron, Cinder and what they need, in namespaces of
 * its own, and one project with one user. This machine stands in the outer network, where the APIs are.
 */
export class OpenstackLab {
  private readonly end = new AbortController();
  private routing: Promise<void> = Promise.resolve();

  private constructor(
    private readonly site: Site,
    private readonly room: Room,
    /** As the cloud's administrator. */
    readonly admin: OpenstackApi,
    /** As the user of the project. */
    readonly api: OpenstackApi,
  ) {}

  /** @param virt `kvm` where this machine can; emulated machines take three times as long */
  static async start(virt: Site['virt']): Promise<OpenstackLab> {
    const dir = mkdtempSync(join(tmpdir(), 'nxos-'));
    const site: Site = { dir, api: OUTER.api, password: randomBytes(12).toString('hex'), virt };
    writeSite(site);
    let room: Room | undefined;
    try {
      room = await Room.open(dir, logs(site), roomScript(site, BRIDGE, `${OUTER.api}/24`));
      await connectOperator(room.pid);
      await new ControlPlane(site, room).start();
      const admin = await adminOf(site);
      await makeProject(site, admin);
      await makeOuterNetwork(admin);
      const login = { authUrl: authUrl(site), user: USER, password: site.password, project: PROJECT };
      const lab = new OpenstackLab(site, room, admin, await OpenstackApi.login(login));
      lab.routing = lab.followRouter();
      return lab;
    } catch (e) {
      await room?.close();
      rmSync(dir, { recursive: true, force: true });
      throw e;
    }
  }

  /** What `nxnw` reads: where the cloud is, and who speaks. */
  env(over: { readonly authUrl?: string; readonly password?: string } = {}): Record<string, string> {
    return {
      OS_AUTH_URL: over.authUrl ?? authUrl(this.site),
      OS_USERNAME: USER,
      OS_PASSWORD: over.password ?? this.site.password,
      OS_PROJECT_NAME: PROJECT,
      OS_USER_DOMAIN_NAME: 'Default',
      OS_PROJECT_DOMAIN_NAME: 'Default',
      OS_REGION_NAME: REGION,
    };
  }

  async flavor(name: string, { ramMiB, diskGiB, vcpus }: Size): Promise<void> {
    await this.admin.create('compute', '/flavors', 'flavor', { name, ram: ramMiB, disk: diskGiB, vcpus });
  }

  /** Uploads a disk image into the project, as docs/image.md says; answers its id. */
  async image(name: string, file: string): Promise<string> {
    const body = { name, disk_format: 'qcow2', container_format: 'bare', hw_firmware_type: 'bios' };
    const { id } = z.looseObject({ id: z.string() }).parse(await this.api.ask('POST', 'image', '/v2/images', body));
    await this.api.ask('PUT', 'image', `/v2/images/${id}/file`, await openAsBlob(file));
    const status = z.looseObject({ status: z.string() });
    await until(`the image ${name} is active`, IMAGE_MS, async () => status.parse(await this.api.ask('GET', 'image', `/v2/images/${id}`)).status === 'active'); // prettier-ignore
    return id;
  }

  /** What a server wrote on its serial line, the end of it. */
  async console(serverId: string, lines = 60): Promise<string> {
    const body = { 'os-getConsoleOutput': { length: lines } };
    const said = await this.api.ask('POST', 'compute', `/servers/${serverId}/action`, body);
    return z.looseObject({ output: z.string() }).parse(said).output;
  }

  /** Names of the cloud's own programs that ended. */
  ended(): string[] {
    return this.room.ended();
  }

  /** Folder of the logs. */
  get logDir(): string {
    return logs(this.site);
  }

  /** Where the operator's network ends, its router knows the way to the machines: through the project's own router. */
  private async followRouter(): Promise<void> {
    const shape = { external_gateway_info: z.looseObject({ external_fixed_ips: z.array(z.looseObject({ ip_address: z.string() })) }).nullable() }; // prettier-ignore
    let known = '';
    while (!this.end.signal.aborted) {
      const [router] = await this.api.list('network', '/v2.0/routers', 'routers', shape);
      const gateway = router?.external_gateway_info?.external_fixed_ips[0]?.ip_address ?? '';
      if (gateway !== known && gateway !== '') await run('ip', ['route', 'replace', MACHINES_CIDR, 'via', gateway]);
      known = gateway;
      await delay(1000, undefined, { signal: this.end.signal }).catch(() => undefined);
    }
  }

  /** Ends everything, and removes it. */
  async stop(): Promise<void> {
    this.end.abort();
    await this.routing;
    await this.room.close();
    rmSync(this.site.dir, { recursive: true, force: true });
  }
}

/** A cable from this machine to the outer network; it goes with the room. */
async function connectOperator(pid: number): Promise<void> {
  const [here, there] = [`nxos${String(process.pid)}`.slice(0, 14), `nxos-operator`];
  await run('ip', ['link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', String(pid)]);
  const inside = ['--target', String(pid), '--net', 'ip', 'link', 'set', there, 'master', BRIDGE, 'up'];
  await run('nsenter', inside);
  await run('ip', ['address', 'add', `${OUTER.operator}/24`, 'dev', here]);
  await run('ip', ['link', 'set', here, 'up']);
}

async function makeProject(s: Site, admin: OpenstackApi): Promise<void> {
  const domain_id = 'default';
  const project = await admin.create('identity', '/projects', 'project', { name: PROJECT, domain_id });
  const user = await admin.create('identity', '/users', 'user', { name: USER, password: s.password, domain_id });
  const roles = await admin.list('identity', '/roles', 'roles', { id: z.string(), name: z.string() });
  const member = roles.find((r) => r.name === 'member')?.id ?? '';
  await admin.ask('PUT', 'identity', `/projects/${project}/users/${user}/roles/${member}`);
}

async function makeOuterNetwork(admin: OpenstackApi): Promise<void> {
  const network = await admin.create('network', '/v2.0/networks', 'network', {
    name: EXTERNAL,
    'router:external': true,
    'provider:network_type': 'flat',
    'provider:physical_network': PHYSICAL,
  });
  await admin.create('network', '/v2.0/subnets', 'subnet', {
    name: EXTERNAL,
    network_id: network,
    cidr: OUTER.cidr,
    ip_version: 4,
    gateway_ip: OUTER.api,
    enable_dhcp: false,
    allocation_pools: [{ start: OUTER.first, end: OUTER.last }],
  });
}
