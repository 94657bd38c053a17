import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where the lab lies and what it is called. */
export interface Site {
  /** Folder of everything that it writes. */
  readonly dir: string;
  /** Address that its APIs are served at. */
  readonly api: string;
  readonly password: string;
  /** How Nova's machines run. */
  readonly virt: 'qemu' | 'kvm';
}

export const REGION = 'RegionOne';
export const NODE = 'node1';
/** The flat network that floating addresses come from, and its bridge inside. */
export const PHYSICAL = 'public';
export const BRIDGE = 'br-public';
/** What Cinder's NFS driver is told that it mounts, and Nova after it. */
const SHARE = 'volumes:/nxnw';

export const DATABASES = ['keystone', 'glance', 'placement', 'nova', 'nova_api', 'nova_cell0', 'neutron', 'cinder'];

export const PORTS = {
  keystone: 5000,
  glance: 9292,
  placement: 8778,
  nova: 8774,
  neutron: 9696,
  cinder: 8776,
  rabbitmq: 5672,
} as const;

export const etc = (s: Site, file = ''): string => join(s.dir, 'etc', file);
export const logs = (s: Site, file = ''): string => join(s.dir, 'log', file);
export const run = (s: Site, file: string): string => join(s.dir, file);
export const authUrl = (s: Site): string => `http://${s.api}:${String(PORTS.keystone)}/v3`;
export const socketOf = (s: Site): string => join(s.dir, 'mysql.sock');
export const databaseUrl = (s: Site, name: string): string => `mysql+pymysql://root@localhost/${name}?unix_socket=${socketOf(s)}&charset=utf8`; // prettier-ignore

type Section = Readonly<Record<string, string | number>>;

function ini(sections: Readonly<Record<string, Section>>): string {
  const lines = Object.entries(sections).flatMap(([name, values]) => [
    `[${name}]`,
    ...Object.entries(values).map(([k, v]) => `${k} = ${String(v)}`),
  ]);
  return `${lines.join('\n')}\n`;
}

/** How a service speaks to Keystone, as a user of its own. */
const account = (s: Site, user: string): Section => ({
  auth_type: 'password',
  auth_url: authUrl(s),
  www_authenticate_uri: authUrl(s),
  project_domain_name: 'Default',
  user_domain_name: 'Default',
  project_name: 'service',
  username: user,
  password: s.password,
  region_name: REGION,
});

const database = (s: Site, name: string): Section => ({ connection: databaseUrl(s, name), max_pool_size: 5, max_overflow: 20 }); // prettier-ignore
const policies = (service: string): Section => ({ policy_dirs: `/etc/${service}/policy.d` });
const transport = 'rabbit://guest:guest@127.0.0.1:5672/';

function nova(s: Site): string {
  return ini({
    DEFAULT: {
      host: NODE,
      my_ip: s.api,
      transport_url: transport,
      state_path: run(s, 'nova'),
      instances_path: run(s, 'nova/instances'),
      enabled_apis: 'osapi_compute',
      osapi_compute_listen: s.api,
      osapi_compute_workers: 1,
      compute_driver: 'libvirt.LibvirtDriver',
      flat_injected: 'false',
      api_paste_config: '/etc/nova/api-paste.ini',
      vif_plugging_timeout: 300,
      reserved_host_memory_mb: 512,
      cpu_allocation_ratio: 16,
      ram_allocation_ratio: 1,
      rpc_response_timeout: 180,
      service_down_time: 180,
      // a machine that is asked to stop has this long, in seconds
      shutdown_timeout: 60,
    },
    api: { auth_strategy: 'keystone' },
    api_database: database(s, 'nova_api'),
    database: database(s, 'nova'),
    keystone_authtoken: account(s, 'nova'),
    service_user: { send_service_user_token: 'true', ...account(s, 'nova') },
    glance: account(s, 'nova'),
    placement: account(s, 'placement'),
    neutron: account(s, 'neutron'),
    cinder: { os_region_name: REGION, ...account(s, 'nova') },
    vnc: { enabled: 'false' },
    spice: { enabled: 'false' },
    conductor: { workers: 1 },
    scheduler: { workers: 1, discover_hosts_in_cells_interval: 10 },
    filter_scheduler: { available_filters: 'nova.scheduler.filters.all_filters' },
    libvirt: {
      virt_type: s.virt,
      cpu_mode: 'none',
      inject_partition: -2,
      swtpm_enabled: 'false',
      nfs_mount_point_base: run(s, 'nova/mnt'),
    },
    oslo_concurrency: { lock_path: run(s, 'lock') },
    oslo_policy: policies('nova'),
  });
}

function cinder(s: Site): string {
  return ini({
    DEFAULT: {
      host: NODE,
      my_ip: s.api,
      transport_url: transport,
      state_path: run(s, 'cinder'),
      auth_strategy: 'keystone',
      enabled_backends: 'files',
      osapi_volume_listen: s.api,
      osapi_volume_workers: 1,
      api_paste_config: '/etc/cinder/api-paste.ini',
      rootwrap_config: '/etc/cinder/rootwrap.conf',
      glance_api_servers: `http://${s.api}:${String(PORTS.glance)}`,
      default_volume_type: '__DEFAULT__',
      rpc_response_timeout: 120,
      service_down_time: 180,
    },
    files: {
      volume_driver: 'cinder.volume.drivers.nfs.NfsDriver',
      volume_backend_name: 'files',
      nfs_shares_config: etc(s, 'cinder-shares'),
      nfs_mount_point_base: run(s, 'cinder/mnt'),
      nas_secure_file_operations: 'false',
      nas_secure_file_permissions: 'false',
    },
    database: database(s, 'cinder'),
    keystone_authtoken: account(s, 'cinder'),
    nova: account(s, 'nova'),
    service_user: { send_service_user_token: 'true', ...account(s, 'cinder') },
    oslo_concurrency: { lock_path: run(s, 'lock') },
  });
}

function neutron(s: Site): string {
  return ini({
    DEFAULT: {
      host: NODE,
      bind_host: s.api,
      bind_port: PORTS.neutron,
      state_path: run(s, 'neutron'),
      transport_url: transport,
      auth_strategy: 'keystone',
      core_plugin: 'ml2',
      service_plugins: 'router',
      api_workers: 1,
      rpc_workers: 1,
      rpc_state_report_workers: 0,
      notify_nova_on_port_status_changes: 'true',
      notify_nova_on_port_data_changes: 'true',
      api_paste_config: '/etc/neutron/api-paste.ini',
      interface_driver: 'linuxbridge',
      dhcp_agents_per_network: 1,
      agent_down_time: 180,
      send_events_interval: 1,
      rpc_response_timeout: 180,
    },
    experimental: { linuxbridge: 'true' },
    agent: { root_helper: 'sudo neutron-rootwrap /etc/neutron/rootwrap.conf', report_interval: 30 },
    database: database(s, 'neutron'),
    keystone_authtoken: account(s, 'neutron'),
    nova: account(s, 'nova'),
    placement: account(s, 'placement'),
    oslo_concurrency: { lock_path: run(s, 'lock') },
    oslo_policy: policies('neutron'),
  });
}

function keystone(s: Site): string {
  return ini({
    DEFAULT: { log_file: logs(s, 'keystone.log') },
    database: database(s, 'keystone'),
    token: { provider: 'fernet', expiration: 86_400 },
    fernet_tokens: { key_repository: run(s, 'keystone/fernet') },
    credential: { key_repository: run(s, 'keystone/credential') },
    oslo_policy: policies('keystone'),
  });
}

function glance(s: Site): string {
  const store = (name: string): Section => ({ filesystem_store_datadir: run(s, `glance/${name}`) });
  return ini({
    DEFAULT: { bind_host: s.api, bind_port: PORTS.glance, workers: 1, enabled_backends: 'file:file' },
    database: database(s, 'glance'),
    file: store('images'),
    os_glance_staging_store: store('staging'),
    os_glance_tasks_store: store('tasks'),
    glance_store: { default_backend: 'file' },
    keystone_authtoken: account(s, 'glance'),
    paste_deploy: { flavor: 'keystone', config_file: '/etc/glance/glance-api-paste.ini' },
    oslo_policy: policies('glance'),
  });
}

function uwsgi(s: Site, port: number, program: string): string {
  return ini({
    uwsgi: {
      plugins: 'python3',
      'http-socket': `${s.api}:${String(port)}`,
      'wsgi-file': program,
      master: 'true',
      processes: 2,
      threads: 4,
      'enable-threads': 'true',
      'lazy-apps': 'true',
      'buffer-size': 65_535,
      'die-on-term': 'true',
      'add-header': 'Connection: close',
      'disable-logging': 'true',
    },
  });
}

const mariadb = (s: Site): string => `[mysqld]
datadir=${run(s, 'db')}
socket=${socketOf(s)}
pid-file=${run(s, 'mysql.pid')}
user=root
skip-networking
skip-grant-tables
skip-name-resolve
character-set-server=utf8mb3
collation-server=utf8mb3_general_ci
max_connections=500
innodb_buffer_pool_size=128M
innodb_flush_log_at_trx_commit=0
innodb_doublewrite=0
innodb_log_file_size=64M
skip-log-bin
`;

const rabbitmq = `listeners.tcp.1 = 127.0.0.1:${String(PORTS.rabbitmq)}
loopback_users.guest = true
log.file.level = warning
vm_memory_high_watermark.absolute = 400MB
`;

/** The kernel need not have an NFS client: what is mounted is a folder. Called by mount(8): share, place, options. */
const mountNfs = (s: Site): string => `#!/bin/sh
[ $# -ge 2 ] || { echo "usage: mount.nfs SHARE PLACE" >&2; exit 1; }
exec mount --bind ${run(s, 'cinder/share')} "$2"
`;

/** Settings without which QEMU's driver wants cgroups, users and services of a whole host. */
const qemu = `user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
max_core = 0
seccomp_sandbox = 0
`;

/** Every service's configuration, by its file. */
function files(s: Site): Readonly<Record<string, string>> {
  return {
    'my.cnf': mariadb(s),
    'rabbitmq.conf': rabbitmq,
    'keystone.conf': keystone(s),
    'keystone-uwsgi.ini': uwsgi(s, PORTS.keystone, '/usr/bin/keystone-wsgi-public'),
    'glance.conf': glance(s),
    'placement/placement.conf': ini({
      placement_database: database(s, 'placement'),
      api: { auth_strategy: 'keystone' },
      keystone_authtoken: account(s, 'placement'),
      oslo_policy: policies('placement'),
    }),
    'placement-uwsgi.ini': uwsgi(s, PORTS.placement, '/usr/bin/placement-api'),
    'nova.conf': nova(s),
    'cinder.conf': cinder(s),
    'cinder-shares': `${SHARE}\n`,
    'mount.nfs': mountNfs(s),
    'neutron.conf': neutron(s),
    'ml2.ini': ini({
      ml2: { type_drivers: 'local,flat,vxlan', tenant_network_types: 'vxlan', mechanism_drivers: 'linuxbridge', extension_drivers: 'port_security' }, // prettier-ignore
      ml2_type_flat: { flat_networks: PHYSICAL },
      ml2_type_vxlan: { vni_ranges: '1:1000' },
      securitygroup: { enable_security_group: 'true', enable_ipset: 'true' },
    }),
    'linuxbridge.ini': ini({
      linux_bridge: { bridge_mappings: `${PHYSICAL}:${BRIDGE}` },
      vxlan: { enable_vxlan: 'true', local_ip: s.api, l2_population: 'false' },
      agent: { prevent_arp_spoofing: 'true' },
      securitygroup: { firewall_driver: 'iptables', enable_security_group: 'true', enable_ipset: 'true' },
    }),
    'dhcp.ini': ini({
      DEFAULT: { interface_driver: 'linuxbridge', dhcp_driver: 'neutron.agent.linux.dhcp.Dnsmasq', resync_interval: 5, dnsmasq_local_resolv: 'false', dnsmasq_config_file: etc(s, 'dnsmasq.conf') }, // prettier-ignore
    }),
    // it reads the machines' addresses anew when some are added, in a folder that only root may read
    'dnsmasq.conf': 'user=root\n',
    // machines have a config drive: nobody asks for metadata
    'l3.ini': ini({ DEFAULT: { interface_driver: 'linuxbridge', agent_mode: 'legacy', enable_metadata_proxy: 'false' } }), // prettier-ignore
    'libvirtd.conf': `listen_tls = 0\nlisten_tcp = 0\nauth_unix_ro = "none"\nauth_unix_rw = "none"\nlog_outputs = "3:file:${logs(s, 'libvirtd.log')}"\n`, // prettier-ignore
    'qemu.conf': qemu,
  };
}

const FOLDERS = [
  ...['log', 'etc/placement', 'db', 'rabbit/home', 'keystone/fernet', 'keystone/credential', 'lock', 'neutron'],
  ...['glance/images', 'glance/staging', 'glance/tasks', 'nova/instances', 'nova/mnt', 'cinder/share', 'cinder/mnt'],
  ...['run', 'etc', 'lib', 'cache', 'log'].map((d) => `libvirt/${d}`),
];

/** Writes all folders and files. */
export function writeSite(s: Site): void {
  for (const d of FOLDERS) mkdirSync(join(s.dir, d), { recursive: true });
  for (const [name, text] of Object.entries(files(s)))
    writeFileSync(etc(s, name), text, { mode: name === 'mount.nfs' ? 0o755 : 0o644 });
}
