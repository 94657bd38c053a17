import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureTools } from '@nxnw/tools';
import { TestStack } from '@nxnw/test/provider/stack';
import { tinyApp } from '@nxnw/test/support/agents';
import { stringify } from 'yaml';
import { measured } from './measure.js';

/**
 * What a preview costs: the real engine plans a first `up` of platforms of these sizes on hosts with libvirt (nothing is
 * asked of a host before `up`). Prints a table: seconds, memory as the most that the engine and all that it starts hold
 * at once, and both for each machine beyond those of the row before.
 * Usage: node bench/dist/preview.js [machines …]
 */
const SIZES = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [5, 50, 500];
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

interface Cost {
  readonly machines: number;
  readonly resources: number;
  readonly seconds: number;
  readonly mib: number;
}

async function previewOf(stack: TestStack, machines: number, bundle: string): Promise<Cost> {
  const text = stringify({ encryptionsalt: SALT, config: config(machines, bundle) });
  writeFileSync(join(stack.dir, 'Pulumi.dev.yaml'), text);
  const ran = await measured(stack, ['preview', '--stack', 'dev'], { PULUMI_CONFIG_PASSPHRASE: 'x' });
  if (ran.code !== 0) throw new Error(ran.text);
  return { machines, resources: Number(/(\d+) to create/.exec(ran.text)?.[1]), seconds: ran.seconds, mib: ran.mib };
}

/** A row, with what each machine cost beyond those of the row before: the same in each row where the cost is linear. */
function row(c: Cost, before: Cost | undefined): string {
  const more = before === undefined ? undefined : c.machines - before.machines;
  const each = (now: number, then: number, digits: number) =>
    more === undefined ? '' : ((now - then) / more).toFixed(digits);
  const cells = [
    String(c.machines),
    String(c.resources),
    c.seconds.toFixed(1),
    c.mib.toFixed(0),
    each(1000 * c.seconds, 1000 * (before?.seconds ?? 0), 0),
    each(c.mib, before?.mib ?? 0, 1),
  ];
  return `| ${cells.join(' | ')} |`;
}

async function main(): Promise<void> {
  await ensureTools(['pulumi']);
  const stack = new TestStack("module.exports = require('@nxnw/stacks');");
  try {
    await stack.init();
    const bundle = tinyApp();
    console.log('| machines | resources | seconds | MiB | ms for each more | MiB for each more |');
    console.log('| --- | --- | --- | --- | --- | --- |');
    let before: Cost | undefined;
    for (const machines of SIZES) {
      const cost = await previewOf(stack, machines, bundle);
      console.log(row(cost, before));
      before = cost;
    }
  } finally {
    stack.remove();
  }
}

void main();
