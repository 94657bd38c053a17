import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

type Row = Record<string, unknown>;
interface Answer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}
interface Asked {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: Row;
}

export const DOUBLE_IMAGE = '11111111-1111-4111-8111-111111111111';
export const DOUBLE_IMAGE_2 = '22222222-2222-4222-8222-222222222222';
const IMAGES: Readonly<Record<string, string>> = { [DOUBLE_IMAGE]: 'nxnw', [DOUBLE_IMAGE_2]: 'nxnw-2' };
const FLAVORS = ['m1.large', 'm1.medium', 'm1.small'];

/** Collections by the last part of their path, with the name of one of them and what the service adds to it. */
const KINDS: Readonly<Record<string, { readonly one: string; readonly defaults: Row }>> = {
  networks: { one: 'network', defaults: { status: 'ACTIVE', subnets: [], shared: false, 'router:external': false, availability_zone_hints: [], tags: [], mtu: 1450, port_security_enabled: true } }, // prettier-ignore
  subnets: { one: 'subnet', defaults: { dns_nameservers: [], host_routes: [], tags: [], service_types: [] } },
  ports: { one: 'port', defaults: { status: 'ACTIVE', mac_address: 'fa:16:3e:00:00:01', device_owner: '', device_id: '', tags: [], allowed_address_pairs: [], security_groups: [] } }, // prettier-ignore
  routers: { one: 'router', defaults: { status: 'ACTIVE', distributed: false, ha: false, routes: [], tags: [], availability_zone_hints: [] } }, // prettier-ignore
  floatingips: { one: 'floatingip', defaults: { status: 'ACTIVE', floating_ip_address: '203.0.113.7', tags: [] } },
  'security-groups': { one: 'security_group', defaults: { security_group_rules: [], tags: [] } },
  'security-group-rules': { one: 'security_group_rule', defaults: {} },
  volumes: { one: 'volume', defaults: { status: 'available', attachments: [], metadata: {}, volume_type: 'lvm', availability_zone: 'nova', bootable: 'false', multiattach: false } }, // prettier-ignore
  servers: { one: 'server', defaults: { status: 'ACTIVE', addresses: {}, metadata: {}, tenant_id: 't', 'OS-EXT-AZ:availability_zone': 'nova', 'OS-EXT-STS:vm_state': 'active', 'OS-EXT-STS:power_state': 1 } }, // prettier-ignore
  'os-server-groups': { one: 'server_group', defaults: { members: [], metadata: {} } },
};
/** What the services answer when they have made one; 201 for the others. */
const MADE: Readonly<Record<string, number>> = { volume: 202, server: 202, server_group: 200 };

/**
 * As much of OpenStack's APIs (Keystone, Neutron, Nova, Cinder, Glance) as a stack of ours asks for: it keeps what it is
 * given and starts no machine. For plans and refusals; that machines come up is tested on the real services.
 */
export class OpenstackDouble {
  private readonly rows = new Map<string, Map<string, Row>>();
  private readonly attached = new Map<string, Row>();
  private readonly server: Server;
  /** Collection -> what the service says instead of making one more. */
  readonly refusals = new Map<string, { readonly status: number; readonly body: unknown }>();
  /** The password that Keystone takes. */
  password = 'right';

  private constructor(
    private readonly host: string,
    private readonly port: number,
  ) {
    this.table('networks').set('public', {
      ...KINDS['networks']?.defaults,
      ...{ id: 'public', name: 'public', 'router:external': true, admin_state_up: true, tenant_id: 't' },
    });
    this.server = createServer((req, res) => this.serve(req, res));
  }

  static async start(host: string, port = 5100): Promise<OpenstackDouble> {
    const double = new OpenstackDouble(host, port);
    await new Promise<void>((ok, fail) => double.server.once('error', fail).listen(port, host, ok));
    return double;
  }

  /** The operator's variables. */
  get env(): Record<string, string> {
    return {
      OS_AUTH_URL: `${this.url}/v3`,
      OS_USERNAME: 'operator',
      OS_PASSWORD: 'right',
      OS_PROJECT_NAME: 'shop',
      OS_USER_DOMAIN_NAME: 'Default',
      OS_PROJECT_DOMAIN_NAME: 'Default',
      OS_REGION_NAME: 'R1',
    };
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise<void>((ok) => this.server.close(() => ok()));
  }

  private get url(): string {
    return `http://${this.host}:${String(this.port)}`;
  }

  private table(kind: string): Map<string, Row> {
    const found = this.rows.get(kind) ?? new Map<string, Row>();
    this.rows.set(kind, found);
    return found;
  }

  private serve(req: IncomingMessage, res: ServerResponse): void {
    let text = '';
    req.setEncoding('utf8').on('data', (d: string) => (text += d));
    req.on('end', () => {
      const { pathname, searchParams } = new URL(req.url ?? '/', this.url);
      const body: Row = text === '' ? {} : JSON.parse(text);
      const { status, body: answer, headers } = this.answer({ method: req.method ?? 'GET', path: pathname, query: searchParams, body }); // prettier-ignore
      res.writeHead(status, { 'content-type': 'application/json', ...headers });
      res.end(answer === undefined ? undefined : JSON.stringify(answer));
    });
  }

  private answer(asked: Asked): Answer {
    const { path } = asked;
    if (path === '/v3/auth/tokens') return this.token(asked.body);
    return this.look(path, asked.query) ?? this.attachment(asked) ?? this.routerInterface(asked) ?? this.row(asked);
  }

  private token(body: Row): Answer {
    if (!JSON.stringify(body).includes(`"password":"${this.password}"`))
      return { status: 401, body: { error: { code: 401, message: 'The request you have made requires authentication.', title: 'Unauthorized' } } }; // prettier-ignore
    const of = (type: string, at: string) => ({
      ...{ type, name: type, id: type },
      endpoints: [{ interface: 'public', region: 'R1', region_id: 'R1', url: this.url + at, id: type }],
    });
    const domain = { id: 'default', name: 'Default' };
    const catalog = [
      of('network', '/'),
      of('compute', '/nova/v2.1/'),
      of('volumev3', '/cinder/v3/t/'),
      of('image', '/glance/'),
    ];
    const token = { expires_at: '2099-01-01T00:00:00.000000Z', user: { id: 'u', name: 'operator', domain }, project: { id: 't', name: 'shop', domain }, roles: [], catalog }; // prettier-ignore
    return { status: 201, body: { token }, headers: { 'X-Subject-Token': 'token' } };
  }

  /** Images and flavors, which nobody makes. */
  private look(path: string, query: URLSearchParams): Answer | undefined {
    const image = (id: string): Row => ({ id, name: IMAGES[id] ?? id, status: 'active', visibility: 'public', created_at: '2025-01-01T00:00:00Z', updated_at: '2025-01-01T00:00:00Z', min_disk: 0, min_ram: 0, size: 1, container_format: 'bare', disk_format: 'qcow2', file: '/x', schema: '/s', owner: 't', protected: false, tags: [], checksum: 'x' }); // prettier-ignore
    const flavor = (name: string): Row => ({ id: name, name, ram: 512, vcpus: 1, disk: 3, swap: '', rxtx_factor: 1, 'os-flavor-access:is_public': true, 'OS-FLV-EXT-DATA:ephemeral': 0 }); // prettier-ignore
    const last = path.split('/').at(-1) ?? '';
    if (/^\/glance\/?$/.test(path))
      return { status: 300, body: { versions: [{ id: 'v2.9', status: 'CURRENT', links: [{ rel: 'self', href: `${this.url}/glance/v2/` }] }] } }; // prettier-ignore
    if (path === '/glance/v2/images') {
      const wanted = query.get('name');
      const found = Object.keys(IMAGES).filter((id) => wanted === null || IMAGES[id] === wanted);
      return { status: 200, body: { images: found.map(image) } };
    }
    if (path.startsWith('/glance/v2/images/')) return { status: 200, body: image(last) };
    if (path.startsWith('/nova/v2.1/images/')) return { status: 200, body: { image: image(last) } };
    if (path === '/nova/v2.1/flavors/detail') return { status: 200, body: { flavors: FLAVORS.map(flavor) } };
    if (path.endsWith('/os-extra_specs')) return { status: 200, body: { extra_specs: {} } };
    if (path.startsWith('/nova/v2.1/flavors/')) return { status: 200, body: { flavor: flavor(last) } };
    return undefined;
  }

  private attachment({ method, path, body }: Asked): Answer | undefined {
    const [, server, volume] = /^\/nova\/v2\.1\/servers\/([^/]+)\/os-volume_attachments(?:\/([^/]+))?$/.exec(path) ?? []; // prettier-ignore
    if (server !== undefined) {
      const given = Object.values(body)[0];
      const asked = typeof given === 'object' && given !== null && 'volumeId' in given ? String(given.volumeId) : '';
      const id = volume ?? asked;
      if (method === 'POST') {
        this.attached.set(id, { id, volumeId: id, serverId: server, device: '/dev/vdb' });
        Object.assign(this.table('volumes').get(id) ?? {}, { status: 'in-use' });
      }
      const row = this.attached.get(id);
      return row === undefined ? { status: 404, body: {} } : { status: 200, body: { volumeAttachment: row } };
    }
    if (!/^\/nova\/v2\.1\/servers\/[^/]+\/[a-z-]+/.test(path)) return undefined;
    if (path.endsWith('/tags')) return { status: 200, body: { tags: body['tags'] ?? [] } };
    return { status: path.endsWith('/action') ? 202 : 200, body: { interfaceAttachments: [], security_groups: [], metadata: body['metadata'] ?? {} } }; // prettier-ignore
  }

  private routerInterface({ path, body }: Asked): Answer | undefined {
    const router = /^\/v2\.0\/routers\/([^/]+)\/add_router_interface$/.exec(path)?.[1];
    if (router === undefined) return undefined;
    const id = randomUUID();
    const fixed = { subnet_id: body['subnet_id'], ip_address: '10.77.0.1' };
    this.table('ports').set(id, { ...KINDS['ports']?.defaults, id, device_id: router, device_owner: 'network:router_interface', network_id: 'x', fixed_ips: [fixed] }); // prettier-ignore
    return { status: 200, body: { id: router, port_id: id, subnet_id: body['subnet_id'] } };
  }

  private row({ method, path, query, body }: Asked): Answer {
    const [, kind = '', of] = /^(?:\/v2\.0|\/nova\/v2\.1|\/cinder\/v3\/t)\/([a-z-]+)(?:\/([^/]+))?(?:\/tags)?$/.exec(path) ?? []; // prettier-ignore
    const shape = KINDS[kind];
    if (shape === undefined) return { status: 404, body: { what: path } };
    const { one } = shape;
    const table = this.table(kind);
    if (method === 'POST') {
      const refusal = this.refusals.get(kind);
      if (refusal !== undefined) return refusal;
      return { status: MADE[one] ?? 201, body: { [one]: this.make(kind, body[one]) } };
    }
    if (of === undefined || of === 'detail') {
      const wanted = ['id', 'name', 'network_id', 'device_id', 'port_id'].filter((k) => query.has(k));
      const rows = [...table.values()].filter((r) => wanted.every((k) => r[k] === query.get(k)));
      return { status: 200, body: { [kind.replaceAll('-', '_')]: rows } };
    }
    const row = table.get(of);
    if (row === undefined) return { status: 404, body: { NeutronError: { message: 'not found' } } };
    if (method === 'PUT') Object.assign(row, path.endsWith('/tags') ? { tags: body['tags'] } : body[one]);
    if (method === 'DELETE') {
      table.delete(of);
      return { status: one === 'volume' ? 202 : 204 };
    }
    return { status: 200, body: path.endsWith('/tags') ? { tags: row['tags'] } : { [one]: row } };
  }

  private make(kind: string, given: unknown): Row {
    const row: Row = { ...structuredClone(KINDS[kind]?.defaults), ...Object(given), id: randomUUID() };
    row['tenant_id'] = row['project_id'] = 't';
    if (kind === 'servers') {
      const id = (of: unknown) => ({ id: of });
      Object.assign(row, { flavor: id(row['flavorRef']), image: id(row['imageRef']), security_groups: [] });
      for (const key of ['flavorRef', 'imageRef', 'user_data', 'networks']) Reflect.deleteProperty(row, key);
    }
    this.table(kind).set(String(row['id']), row);
    return row;
  }
}
