import { z } from 'zod';
import { rangeOf } from '@nxnw/components/plan/ranges';
import { NxnwError } from '@nxnw/platform/errors';
import { configSchema, type StackConfig } from './schema.js';
import { nearest } from './nearest.js';

export const NAMESPACE = 'nxnw';

/** Keys whose values are text; all others are JSON. */
const TEXT_KEYS = new Set(['migrateFrom', 'stage']);

/** The schema below defaults and optional. */
function inner(schema: unknown): unknown {
  let s = schema;
  for (;;) {
    if (s instanceof z.ZodOptional || s instanceof z.ZodDefault || s instanceof z.ZodPrefault) s = s.unwrap();
    else return s;
  }
}

/** Keys allowed at a path of the configuration; empty where any key is. */
function keysAt(path: readonly PropertyKey[]): string[] {
  let s: unknown = inner(configSchema);
  for (const step of path) {
    if (s instanceof z.ZodObject) s = inner((s.shape as Record<PropertyKey, unknown>)[step]);
    else if (s instanceof z.ZodArray) s = inner(s.element);
    else return [];
  }
  return s instanceof z.ZodObject ? Object.keys(s.shape) : [];
}

/** `nxnw:apps[0].id` */
function show(path: readonly PropertyKey[]): string {
  const [first, ...rest] = path;
  const tail = rest.map((p) => (typeof p === 'number' ? `[${String(p)}]` : `.${String(p)}`)).join('');
  return `${NAMESPACE}:${String(first ?? '')}${tail}`;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (v, p) => (typeof v === 'object' && v !== null ? (v as Record<PropertyKey, unknown>)[p] : undefined),
    value,
  );
}

/** What was given, short and without secrets: only for enumerations and numbers, where it helps. */
function given(issue: z.core.$ZodIssue, value: unknown): string {
  const v = valueAt(value, issue.path);
  if (v === undefined) return ' (it is missing)';
  if (issue.code === 'invalid_value' || typeof v === 'number' || typeof v === 'boolean')
    return ` (given: ${JSON.stringify(v)})`;
  return '';
}

function faultsOf(issue: z.core.$ZodIssue, value: unknown): string[] {
  if (issue.code === 'unrecognized_keys') {
    const allowed = keysAt(issue.path);
    return issue.keys.map((key) => {
      const meant = nearest(key, allowed);
      const hint = meant === undefined ? `allowed: ${allowed.join(', ')}` : `did you mean "${meant}"?`;
      return `${show([...issue.path, key])}: unknown key; ${hint}`;
    });
  }
  const allowed = issue.code === 'invalid_value' ? issue.values.map(String) : [];
  const v = valueAt(value, issue.path);
  const meant = typeof v === 'string' ? nearest(v, allowed) : undefined;
  const hint = meant === undefined ? '' : `; did you mean "${meant}"?`;
  const what = allowed.length > 0 ? `must be one of ${allowed.join(', ')}` : issue.message;
  return [`${show(issue.path)}: ${what}${given(issue, value)}${hint}`];
}

/** What the cloud's block must have. */
function cloudFaults(c: StackConfig): string[] {
  const { kind } = c.cloud;
  const faults: string[] = [];
  if (kind === 'hosts' && c.cloud.hosts.hosts.length === 0)
    faults.push('nxnw:cloud.hosts.hosts: list the machines, each with its group (data, app, edge) and address');
  if (kind === 'hosts' && c.cloud.hosts.privateKey === '')
    faults.push(
      'nxnw:cloud.hosts.privateKey: ssh needs a private key; set it with `nxnw config set --secret --path nxnw:cloud.hosts.privateKey`',
    );
  if ((kind === 'ec2' || kind === 'eucalyptus') && c.cloud[kind].vpcId !== undefined)
    c.cloud[kind].subnets.forEach((s, i) => {
      if (s.id === undefined)
        faults.push(`nxnw:cloud.${kind}.subnets[${String(i)}].id: with an existing VPC each subnet names its own`);
    });
  if (kind === 'openstack' && c.cloud.openstack.networkId !== undefined)
    c.cloud.openstack.subnets.forEach((s, i) => {
      if (s.id === undefined)
        faults.push(
          `nxnw:cloud.openstack.subnets[${String(i)}].id: with an existing network each subnet names its own`,
        );
    });
  if (kind !== 'local' && kind !== 'hosts')
    c.cloud[kind].subnets.forEach(({ cidr }, i) => {
      const bits = rangeOf(cidr)?.bits ?? 0;
      if (bits < 16 || bits > 27)
        faults.push(
          `nxnw:cloud.${kind}.subnets[${String(i)}].cidr: must be the address of an IPv4 network from /16 to /27, such as 10.77.0.0/24 (given: "${cidr}")`,
        );
    });
  if (kind !== 'local' && kind !== 'hosts' && c.cloud[kind].access.operators.length === 0)
    faults.push(
      `nxnw:cloud.${kind}.access.operators: name the networks from which nxnw reaches the machines, for instance ["203.0.113.7/32"]`,
    );
  return faults;
}

/** Rules that span keys; each answers its faults. */
function crossFaults(c: StackConfig): string[] {
  const faults: string[] = [];
  const ids = c.apps.map((a) => a.id);
  ids.forEach((id, i) => {
    if (ids.indexOf(id) !== i) faults.push(`nxnw:apps[${String(i)}].id: "${id}" is used twice`);
  });
  faults.push(...cloudFaults(c));
  if (c.store.kind !== 'lmdb' && c.store.kind !== 'cassandra')
    faults.push(`nxnw:store.kind: this release has the stores lmdb and cassandra (given: "${c.store.kind}")`);
  if (c.store.kind === 'lmdb' && c.store.nodes !== 1)
    faults.push(`nxnw:store.nodes: lmdb lies on one machine (given: ${String(c.store.nodes)}); use cassandra for more`);
  if (c.store.replication > c.store.nodes)
    faults.push(
      `nxnw:store.replication: must be at most store.nodes, ${String(c.store.nodes)} (given: ${String(c.store.replication)})`,
    );
  if (c.locks.nodes % 2 === 0) faults.push(`nxnw:locks.nodes: must be odd (given: ${String(c.locks.nodes)})`);
  if (c.dns !== undefined) {
    const d = c.dns;
    if (d[d.driver] === undefined) faults.push(`nxnw:dns.${d.driver}: the driver "${d.driver}" needs this block`);
    if (d.name !== d.zone && !d.name.endsWith(`.${d.zone}`))
      faults.push(`nxnw:dns.name: "${d.name}" does not lie in the zone "${d.zone}"`);
  }
  if (c.edge.domains.length > 0 && c.apps.length > 1)
    faults.push('nxnw:edge.domains: with several applications give each its own, as nxnw:apps[i].domains');
  if (c.migrateFrom === '' && c.stage !== 'synced')
    faults.push(
      `nxnw:stage: "${c.stage}" is a stage of a migration, and nxnw:migrateFrom is empty; remove one of them`,
    );
  return faults;
}

/**
 * Parses the stack's configuration (`pulumi.runtime.allConfig()`: full keys, text values). Keys of other namespaces
 * are left alone.
 * @throws BAD_CONFIG with every fault and its path
 */
export function parseConfig(all: Readonly<Record<string, string>>): StackConfig {
  const value: Record<string, unknown> = {};
  const faults: string[] = [];
  for (const [full, text] of Object.entries(all)) {
    const [namespace, key = ''] = full.split(':', 2);
    if (namespace !== NAMESPACE) continue;
    if (TEXT_KEYS.has(key)) value[key] = text;
    else
      try {
        value[key] = JSON.parse(text);
      } catch {
        value[key] = text;
      }
  }
  // Declared in Pulumi.yaml with an empty default, because keys without a default would be mandatory.
  if (isEmptyObject(value['dns'])) delete value['dns'];
  const parsed = configSchema.safeParse(value);
  if (!parsed.success) faults.push(...parsed.error.issues.flatMap((i) => faultsOf(i, value)));
  else faults.push(...crossFaults(parsed.data));
  if (parsed.success && faults.length === 0) return parsed.data;
  throw new NxnwError(
    'BAD_CONFIG',
    `the configuration has ${faults.length === 1 ? 'a fault' : `${String(faults.length)} faults`}:\n${faults.map((f) => `  ${f}`).join('\n')}\nSee docs/configuration.md; change a value with \`nxnw config set --path\` or in Pulumi.STACK.yaml.`,
    { faults },
  );
}

function isEmptyObject(v: unknown): boolean {
  return typeof v === 'object' && v !== null && !Array.isArray(v) && Object.keys(v).length === 0;
}
