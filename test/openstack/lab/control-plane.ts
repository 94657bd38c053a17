import { z } from 'zod';
import { until } from '../../support/agents.js';
import { answers } from '../../support/reach.js';
import { OpenstackApi } from './api.js';
import { authUrl, databaseUrl, DATABASES, etc, logs, PORTS, REGION, run, socketOf, type Site } from './config.js';
import type { Room } from './room.js';

/** On two cores that others use too: nothing of it takes a tenth of this alone. */
const SLOW_MS = 600_000;

const SERVICES = [
  { user: 'glance', type: 'image', port: PORTS.glance, path: '' },
  { user: 'placement', type: 'placement', port: PORTS.placement, path: '' },
  { user: 'nova', type: 'compute', port: PORTS.nova, path: '/v2.1' },
  { user: 'neutron', type: 'network', port: PORTS.neutron, path: '' },
  { user: 'cinder', type: 'volumev3', port: PORTS.cinder, path: '/v3/%(project_id)s' },
] as const;

/** Mounts and the outer network, inside: libvirt's, Nova's and Neutron's folders are the lab's own. */
export function roomScript(s: Site, bridge: string, cidrOfApi: string): string {
  const at = { run: '/run', lib: '/var/lib', cache: '/var/cache', log: '/var/log', etc: '/etc' };
  return [
    'mkdir -p /run/netns',
    'mount -t tmpfs tmpfs /run/netns',
    ...Object.entries(at).map(([d, to]) => `mkdir -p ${to}/libvirt; mount --bind ${run(s, `libvirt/${d}`)} ${to}/libvirt`), // prettier-ignore
    `cp ${etc(s, 'qemu.conf')} ${etc(s, 'libvirtd.conf')} /etc/libvirt/`,
    `mount --bind ${etc(s, 'mount.nfs')} "$(command -v mount.nfs)"`,
    // libvirt asks each emulator what it can: only the one that is used shall answer
    'for q in /usr/bin/qemu-system-*; do case $q in */qemu-system-x86_64) ;; *) [ -L $q ] || mount --bind /dev/null $q ;; esac; done', // prettier-ignore
    // of this network: the agent looks there for bridges
    'mount -t sysfs sysfs /sys',
    'ip link set lo up',
    `ip link add ${bridge} type bridge`,
    `ip address add ${cidrOfApi} dev ${bridge}`,
    `ip link set ${bridge} up`,
    'sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1',
  ].join('\n');
}

/** A control plane in the making: what runs, and what waits for what. */
export class ControlPlane {
  constructor(
    private readonly s: Site,
    private readonly room: Room,
  ) {}

  /** From nothing to machines that can be asked for. */
  async start(): Promise<void> {
    await this.backing();
    const tokens = this.keystone();
    const placement = tokens.then(() => this.placement());
    await Promise.all([
      placement,
      placement.then(() => this.glance()),
      this.neutron(tokens),
      this.nova(placement),
      this.cinder(tokens),
    ]);
    this.daemon('nova-compute', 'nova');
    await this.ready();
  }

  private config(...names: string[]): string[] {
    return names.flatMap((n) => ['--config-file', etc(this.s, n.includes('.') ? n : `${n}.conf`)]);
  }

  private daemon(name: string, ...configs: string[]): void {
    this.room.daemon(name, [name, ...this.config(...configs), '--log-file', logs(this.s, `${name}.log`)]);
  }

  private async answers(name: string, port: number, host = this.s.api): Promise<void> {
    await until(`${name} answers`, SLOW_MS, async () => {
      if (this.room.ended().includes(name)) throw new Error(`${name} ended:\n${this.room.saidBy(name)}`);
      return answers(host, port);
    });
  }

  private async backing(): Promise<void> {
    const { s, room } = this;
    await room.run(['mariadb-install-db', `--defaults-file=${etc(s, 'my.cnf')}`, '--user=root', `--datadir=${run(s, 'db')}`, '--skip-test-db', '--auth-root-authentication-method=normal']); // prettier-ignore
    room.daemon('mariadb', ['mariadbd', `--defaults-file=${etc(s, 'my.cnf')}`]);
    const dist = '+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}';
    room.daemon('rabbitmq', ['/usr/lib/rabbitmq/bin/rabbitmq-server'], {
      HOME: run(s, 'rabbit/home'),
      RABBITMQ_NODENAME: 'rabbit@localhost',
      RABBITMQ_MNESIA_BASE: run(s, 'rabbit/mnesia'),
      RABBITMQ_LOG_BASE: run(s, 'rabbit/log'),
      RABBITMQ_CONFIG_FILE: etc(s, 'rabbitmq.conf'),
      RABBITMQ_ENABLED_PLUGINS_FILE: run(s, 'rabbit/plugins'),
      RABBITMQ_PID_FILE: run(s, 'rabbit/pid'),
      RABBITMQ_CONF_ENV_FILE: '/dev/null',
      ERL_EPMD_ADDRESS: '127.0.0.1',
      RABBITMQ_DIST_PORT: '25672',
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: dist,
    });
    const sql = (text: string) => room.run(['mariadb', `--socket=${socketOf(s)}`, '-e', text]);
    await until('mariadb answers', SLOW_MS, () => sql('select 1').catch(() => null));
    await sql(DATABASES.map((d) => `create database ${d} character set utf8mb3;`).join(' '));
    const amqp = ['bash', '-c', `exec 3<>/dev/tcp/127.0.0.1/${String(PORTS.rabbitmq)}`];
    await until('rabbitmq answers', SLOW_MS, () => room.run(amqp).then(() => true, () => null)); // prettier-ignore
  }

  /** Keystone, with an account and an endpoint for each of the others. */
  private async keystone(): Promise<void> {
    const { s, room } = this;
    const manage = (...args: string[]) => room.run(['keystone-manage', ...this.config('keystone'), ...args]);
    const root = ['--keystone-user', 'root', '--keystone-group', 'root'];
    await manage('fernet_setup', ...root);
    await manage('credential_setup', ...root);
    await manage('db_sync');
    const url = authUrl(s);
    await manage('bootstrap', '--bootstrap-password', s.password, '--bootstrap-admin-url', url, '--bootstrap-internal-url', url, '--bootstrap-public-url', url, '--bootstrap-region-id', REGION); // prettier-ignore
    room.daemon('keystone', ['uwsgi_python3', '--ini', etc(s, 'keystone-uwsgi.ini'), '--logto', logs(s, 'keystone-uwsgi.log')], { OS_KEYSTONE_CONFIG_DIR: etc(s), OS_KEYSTONE_CONFIG_FILES: etc(s, 'keystone.conf') }); // prettier-ignore
    await this.answers('keystone', PORTS.keystone);
    const admin = await adminOf(s);
    const project = await admin.create('identity', '/projects', 'project', { name: 'service', domain_id: 'default' });
    const roles = await admin.list('identity', '/roles', 'roles', { id: z.string(), name: z.string() });
    const role = roles.find((r) => r.name === 'admin')?.id ?? '';
    const service = await admin.create('identity', '/roles', 'role', { name: 'service' });
    for (const { user, type, port, path } of SERVICES) {
      const account = { name: user, password: s.password, domain_id: 'default' };
      const id = await admin.create('identity', '/users', 'user', account);
      for (const r of [role, service])
        await admin.ask('PUT', 'identity', `/projects/${project}/users/${id}/roles/${r}`);
      const kind = await admin.create('identity', '/services', 'service', { name: user, type });
      for (const of of ['public', 'internal', 'admin'])
        await admin.create('identity', '/endpoints', 'endpoint', {
          service_id: kind,
          interface: of,
          url: `http://${s.api}:${String(port)}${path}`,
          region_id: REGION,
        });
    }
  }

  private async placement(): Promise<void> {
    const { s, room } = this;
    await room.run(['placement-manage', ...this.config('placement/placement.conf'), 'db', 'sync']);
    room.daemon('placement', ['uwsgi_python3', '--ini', etc(s, 'placement-uwsgi.ini'), '--logto', logs(s, 'placement-uwsgi.log')], { OS_PLACEMENT_CONFIG_DIR: etc(s, 'placement') }); // prettier-ignore
    await this.answers('placement', PORTS.placement);
  }

  private async glance(): Promise<void> {
    await this.room.run(['glance-manage', ...this.config('glance'), 'db_sync']);
    this.daemon('glance-api', 'glance');
    await this.answers('glance-api', PORTS.glance);
  }

  private async neutron(tokens: Promise<void>): Promise<void> {
    await this.room.run(['neutron-db-manage', ...this.config('neutron', 'ml2.ini'), 'upgrade', 'heads']);
    await tokens;
    this.daemon('neutron-server', 'neutron', 'ml2.ini');
    await this.answers('neutron-server', PORTS.neutron);
    this.daemon('neutron-linuxbridge-agent', 'neutron', 'linuxbridge.ini');
    this.daemon('neutron-dhcp-agent', 'neutron', 'dhcp.ini');
    this.daemon('neutron-l3-agent', 'neutron', 'l3.ini');
  }

  private async nova(placement: Promise<void>): Promise<void> {
    const { s, room } = this;
    const manage = (...args: string[]) => room.run(['nova-manage', ...this.config('nova'), ...args]);
    await manage('api_db', 'sync');
    await manage('cell_v2', 'map_cell0', '--database_connection', databaseUrl(s, 'nova_cell0'));
    await manage('db', 'sync');
    await manage('cell_v2', 'create_cell', '--name', 'cell1');
    // conductor and scheduler end where there is none
    await placement;
    for (const d of ['nova-conductor', 'nova-scheduler', 'nova-api']) this.daemon(d, 'nova');
    room.daemon('libvirtd', ['libvirtd', '-f', '/etc/libvirt/libvirtd.conf']);
    await until('libvirtd answers', SLOW_MS, () => room.run(['virsh', '-q', '-c', 'qemu:///system', 'list']).catch(() => null)); // prettier-ignore
    await this.answers('nova-api', PORTS.nova);
  }

  private async cinder(tokens: Promise<void>): Promise<void> {
    await this.room.run(['cinder-manage', ...this.config('cinder'), 'db', 'sync']);
    await tokens;
    for (const d of ['cinder-api', 'cinder-scheduler', 'cinder-volume']) this.daemon(d, 'cinder');
    await this.answers('cinder-api', PORTS.cinder);
  }

  /** Waits until a machine, a network and a volume could be made. */
  private async ready(): Promise<void> {
    const wanted = ['Linux bridge agent', 'DHCP agent', 'L3 agent'];
    const admin = await adminOf(this.s);
    await until('compute, networks and volumes are ready', SLOW_MS, async () => {
      const ended = this.room.ended();
      if (ended.length > 0)
        throw new Error(`ended by themselves:\n${ended.map((n) => `${n}: ${this.room.saidBy(n)}`).join('\n')}`);
      const agents = await admin.list('network', '/v2.0/agents', 'agents', { agent_type: z.string(), alive: z.boolean() }); // prettier-ignore
      const hypervisors = await admin.list('compute', '/os-hypervisors', 'hypervisors', { id: z.string() });
      const volumes = await admin.list('volumev3', '/os-services', 'services', { binary: z.string(), state: z.string() }); // prettier-ignore
      return (
        wanted.every((t) => agents.some((a) => a.agent_type === t && a.alive)) &&
        hypervisors.length > 0 &&
        ['cinder-scheduler', 'cinder-volume'].every((b) => volumes.some((v) => v.binary === b && v.state === 'up'))
      );
    });
  }
}

export function adminOf(s: Site): Promise<OpenstackApi> {
  return OpenstackApi.login({ authUrl: authUrl(s), user: 'admin', password: s.password, project: 'admin' });
}
