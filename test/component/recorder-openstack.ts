import * as pulumi from '@pulumi/pulumi';
import { OpenstackCloud } from '@nxnw/components/clouds/openstack';
import type { OpenstackSettings } from '@nxnw/components/clouds/settings';
import type { PlatformSettings } from '@nxnw/components';
import { machinesOf, type Machine } from '@nxnw/components/plan/machines';
import { flowsOf, type Flow } from '@nxnw/components/plan/traffic';
import { settings } from './fixtures.js';

/** The mark of a secret in inputs as the engine receives them. */
const SECRET = '4dabf18193072939515e22adb298388d';

/** A resource as a cloud asks for it, with what the engine is told besides the inputs. */
export interface Planned {
  /** `networking/port:Port` */
  readonly type: string;
  readonly name: string;
  readonly inputs: Readonly<Record<string, unknown>>;
  /** Name of its provider; '' = the default one. */
  readonly provider: string;
  readonly protect: boolean;
  readonly ignoreChanges: readonly string[];
  readonly replaceOnChanges: readonly string[];
  readonly deleteBeforeReplace: boolean;
  readonly secretOutputs: readonly string[];
  readonly dependsOn: readonly string[];
  readonly deletedWith: string;
}

export interface Plan {
  readonly cloud: OpenstackCloud;
  readonly resources: readonly Planned[];
  /** Look-ups: `networking/getNetwork {"name":"public"}`. */
  readonly calls: readonly string[];
  readonly machines: readonly Machine[];
  readonly flows: readonly Flow[];
  nameOf(r: pulumi.Resource): string;
}

type Inputs = Pick<Planned, 'inputs' | 'provider'>;
let inputs = new Map<string, Inputs>();
let calls: string[] = [];

const short = (token: string): string => token.replace(/^openstack:/, '').replace(/:get\w+$/, '');

/** Answers like a cloud where every id is made from the resource's name. Stands for the whole process: call it in `before`. */
export function mockOpenstack(): Promise<void> {
  return pulumi.runtime.setMocks({
    call: ({ token, inputs: given }) => {
      calls.push(`${short(token)} ${JSON.stringify(given)}`);
      return { ...given, id: `id-of-${String(given.name)}` };
    },
    newResource: (a) => {
      inputs.set(a.name, { inputs: a.inputs, provider: a.provider?.split('::').at(-2) ?? '' });
      const address = `198.51.100.${a.name.split('-').at(-1) ?? ''}`;
      return { id: `${a.name}-id`, state: a.type.endsWith(':FloatingIp') ? { ...a.inputs, address } : a.inputs };
    },
  });
}

export function promiseOf<T>(output: pulumi.Output<T>): Promise<T> {
  return new Promise((ok) => {
    output.apply(ok);
  });
}

/** Settings of a project with everything that the component can make. */
export function openstack(over: Partial<OpenstackSettings> = {}): OpenstackSettings {
  return {
    flavors: { data: 'm1.large', app: 'm1.medium', edge: 'm1.small' },
    image: 'nxnw-0.1.0',
    keyPair: 'operators',
    externalNetwork: 'public',
    cloud: '',
    subnets: [{ cidr: '10.40.0.0/24', zone: '' }],
    access: { operators: ['192.0.2.0/24'], ssh: [], clients: ['0.0.0.0/0'], peers: ['203.0.113.0/24'] },
    replace: {},
    diskGiB: 20,
    ...over,
  };
}

export interface Wanted {
  readonly cloud?: Partial<OpenstackSettings>;
  readonly platform?: Partial<PlatformSettings>;
  /** @default true */
  readonly protect?: boolean;
}

/** What the component makes of the settings, once everything of it is registered. Resources by type and name. */
export async function plan({ cloud: over = {}, platform = {}, protect = true }: Wanted): Promise<Plan> {
  inputs = new Map();
  calls = [];
  const block = openstack(over);
  const s = settings({ cloud: { kind: 'openstack', openstack: block }, ...platform });
  const machines = machinesOf(s);
  const flows = flowsOf(s);
  const names = new Map<unknown, string>();
  const noted: (Omit<Planned, keyof Inputs> & { readonly resource: pulumi.Resource })[] = [];
  const note: pulumi.ResourceTransformation = ({ resource, type, name, opts }) => {
    const o: pulumi.CustomResourceOptions = opts;
    const nameOf = (r: unknown): string => names.get(r) ?? 'unknown';
    names.set(resource, name);
    noted.push({
      resource,
      type: short(type),
      name,
      protect: o.protect === true,
      ignoreChanges: o.ignoreChanges ?? [],
      replaceOnChanges: o.replaceOnChanges ?? [],
      deleteBeforeReplace: o.deleteBeforeReplace === true,
      secretOutputs: o.additionalSecretOutputs ?? [],
      dependsOn: o.dependsOn === undefined ? [] : [o.dependsOn].flat().map(nameOf),
      deletedWith: o.deletedWith === undefined ? '' : nameOf(o.deletedWith),
    });
    return undefined;
  };
  const cloud = new OpenstackCloud(
    'cloud',
    {
      platformId: s.platformId,
      settings: block,
      machines,
      flows,
      protect,
      userData: (m) => pulumi.secret(`#cloud-config of ${m.name}`),
      enrolment: (m) => pulumi.secret(`enrolment of ${m.name}`),
    },
    { transformations: [note] },
  );
  await Promise.all(noted.map(({ resource }) => promiseOf(resource.urn)));
  const resources = noted
    .filter((n) => n.resource !== cloud)
    .map(({ resource: _, ...rest }) => {
      const found = inputs.get(rest.name);
      if (found === undefined) throw new Error(`${rest.name} was not registered`);
      return { ...rest, ...found };
    });
  const key = (r: Planned) => `${r.type} ${r.name}`;
  resources.sort((a, b) => key(a).localeCompare(key(b), 'en', { numeric: true }));
  return { cloud, resources, calls, machines, flows, nameOf: (r) => names.get(r) ?? 'unknown' };
}

/** Whether an input goes to the engine as a secret. */
export function isSecret(v: unknown): boolean {
  return typeof v === 'object' && v !== null && SECRET in v;
}

/** Inputs that are the same for every resource of their type; tests look at them, a reader need not. */
const NOISE = ['adminStateUp', 'ethertype', 'ipVersion', 'enableDhcp', 'tags', 'metadata', 'description', 'configDrive', 'enableOnlineResize', 'deleteDefaultRules']; // prettier-ignore

function show(v: unknown): string {
  if (isSecret(v)) return 'SECRET';
  return typeof v === 'string' ? v : JSON.stringify(v).replaceAll('"', '');
}

function inputsOf({ type, inputs: i }: Planned): string[] {
  if (type.endsWith(':SecGroupRule')) {
    const ports = i['protocol'] === undefined ? 'all' : `${show(i['protocol'])} ${show(i['portRangeMin'])}-${show(i['portRangeMax'])}`; // prettier-ignore
    const remote = i['direction'] === 'egress' ? '' : ` from ${show(i['remoteGroupId'] ?? i['remoteIpPrefix'])}`;
    return [`${show(i['direction'])} ${ports} of ${show(i['securityGroupId'])}${remote} (${show(i['description'])})`];
  }
  return Object.entries(i)
    .filter(([k, v]) => v !== undefined && !NOISE.includes(k))
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([k, v]) => `${k}=${show(v)}`);
}

function lineOf(r: Planned): string {
  const options = [
    ...(r.protect ? ['protect'] : []),
    ...(r.deleteBeforeReplace ? ['delete-first'] : []),
    ...(r.deletedWith === '' ? [] : [`gone-with=${r.deletedWith}`]),
    ...(r.ignoreChanges.length === 0 ? [] : [`ignore=${r.ignoreChanges.join(',')}`]),
    ...(r.replaceOnChanges.length === 0 ? [] : [`replace-on=${r.replaceOnChanges.join(',')}`]),
    ...(r.dependsOn.length === 0 ? [] : [`after=${r.dependsOn.join(',')}`]),
    ...(r.provider === '' ? [] : [`provider=${r.provider}`]),
  ];
  const kind = r.type.replace(/^\w+\/\w+:/, '');
  return [kind, r.name, ...inputsOf(r), ...(options.length === 0 ? [] : ['|', ...options])].join(' ');
}

/** A line for each resource: type, name, inputs, and behind the bar what the engine is told. */
export function textOf(p: Plan): string {
  return p.resources.map((r) => `${lineOf(r)}\n`).join('');
}

/** Resources of a kind: `Port`. */
export const of = (p: Plan, kind: string): Planned[] => p.resources.filter((r) => r.type.endsWith(`:${kind}`));

export function one(p: Plan, name: string): Planned {
  const found = p.resources.find((r) => r.name === name);
  if (found === undefined) throw new Error(`no resource ${name}`);
  return found;
}

/** `edge tcp 80-80 from 0.0.0.0/0`, and the ids that the mocks give: nothing of the component's own reckoning. */
export function opened(p: Plan): string[] {
  return of(p, 'SecGroupRule')
    .filter((r) => r.inputs['direction'] === 'ingress')
    .map(
      ({ inputs: i }) =>
        `${String(i['securityGroupId'])} ${String(i['protocol'])} ${String(i['portRangeMin'])}-${String(i['portRangeMax'])} from ${String(i['remoteGroupId'] ?? i['remoteIpPrefix'])}`,
    ) // prettier-ignore
    .sort();
}
