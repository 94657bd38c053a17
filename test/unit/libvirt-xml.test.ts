import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasCode } from '@nxnw/platform/errors';
import { domainXml, markOf, type DomainShape } from '@nxnw/migration/resources/engines/libvirt/domain-xml';
import { failureOf } from '@nxnw/migration/resources/engines/libvirt/failures';
import { filterXml, rulesOf, type FilterRule } from '@nxnw/migration/resources/engines/libvirt/filter-xml';
import { memoryLines, promisedMiB } from '@nxnw/migration/resources/engines/libvirt/host';
import { macOf } from '@nxnw/migration/resources/engines/libvirt/names';
import { networkXml } from '@nxnw/migration/resources/engines/libvirt/network-xml';
import { seedFiles } from '@nxnw/migration/resources/engines/libvirt/seed';
import { poolXml, volumeXml } from '@nxnw/migration/resources/engines/libvirt/volume-xml';
import { checkUri } from '@nxnw/migration/resources/engines/libvirt/virsh';
import { allAt, at, el, parseXml, renderXml, type XmlElement } from '@nxnw/migration/resources/engines/libvirt/xml';
import { domainShape } from './libvirt-shapes.js';

const BOOT = { kernel: '/boot/vmlinuz', initrd: '/boot/initrd.img', cmdline: 'root=LABEL=root ro quiet' };
const NASTY = `a"b'c<d>&e\u00e4 \t\n]]>&amp;`;
const RULES: FilterRule[] = [
  { source: '10.77.0.16-10.77.0.18', first: 11211, last: 11212, what: 'memcached from data' },
  { source: '0.0.0.0/0', first: 8080, last: 8080, what: 'http from clients' },
  { source: '192.168.4.0/24', first: 22, last: 22, what: 'ssh' },
  { source: '10.77.0.96/32', first: 9100, last: 9119, what: 'applications' },
];

/** As another process would read it. */
const again = (e: XmlElement): XmlElement => parseXml(renderXml(e));

/** Shape and the schema of libvirt that it must fit. */
const DOCUMENTS: readonly [string, string, XmlElement][] = [
  ...(['kvm', 'qemu', 'xenpv'] as const).flatMap((virtualisation) =>
    [null, BOOT].map((boot): [string, string, XmlElement] => [
      `a domain of ${virtualisation}${boot === null ? '' : ' with a kernel of the host'}`,
      'domain',
      domainXml(domainShape({ virtualisation, boot })),
    ]),
  ),
  ['a domain of xenpvh', 'domain', domainXml(domainShape({ virtualisation: 'xenpvh', boot: BOOT }))],
  ['a domain without a disk for data, with nasty names', 'domain', domainXml(domainShape({ disks: { root: '/p/r&<>.img', rootFormat: 'raw', data: '', seed: `/p/'s"` }, filter: '' }))], // prettier-ignore
  ['a network', 'network', networkXml({ name: 'n', platformId: 'shop', forward: 'route', subnets: [{ gateway: '10.7.0.1', prefix: 24 }, { gateway: '10.8.0.1', prefix: 20 }] })], // prettier-ignore
  ['a filter', 'nwfilter', filterXml('nxnw-shop-app', RULES, 'c5b1bd7e-6a0a-4f7e-9a3a-0a1b2c3d4e5f')],
  ['an overlay', 'storagevol', volumeXml({ name: 'v', bytes: 1, format: 'qcow2', backing: { path: '/b', format: 'raw' } })], // prettier-ignore
  ['a disk', 'storagevol', volumeXml({ name: 'v', bytes: 1024, format: 'raw' })],
  ['a pool', 'storagepool', poolXml('fleet', '/var/lib/libvirt/images/fleet')],
];

describe('the XML of libvirt', () => {
  it('says after parsing what was said before, whatever the values are', () => {
    const e = el('a', { one: NASTY, two: 3 }, el('b', {}, NASTY), el('c'), [el('d', { x: '' }), null, false]);
    assert.deepEqual(again(e), e);
    assert.equal(again(el('a', {}, 'x\u0000\u0007y')).text, 'xy');
  });

  it('is refused where it is no whole element', () => {
    for (const text of ['', '<a>', '<a></b>', '<a/><b/>', 'words', '<a b=c/>', '<a/>x<'])
      assert.throws(() => parseXml(text), /XML: /, text);
    assert.equal(parseXml(`<?xml version='1.0'?>\n<!-- <b> -->\n<a x='1"2'>&#65;&#x42;&lt;</a>\n`).text, 'AB<');
  });

  it('holds every value escaped', () => {
    const name = `x'/><devices><hostdev/>`;
    const d = again(
      domainXml(domainShape({ name, mark: { platformId: name, machine: name, image: name, spec: name } })),
    );
    assert.equal(at(d, 'name')?.text, name);
    assert.equal(allAt(d, 'devices', 'hostdev').length, 0);
    assert.deepEqual(markOf(d), { platformId: name, machine: name, image: name, spec: name });
  });

  for (const [what, schema, document] of DOCUMENTS)
    it(`fits libvirt's own schema: ${what}`, () => {
      const folder = mkdtempSync(join(tmpdir(), 'nxnw-xml-'));
      try {
        const path = join(folder, 'document.xml');
        writeFileSync(path, renderXml(document));
        execFileSync('virt-xml-validate', [path, schema], { stdio: 'pipe' });
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
});

describe('a domain', () => {
  const disksOf = (s: Partial<DomainShape>) =>
    allAt(domainXml(domainShape(s)), 'devices', 'disk').map((d) => [
      at(d, 'source')?.attributes['file'],
      at(d, 'target')?.attributes['dev'],
      at(d, 'driver')?.attributes['type'],
      at(d, 'readonly') !== undefined,
    ]);

  it('has root, data and seed at places that do not change when one is missing', () => {
    assert.deepEqual(disksOf({}), [
      ['/pool/root.img', 'vda', 'qcow2', false],
      ['/pool/data.img', 'vdb', 'raw', false],
      ['/pool/seed.iso', 'vdc', 'raw', true],
    ]);
    const bare = { root: '/r', rootFormat: 'raw', data: '', seed: '/s' } as const;
    assert.deepEqual(
      disksOf({ disks: bare, virtualisation: 'xenpv' }).map((d) => d[1]),
      ['xvda', 'xvdc'],
    );
  });

  it('sends from its own address, through the filter of its group', () => {
    const card = at(domainXml(domainShape()), 'devices', 'interface');
    assert.ok(card !== undefined);
    const filter = at(card, 'filterref');
    assert.equal(filter?.attributes['filter'], 'nxnw-shop-blue-data');
    assert.deepEqual(filter?.children[0]?.attributes, { name: 'IP', value: '10.77.0.16' });
  });

  it('on Xen starts by pygrub, or by a kernel that is given', () => {
    const image = domainXml(domainShape({ virtualisation: 'xenpv' }));
    assert.equal(at(image, 'bootloader')?.text, 'pygrub');
    const given = domainXml(domainShape({ virtualisation: 'xenpvh', boot: BOOT }));
    assert.equal(at(given, 'bootloader'), undefined);
    assert.equal(at(given, 'os', 'cmdline')?.text, BOOT.cmdline);
    assert.equal(at(given, 'os', 'type')?.attributes['machine'], 'xenpvh');
  });

  it('has a network card of the same address in every run, and no two machines have one', () => {
    assert.equal(macOf('shop-blue', 'data-1'), macOf('shop-blue', 'data-1'));
    const all = ['blue', 'green'].flatMap((p) => Array.from({ length: 500 }, (_, i) => macOf(p, `app-${String(i)}`)));
    assert.equal(new Set(all).size, 1000);
    for (const mac of all) assert.match(mac, /^52:54(:[0-9a-f]{2}){4}$/);
  });
});

describe('a filter', () => {
  it('says after parsing which rules it was made from', () => {
    assert.deepEqual(rulesOf(again(filterXml('f', RULES))), RULES);
  });

  it('ends by dropping what no rule lets in, IPv6 too', () => {
    const rules = allAt(filterXml('f', []), 'rule');
    const dropped = rules.filter((r) => r.attributes['action'] === 'drop' && r.attributes['direction'] === 'inout');
    assert.deepEqual(
      dropped.map((r) => r.children[0]?.name),
      ['all', 'all-ipv6'],
    );
    const last = Math.max(...rules.map((r) => Number(r.attributes['priority'])));
    assert.ok(dropped.every((r) => Number(r.attributes['priority']) === last));
  });

  it('is refused with every rule that is none', () => {
    const bad = [
      { source: '10.0.0.0/33', first: 1, last: 2, what: 'a' },
      { source: 'fe80::/10', first: 1, last: 2, what: 'b' },
      { source: '10.0.0.1-10.0.0', first: 9, last: 2, what: 'c' },
    ];
    assert.throws(
      () => filterXml('f', bad),
      (e) => hasCode(e, 'BAD_CONFIG') && Array.isArray(e.fields['faults']) && e.fields['faults'].length === 4,
    );
  });
});

describe('the seed', () => {
  const seed = {
    instanceId: 'i-1',
    hostName: 'data-1',
    sshKey: `ssh-ed25519 AAAA "x": y #z`,
    userData: '#cloud-config\n',
    mac: macOf('shop', 'data-1'),
    address: '10.77.0.16',
    prefix: 20,
    gateway: '10.77.0.1',
    dns: ['10.77.0.1'],
  };

  it('has the fixed address, the way out, the key, and the user data as they are', () => {
    const files = seedFiles(seed);
    assert.equal(files['user-data'], '#cloud-config\n');
    assert.deepEqual(JSON.parse(files['meta-data'] ?? ''), {
      'instance-id': 'i-1',
      'local-hostname': 'data-1',
      'public-keys': [seed.sshKey],
    });
    assert.deepEqual(JSON.parse(files['network-config'] ?? ''), {
      version: 2,
      ethernets: {
        eth0: {
          match: { macaddress: seed.mac },
          'set-name': 'eth0',
          addresses: ['10.77.0.16/20'],
          routes: [{ to: '0.0.0.0/0', via: '10.77.0.1' }],
          nameservers: { addresses: ['10.77.0.1'] },
        },
      },
    });
  });

  it('leaves out what is not there', () => {
    const files = seedFiles({ ...seed, sshKey: '', dns: [] });
    assert.doesNotMatch(files['meta-data'] ?? '', /public-keys/);
    assert.doesNotMatch(files['network-config'] ?? '', /nameservers/);
  });
});

describe('what libvirt says', () => {
  const target = { uri: 'qemu:///system', resource: 'machine data-1 of shop' };
  const codeOf = (stderr: string) =>
    failureOf(target, ['start', 'x'], { error: new Error('failed'), stderr, timeoutMs: 1, cancelled: false }).code;

  it('becomes an error with a code', () => {
    const said: [string, string][] = [
      ["error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/x': No such file", 'LIBVIRT_UNREACHABLE'], // prettier-ignore
      ['error: failed to connect to the hypervisor\nerror: Cannot recv data: ssh: connect to host h port 22: No route to host', 'LIBVIRT_UNREACHABLE'], // prettier-ignore
      ["error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/x': Permission denied", 'LIBVIRT_DENIED'], // prettier-ignore
      ['error: failed to connect to the hypervisor\nerror: Cannot recv data: Host key verification failed.', 'LIBVIRT_DENIED'], // prettier-ignore
      ['error: internal error: cannot set up guest memory: Cannot allocate memory', 'NO_MEMORY_ON_HOST'],
      ["error: Storage pool not found: no storage pool with matching name 'x'", 'NO_POOL'],
      ["error: Network not found: no network with matching name 'x'", 'NO_NETWORK'],
      ["error: Requested operation is not valid: network 'x' is not active", 'NO_NETWORK'],
      ['error: internal error: Network is already in use by interface virbr0', 'NETWORK_OVERLAPS'],
      [
        "error: Failed to create file '/var/lib/libvirt/dnsmasq/virbr1.macs.new': No such file or directory",
        'NO_LIBVIRT_FOLDER',
      ],
      ["error: failed to get domain 'x'", 'LIBVIRT_NOT_FOUND'],
      ["error: Storage volume not found: no storage vol with matching path 'x'", 'LIBVIRT_NOT_FOUND'],
      ["error: operation failed: domain 'x' already exists with uuid 1", 'LIBVIRT_EXISTS'],
      [
        "error: Failed to refresh pool images\nerror: internal error: pool 'images' has asynchronous jobs running.",
        'LIBVIRT_BUSY',
      ],
      ['error: something else', 'LIBVIRT_FAILED'],
    ];
    for (const [stderr, code] of said) assert.equal(codeOf(stderr), code, stderr);
  });

  it('about memory is read in MiB', () => {
    const stats = memoryLines(
      'total  :             24684084 KiB\nfree   :             16511700 KiB\nTotal: 4370288 KiB\n',
    );
    assert.equal(stats.get('free'), 16_124);
    assert.equal(promisedMiB("Domain: 'a'\n  balloon.current=1\n  balloon.maximum=524288\n\nDomain: 'b'\n  balloon.maximum=1048576\n"), 1536); // prettier-ignore
  });

  it('is asked of hosts whose URI is one of those allowed', () => {
    for (const uri of [
      'qemu:///system',
      'qemu:///system?socket=/run/x/libvirt-sock',
      'qemu+ssh://root@h1.example:2222/system?keyfile=/k',
      'qemu+unix:///system?socket=/x',
      'xen:///',
      'xen:///system',
      'xen+ssh://root@10.0.0.2/system',
      'test:///default',
    ])
      checkUri(uri);
    for (const uri of ['', 'qemu', 'qemu+ssh:///system', 'qemu+ssh://-x/system', 'qemu+ssh://h/system;rm', 'esx://h'])
      assert.throws(() => checkUri(uri), (e) => hasCode(e, 'BAD_CONFIG'), uri); // prettier-ignore
  });
});
