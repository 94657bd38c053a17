import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, rmdirSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { MACHINE_DIR } from '@nxnw/components/clouds/first-boot';
import { pythonPath, repoRoot } from '@nxnw/tools';
import { z } from 'zod';
import { until } from './agents.js';
import { AwsSdk } from './aws-sdk.js';
import { firstBootOf, LabMachine, type FirstBoot } from './lab-machine.js';
import { LabNetwork } from './lab-network.js';
import { answers } from './reach.js';

const REGION = 'us-east-1';
const LOOK_MS = 500;

const instance = z.object({
  InstanceId: z.string(),
  State: z.object({ Name: z.string() }),
  PrivateIpAddress: z.string().optional(),
  PublicIpAddress: z.string().optional(),
  BlockDeviceMappings: z
    .array(z.object({ DeviceName: z.string(), Ebs: z.object({ VolumeId: z.string() }) }))
    .default([]),
  Tags: z.array(z.object({ Key: z.string(), Value: z.string() })).default([]),
});
const instances = z.object({ Reservations: z.array(z.object({ Instances: z.array(instance) })) });
const userData = z.object({ UserData: z.object({ Value: z.string() }) });
export type Ec2Instance = z.output<typeof instance>;

export interface Ec2LabOptions {
  /** First two parts of every address: `127.63`. */
  readonly base: string;
  /** Third parts of the API's address and of the public ones. */
  readonly api: number;
  readonly publics: number;
  /** Third parts of the subnets' addresses. */
  readonly subnets: readonly number[];
  /** Ports that public addresses pass on to their machines. */
  readonly ports: readonly number[];
  /** @default 'ec2' */
  readonly kind?: 'ec2' | 'eucalyptus';
  /** @default 'us-east-1' */
  readonly region?: string;
}

/** An instance that runs, or is stopped. */
interface Hosted {
  readonly machine: LabMachine;
  readonly address: string;
  readonly boot: FirstBoot;
}

/**
 * A cloud that speaks EC2's API: moto for the API, and its hypervisor, which starts what `DescribeInstances` tells of: a
 * machine in namespaces of the kernel, set up by its user data, at its private address; its public one is passed on to
 * it. A stopped instance loses its power and keeps its disks, a terminated one keeps those that are volumes.
 */
export class Ec2Lab {
  readonly dir = mkdtempSync(join(tmpdir(), 'nxnw-ec2-'));
  /** Of the test's own questions. */
  readonly sdk: AwsSdk;
  private readonly own: AwsSdk;
  private readonly hosted = new Map<string, Hosted>();
  private readonly passed = new Map<string, readonly Server[]>();
  private readonly ending = new AbortController();
  private watching: Promise<void> = Promise.resolve();
  private readonly madeFolder = !existsSync(MACHINE_DIR);

  private constructor(
    private readonly o: Ec2LabOptions,
    readonly endpoint: string,
    private readonly moto: ChildProcess,
    private readonly network: LabNetwork,
  ) {
    this.sdk = new AwsSdk(endpoint, o.region ?? REGION);
    this.own = new AwsSdk(endpoint, o.region ?? REGION);
  }

  static async start(o: Ec2LabOptions): Promise<Ec2Lab> {
    const host = `${o.base}.${o.api}.1`;
    const log = openSync(join(tmpdir(), `moto-${o.kind ?? 'ec2'}.log`), 'w');
    const args = [join(repoRoot, 'test', 'ec2', 'cloud.py'), host, '5000', `${o.base}.${o.publics}`, o.kind ?? 'ec2'];
    const moto = spawn(pythonPath, args, { stdio: ['ignore', log, log] });
    process.once('exit', () => moto.kill('SIGKILL'));
    const network = await LabNetwork.start(
      `${o.base}.0.0/16`,
      o.subnets.map((s) => `${o.base}.${s}.0/24`),
    );
    const lab = new Ec2Lab(o, `http://${host}:5000`, moto, network);
    await until('moto', 60_000, () => answers(host, 5000));
    if (lab.madeFolder) mkdirSync(MACHINE_DIR, { recursive: true });
    lab.watching = lab.watch();
    return lab;
  }

  /** All instances that are not terminated, by the machine that each is. */
  async instances(): Promise<ReadonlyMap<string, Ec2Instance>> {
    const all = await this.describe(this.sdk);
    const named = all.map((i) => [i.Tags.find((t) => t.Key === 'nxnw:machine')?.Value ?? i.InstanceId, i] as const);
    return new Map(named.filter(([, i]) => i.State.Name !== 'terminated'));
  }

  /** Folder of an instance's agent: what lies on its root disk. */
  folder(instanceId: string): string {
    return join(this.dir, instanceId);
  }

  /** Ends everything on an instance as a power cut does; the API learns nothing of it. */
  async powerCut(instanceId: string): Promise<void> {
    await this.hosted.get(instanceId)?.machine.off();
    this.dark.add(instanceId);
  }
  private readonly dark = new Set<string>();

  /** What an instance's agent has printed. */
  console(instanceId: string): string {
    return readFileSync(join(this.folder(instanceId), 'console'), 'utf8');
  }

  private async describe(sdk: AwsSdk): Promise<Ec2Instance[]> {
    const { Reservations } = await sdk.call(instances, 'ec2', 'describe_instances');
    return Reservations.flatMap((r) => r.Instances);
  }

  private async watch(): Promise<void> {
    while (!this.ending.signal.aborted) {
      for (const i of await this.describe(this.own)) await this.follow(i);
      await delay(LOOK_MS);
    }
  }

  /** Makes of the machine what the API says about the instance. */
  private async follow(i: Ec2Instance): Promise<void> {
    const known = this.hosted.get(i.InstanceId);
    switch (i.State.Name) {
      case 'running': {
        if (this.dark.has(i.InstanceId)) return;
        const hosted = known ?? (await this.make(i));
        const volume = i.BlockDeviceMappings.find((b) => b.DeviceName === '/dev/sdf')?.Ebs.VolumeId;
        if (!hosted.machine.isOn && (volume !== undefined || !hosted.boot.ownDisk))
          hosted.machine.on(hosted.boot.ownDisk && volume !== undefined ? this.disk(volume) : '');
        await this.passOn(i, hosted.address);
        return;
      }
      case 'terminated':
        await this.unmake(i.InstanceId);
        return;
      default:
        await known?.machine.off();
    }
  }

  private async make(i: Ec2Instance): Promise<Hosted> {
    const address = i.PrivateIpAddress ?? '';
    const asked = { InstanceId: i.InstanceId, Attribute: 'userData' };
    const { UserData } = await this.own.call(userData, 'ec2', 'describe_instance_attribute', asked);
    const boot = firstBootOf(Buffer.from(UserData.Value, 'base64').toString());
    const machine = new LabMachine(this.folder(i.InstanceId), await this.network.add(address));
    machine.write(boot);
    const hosted = { machine, address, boot };
    this.hosted.set(i.InstanceId, hosted);
    return hosted;
  }

  private async unmake(instanceId: string): Promise<void> {
    const known = this.hosted.get(instanceId);
    if (known === undefined) return;
    this.hosted.delete(instanceId);
    this.dark.delete(instanceId);
    await known.machine.off();
    await this.network.remove(known.address);
    rmSync(known.machine.dir, { recursive: true, force: true });
  }

  private disk(volumeId: string): string {
    const dir = join(this.dir, volumeId);
    mkdirSync(dir, { recursive: true });
    return dir;
  }

  /** What the cloud's gateway does for a public address. */
  private async passOn(i: Ec2Instance, address: string): Promise<void> {
    const from = i.PublicIpAddress;
    if (from === undefined || this.passed.has(`${from} ${address}`)) return;
    for (const [key, servers] of this.passed)
      if (key.startsWith(`${from} `) || key.endsWith(` ${address}`)) {
        for (const s of servers) s.close();
        this.passed.delete(key);
      }
    this.passed.set(`${from} ${address}`, await Promise.all(this.o.ports.map((port) => passing(from, address, port))));
  }

  /** Ends the hypervisor, everything that it runs, and moto. */
  async stop(): Promise<void> {
    this.ending.abort();
    await this.watching;
    for (const id of [...this.hosted.keys()]) await this.unmake(id);
    for (const servers of this.passed.values()) for (const s of servers) s.close();
    await this.network.stop();
    this.sdk.stop();
    this.own.stop();
    this.moto.kill('SIGKILL');
    if (this.madeFolder) rmdirSync(MACHINE_DIR);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A listener whose connections are passed on to the same port of `to`. */
async function passing(from: string, to: string, port: number): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const onward = connect({ host: to, port, allowHalfOpen: true });
    client.pipe(onward).pipe(client);
    client.on('error', () => onward.destroy());
    onward.on('error', () => client.destroy());
    client.on('close', () => onward.destroy());
    onward.on('close', () => client.destroy());
  });
  await new Promise<void>((ok, fail) => server.once('error', fail).listen(port, from, ok));
  server.unref();
  return server;
}
