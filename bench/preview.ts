import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureTools } from '@nxnw/tools';
import { TestStack } from '@nxnw/test/provider/stack';
import { tinyApp } from '@nxnw/test/support/agents';
import { stringify } from 'yaml';

/**
 * What a preview costs: the real engine plans a first `up` of platforms of these sizes on hosts with libvirt (nothing is
 * asked of a host before `up`). Time in seconds, memory as the most that the engine and all that it starts hold at once,
 * and both for each machine.
 * Usage: node bench/dist/preview.js [machines …]
 */
const SIZES = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [5, 50, 500];
const LOOK_MS = 100;
/** Data and edge machines; the others are for applications. */
const OTHERS = 2;
const SALT = 'v1:jEbYAZtkvcY=:v1:OY7zsjo01BGNCDWF:6QKUiBxR70xtofC5tDYldTdgfQcjkA==';

const config = (machines: number, bundle: string) => ({
  'nxnw:platform': { name: 'shop' },
  'nxnw:cloud': {
    kind: 'kvm',
    appMachines: machines - OTHERS,
    kvm: { access: { operators: ['192.0.2.0/24'] }, subnets: [{ cidr: '10.64.0.0/20' }] },
  },
  'nxnw:apps': [{ id: 'shop', bundle, instances: 3 }],
});

/** Kilobytes that the descendants of this process hold now. */
function heldKb(): number {
  const parents = new Map<number, { parent: number; kb: number }>();
  for (const dir of readdirSync('/proc').filter((d) => /^\d+$/.test(d)))
    try {
      const status = readFileSync(`/proc/${dir}/status`, 'utf8');
      const number = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
      parents.set(Number(dir), { parent: number('PPid'), kb: number('VmRSS') });
    } catch {
      continue; // it has ended meanwhile
    }
  const ours = (pid: number): boolean => {
    const parent = parents.get(pid)?.parent ?? 0;
    return parent === process.pid || (parent > 1 && ours(parent));
  };
  return [...parents].filter(([pid]) => ours(pid)).reduce((sum, [, p]) => sum + p.kb, 0);
}

async function previewOf(stack: TestStack, machines: number, bundle: string): Promise<void> {
  const text = stringify({ encryptionsalt: SALT, config: config(machines, bundle) });
  writeFileSync(join(stack.dir, 'Pulumi.dev.yaml'), text);
  let mostKb = 0;
  const look = setInterval(() => (mostKb = Math.max(mostKb, heldKb())), LOOK_MS);
  const began = performance.now();
  const ran = await stack.run(['preview', '--stack', 'dev'], { PULUMI_CONFIG_PASSPHRASE: 'x' });
  clearInterval(look);
  if (ran.code !== 0) throw new Error(ran.text);
  const seconds = (performance.now() - began) / 1000;
  const created = /(\d+) to create/.exec(ran.text)?.[1] ?? '?';
  const mb = mostKb / 1024;
  console.log(
    `${machines} machines: ${created} resources, ${seconds.toFixed(1)} s, ${mb.toFixed(0)} MB; ${((1000 * seconds) / machines).toFixed(0)} ms and ${(mb / machines).toFixed(1)} MB a machine`,
  );
}

async function main(): Promise<void> {
  await ensureTools(['pulumi']);
  const stack = new TestStack("module.exports = require('@nxnw/stacks');");
  try {
    await stack.init();
    const bundle = tinyApp();
    for (const machines of SIZES) await previewOf(stack, machines, bundle);
  } finally {
    stack.remove();
  }
}

void main();
