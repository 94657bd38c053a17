import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { seedImage } from '@nxnw/migration/resources/engines/libvirt/seed';
import { findProgram } from '@nxnw/tools';

/** QEMU's own network: the machine's address, and the router's. */
export const GUEST = '10.0.2.15';
const ROUTER = '10.0.2.2';
const MAC = '52:54:00:6e:78:01';
const AGENT_PORT = 7400;

export interface QemuOptions {
  /** Folder for its disks and its console's text. */
  readonly dir: string;
  /** The image's disk, raw; it is not written to. */
  readonly raw: string;
  /** Bytes of the machine's disk. */
  readonly diskBytes: number;
  readonly userData: string;
  /** On 127.0.0.1, leads to the machine's agent. */
  readonly port: number;
  /** A second, blank disk of so many bytes. @default none */
  readonly dataBytes?: number;
}

/** A machine that QEMU emulates, started by the boot loader of its image. It reaches nobody; its agent is reached. */
export class QemuMachine {
  private constructor(
    private readonly process: ChildProcess,
    private readonly consoleFile: string,
  ) {}

  static async start(o: QemuOptions): Promise<QemuMachine> {
    const disk = join(o.dir, 'disk.qcow2');
    const seed = join(o.dir, 'seed.iso');
    const consoleFile = join(o.dir, 'console.txt');
    const qemuImg = findProgram('qemu-img') ?? 'qemu-img';
    execFileSync(qemuImg, ['create', '-q', '-f', 'qcow2', '-b', o.raw, '-F', 'raw', disk, String(o.diskBytes)]);
    const like = { instanceId: 'data-1-0', hostName: 'data-1', sshKey: '', mac: MAC, dns: [] };
    writeFileSync(
      seed,
      await seedImage({ ...like, userData: o.userData, address: GUEST, prefix: 24, gateway: ROUTER }, 'data-1'),
    );
    const drives = [
      `file=${disk},format=qcow2,if=virtio,cache=unsafe`,
      `file=${seed},format=raw,if=virtio,readonly=on`,
    ];
    if (o.dataBytes !== undefined) {
      const data = join(o.dir, 'data.qcow2');
      execFileSync(qemuImg, ['create', '-q', '-f', 'qcow2', data, String(o.dataBytes)]);
      drives.push(`file=${data},format=qcow2,if=virtio,cache=unsafe`);
    }
    const args = [
      // emulated also where there is KVM: inside of other virtual machines that may fail, and a test is the same everywhere
      ...['-machine', 'q35,accel=tcg', '-cpu', 'max', '-smp', '2', '-m', '1024', '-nodefaults', '-display', 'none'],
      ...['-serial', `file:${consoleFile}`, '-device', 'virtio-rng-pci'],
      ...drives.flatMap((d) => ['-drive', d]),
      ...['-netdev', `user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:${String(o.port)}-${GUEST}:${String(AGENT_PORT)}`],
      ...['-device', `virtio-net-pci,netdev=n,mac=${MAC}`],
    ];
    const child = spawn(findProgram('qemu-system-x86_64') ?? 'qemu-system-x86_64', args, {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    await once(child, 'spawn');
    return new QemuMachine(child, consoleFile);
  }

  /** What the machine wrote on its serial line. */
  console(): string {
    return existsSync(this.consoleFile) ? readFileSync(this.consoleFile, 'latin1') : '';
  }

  get runs(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  async stop(): Promise<void> {
    if (!this.runs) return;
    const gone = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await gone;
  }
}
