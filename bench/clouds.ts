import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { ensureProviders, terraformAws } from '@nxnw/tools';
import { TestStack } from '@nxnw/test/provider/stack';
import { tinyApp } from '@nxnw/test/support/agents';
import { stringify } from 'yaml';
import { KINDS, startLabs, type Kind, type Labs } from './cloud-labs.js';
import { measured, type Measured } from './measure.js';

/**
 * One stack file on every cloud, by the real engine and the real plugins: previews of a first `up`, with `kind` alone
 * changed, and previews of another image over machines that an `up` has made. Prints the tables of docs/clouds.md.
 * Clouds that a preview or an `up` asks are stood in for on this machine (cloud-labs.ts).
 * Usage: node bench/dist/clouds.js [kinds …]; needs root for kvm's second table. Takes about 10 minutes.
 */
const WANTED = KINDS.filter((k) => process.argv.length < 3 || process.argv.slice(2).includes(k));
const SALT = 'v1:jEbYAZtkvcY=:v1:OY7zsjo01BGNCDWF:6QKUiBxR70xtofC5tDYldTdgfQcjkA==';
const MACHINES = new Set([
  'aws:ec2/instance:Instance',
  'openstack:compute/instance:Instance',
  'pulumi-nodejs:dynamic/nxnw:LibvirtDomain',
  'command:remote:Command',
]);
const DISKS = new Set([
  'aws:ebs/volume:Volume',
  'openstack:blockstorage/volume:Volume',
  'pulumi-nodejs:dynamic/nxnw:LibvirtVolume',
]);

const previewed = z.looseObject({ steps: z.array(z.looseObject({ op: z.string(), urn: z.string() })).default([]) });

/** A step of a plan: what is done to which resource. */
interface Step {
  readonly op: string;
  readonly type: string;
  readonly name: string;
}

function stepsOf({ code, text }: Measured): readonly Step[] {
  if (code !== 0) throw new Error(text.slice(-4000));
  const { steps } = previewed.parse(JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)));
  return steps.map(({ op, urn }) => {
    const [, , types = '', name = ''] = urn.split('::');
    return { op, name, type: types.split('$').at(-1) ?? '' };
  });
}

class Clouds {
  private constructor(
    private readonly stack: TestStack,
    private readonly labs: Labs,
    private readonly bundle: string,
  ) {}

  static async start(stack: TestStack): Promise<Clouds> {
    await ensureProviders(['aws', 'openstack', 'command'], join(stack.dir, 'home'));
    const labs = await startLabs(stack.dir);
    await stack.init();
    return new Clouds(stack, labs, tinyApp());
  }

  stop(): Promise<void> {
    return this.labs.stop();
  }

  /** The stack file: `kind` alone is another for each cloud. */
  private configure(kind: Kind, image: 'first' | 'second'): void {
    const config = {
      'nxnw:platform': { name: 'shop', protect: false },
      'nxnw:cloud': { kind, appMachines: 1, ...this.labs.blocks(image === 'second') },
      'nxnw:store': { kind: 'cassandra', nodes: 2, replication: 2 },
      'nxnw:apps': [{ id: 'shop', bundle: this.bundle }],
    };
    writeFileSync(join(this.stack.dir, 'Pulumi.dev.yaml'), stringify({ encryptionsalt: SALT, config }));
  }

  private preview(): Promise<Measured> {
    return measured(this.stack, ['preview', '--json', '--stack', 'dev'], this.labs.env);
  }

  async first(kind: Kind): Promise<{ readonly steps: readonly Step[]; readonly ran: Measured }> {
    this.configure(kind, 'first');
    const ran = await this.preview();
    return { ran, steps: stepsOf(ran).filter((s) => !/^(nxnw|pulumi:pulumi):/.test(s.type)) };
  }

  /**
   * Machines made by an `up` of the whole stack but for what waits for agents in them; then a preview with another
   * image. Answers a row of the table.
   */
  async bump(kind: Kind): Promise<string[]> {
    const answers = this.labs.answers[kind];
    if (answers === undefined) return [kind, `not run: ${this.labs.refusals[kind] ?? ''}`, '', '', ''];
    this.configure(kind, 'first');
    const waits = ['--exclude', '**::platform-fleet-enrolment-*', '--exclude-dependents'];
    const up = await this.stack.run(['up', '--yes', '--skip-preview', '--stack', 'dev', ...waits], this.labs.env);
    if (up.code !== 0) throw new Error(up.text.slice(-4000));
    this.configure(kind, 'second');
    if (kind === 'hosts') this.labs.bumpRelease();
    const steps = stepsOf(await this.preview());
    const isData = (s: Step) => /-data-\d+(-disk)?$|-disk-data-\d+$/.test(s.name);
    const isMachine = (s: Step) => MACHINES.has(s.type) && /-(data|app|edge)-\d+$/.test(s.name);
    const count = (op: string, is: (s: Step) => boolean) => String(steps.filter((s) => s.op === op && is(s)).length);
    const row = [
      kind,
      answers,
      count('replace', (s) => isData(s) && (isMachine(s) || DISKS.has(s.type))),
      count('replace', (s) => isMachine(s) && !isData(s)),
      count('update', isMachine),
    ];
    const gone = await this.stack.run(['destroy', '--yes', '--skip-preview', '--stack', 'dev'], this.labs.env);
    if (gone.code !== 0) throw new Error(gone.text.slice(-4000));
    return row;
  }
}

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
const rule = (columns: number): string => line(Array.from({ length: columns }, () => '---'));
const short = (type: string): string => type.replace('pulumi-nodejs:dynamic/nxnw:', '').replace(/\/\w+:/, ':');

async function printPreviews(clouds: Clouds, kinds: readonly Kind[]): Promise<void> {
  const found = new Map<Kind, Awaited<ReturnType<Clouds['first']>>>();
  for (const kind of kinds) found.set(kind, await clouds.first(kind));
  const types = [...new Set([...found.values()].flatMap((f) => f.steps.map((s) => short(s.type))))].sort();
  const row = (name: string, of: (f: Awaited<ReturnType<Clouds['first']>>) => number | string) =>
    console.log(line([name, ...[...found.values()].map((f) => String(of(f)))]));
  console.log(line(['resource', ...kinds]));
  console.log(rule(1 + kinds.length));
  for (const type of types) row(type, (f) => f.steps.filter((s) => short(s.type) === type).length || '');
  row('all', (f) => f.steps.length);
  row('seconds', (f) => f.ran.seconds.toFixed(1));
  row('MiB', (f) => f.ran.mib.toFixed(0));
}

async function main(): Promise<void> {
  const kinds = WANTED.filter((k) => (k !== 'ec2' && k !== 'eucalyptus') || terraformAws() !== undefined);
  for (const k of WANTED.filter((w) => !kinds.includes(w)))
    console.log(`${k}: not run: no executable of terraform-provider-aws (TF_PROVIDER_AWS)`);
  const stack = new TestStack("module.exports = require('@nxnw/stacks');");
  let clouds: Clouds | undefined;
  try {
    clouds = await Clouds.start(stack);
    await printPreviews(clouds, kinds);
    console.log(`\n${line(['kind', 'made on', 'store machines and disks replaced', 'other machines replaced', 'machines changed in place'])}`); // prettier-ignore
    console.log(rule(5));
    for (const kind of kinds) console.log(line(await clouds.bump(kind)));
  } finally {
    await clouds?.stop();
    stack.remove();
  }
}

void main();
