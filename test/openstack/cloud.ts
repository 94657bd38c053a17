import { EXTERNAL, MACHINES_CIDR, OPERATOR, type OpenstackLab } from './lab/lab.js';

export const GROUPS = ['data', 'app', 'edge'] as const;

/** `NXNW_OPENSTACK_VIRT=kvm` where this machine can: emulated machines are the same everywhere, and slow. */
export const VIRT = process.env['NXNW_OPENSTACK_VIRT'] === 'kvm' ? 'kvm' : 'qemu';

/** MiB of memory, by group. */
type Sizes = Readonly<Record<(typeof GROUPS)[number], number>>;

/** The smallest that serve; `NXNW_OPENSTACK_MIB=data=1024,app=768` gives other sizes. */
const SMALLEST_MIB: Sizes = { data: 768, app: 512, edge: 512 };
const GIVEN_MIB = Object.fromEntries(
  [...(process.env['NXNW_OPENSTACK_MIB'] ?? '').matchAll(/(data|app|edge)=(\d+)/g)].map(([, g = '', n]) => [g, Number(n)]),
); // prettier-ignore

/** Makes the flavors that the groups' servers have; `mib` = other sizes than the smallest. */
export async function makeFlavors(lab: OpenstackLab, mib: Partial<Sizes> = {}): Promise<void> {
  const sizes: Sizes = { ...SMALLEST_MIB, ...mib, ...GIVEN_MIB };
  for (const group of GROUPS) await lab.flavor(`nxnw.${group}`, { ramMiB: sizes[group], diskGiB: 4, vcpus: 1 });
}

/** Block of `nxnw:cloud`, with what a test changes of it. */
export function openstack(over: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
  return {
    kind: 'openstack',
    appMachines: 1,
    openstack: {
      image: 'nxnw',
      flavors: Object.fromEntries(GROUPS.map((g) => [g, `nxnw.${g}`])),
      subnets: [{ cidr: MACHINES_CIDR }],
      externalNetwork: EXTERNAL,
      access: { operators: [`${OPERATOR}/32`], clients: [`${OPERATOR}/32`] },
      ...over,
    },
  };
}
