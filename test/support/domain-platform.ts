import assert from 'node:assert/strict';
import { through, tinyApp, until } from './agents.js';
import type { PlatformStack } from './platform-stack.js';
import { SteadyClients } from './steady-clients.js';

const PORT = 8080;
const HOST = 'shop.test';
export const MACHINES = ['data-1', 'app-1', 'app-2', 'edge-1'] as const;
/** Name of a machine's domain. */
export const domainOf = (machine: string): string => `shop-dev-${machine}`;

/** A host of domains, with the platform's stack. */
export interface DomainPlatform {
  readonly stack: PlatformStack;
  /** Address of the edge. */
  readonly edge: string;
  /** Files of the host: the image, and a newer one that is planned and not taken. */
  readonly image: string;
  readonly newer: string;
  /** Longest wait for clients to be served, and for a machine made anew to serve, ms. */
  readonly lateMs: number;
  /** Block of `nxnw:cloud`, with two app machines. */
  cloud(image: string): Readonly<Record<string, unknown>>;
  virsh(...args: string[]): Promise<string>;
}

const seconds = (sinceMs: number): string => `${String(Math.round((Date.now() - sinceMs) / 1000))} s`;

/** Adds the tests that every such platform passes, but for its end. */
export function addDomainPlatformTests(tests: () => DomainPlatformTests): void {
  it('starts its machines from the image, enrols them, and serves an application', () => tests().starts());
  it('is quiet while nothing changes', () => tests().quiet());
  it('keeps its data machines when the image is a newer one', () => tests().keepsDataMachines());
  it('makes a machine anew that was destroyed by force, and its clients see no error', () => tests().losesMachine());
}

/** The tests of a platform of {@link MACHINES} on domains, one after another: it is made, changed, damaged and removed. */
export class DomainPlatformTests {
  private readonly bundle = tinyApp();

  constructor(private readonly p: DomainPlatform) {}

  private configure(image: string): void {
    this.p.stack.configure({
      'nxnw:platform': { name: 'shop', protect: false },
      'nxnw:cloud': this.p.cloud(image),
      'nxnw:store': { diskGiB: 2 },
      'nxnw:apps': [{ id: 'shop', bundle: this.bundle, instances: 2, domains: [HOST] }],
    });
  }

  private ask() {
    return through(this.p.edge, PORT, HOST);
  }

  async starts(): Promise<void> {
    this.configure(this.p.image);
    const began = Date.now();
    const text = await this.p.stack.up();
    console.log(`      up after ${seconds(began)}: ${/\d+ created/.exec(text)?.[0] ?? ''}`);
    const seen = await this.ask();
    assert.equal(seen.status, 200);
    assert.equal(seen.env['MEMCACHE_SERVERS']?.split(',').length, 2);
  }

  quiet(): Promise<void> {
    return this.p.stack.quiet();
  }

  async keepsDataMachines(): Promise<void> {
    this.configure(this.p.newer);
    const steps = (await this.p.stack.planned()).filter((s) => s.op !== 'create');
    const replaced = steps.filter((s) => s.type.endsWith('LibvirtDomain') && s.op === 'replace').map((s) => s.name);
    assert.equal(replaced.length, MACHINES.length - 1, replaced.join());
    assert.deepEqual(
      steps.filter((s) => s.name.includes('data-1')),
      [],
    );
    this.configure(this.p.image);
  }

  /** One of two app machines is destroyed and undefined while clients ask, and made anew. */
  async losesMachine(): Promise<void> {
    const { stack, edge, lateMs, virsh } = this.p;
    const domain = domainOf('app-2');
    const uuid = () => virsh('domuuid', domain);
    const before = await uuid();
    const clients = new SteadyClients(edge, PORT, HOST);
    const began = Date.now();
    try {
      await until('clients are served', lateMs, () => Promise.resolve(clients.answered > 20));
      await clients.between(async () => {
        await virsh('destroy', domain);
        await virsh('undefine', domain);
      });
      await stack.refresh();
      const lost = await stack.planned();
      assert.ok(lost.some((s) => s.op === 'create' && s.name.endsWith('app-2')), JSON.stringify(lost)); // prettier-ignore
      await stack.up();
      console.log(`      destroyed, refreshed and up again after ${seconds(began)}`);
      assert.notEqual(await uuid(), before);
      const { pid } = await this.ask();
      await until('both machines serve', lateMs, async () => (await this.ask()).pid !== pid);
    } finally {
      await clients.end();
    }
    console.log(
      `      ${String(clients.answered)} requests answered, the longest after ${String(clients.longestMs)} ms`,
    );
    assert.deepEqual(clients.failures, []);
    await stack.quiet();
  }

  /** @param own names of what the host has without a platform */
  async goes(own: readonly string[]): Promise<void> {
    const { stack, virsh } = this.p;
    assert.equal((await this.ask()).status, 200);
    const began = Date.now();
    await stack.destroy();
    console.log(`      destroyed after ${seconds(began)}`);
    const lists = [
      ['list', '--all', '--name'],
      ['vol-list', 'nxnw'],
      ['net-list', '--all', '--name'],
    ];
    for (const list of lists) {
      const left = (await virsh(...list)).split('\n').map((line) => line.trim());
      assert.deepEqual(
        left.filter((line) => line !== '' && !own.includes(line)),
        [],
        list[0],
      );
    }
  }
}
