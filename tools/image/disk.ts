import { copyFileSync, openSync, closeSync, readFileSync, realpathSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs'; // prettier-ignore
import { join, relative } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import { findProgram } from '../paths.js';
import { run, say } from '../setup/run.js';
import { ROOT_LABEL } from './files.js';

const STEP_MS = 10 * 60_000;
const SECTOR = 512;
const MIB = 1024 * 1024;
/** Of the disk; a machine with a larger one grows the file system at its first boot. */
export const DISK_BYTES = 3 * 1024 * MIB;
/** Where the partition begins; GRUB lies between it and the first sector. */
const PARTITION_BYTES = MIB;
/** Of the first sector: what GRUB's boot.img has in it, then the disk's number and the table. */
const BOOT_CODE_BYTES = 440;
const TABLE_AT = 446;
const MODULES = ['biosdisk', 'part_msdos', 'ext2', 'normal', 'linux', 'echo', 'test', 'ls', 'serial', 'terminal'];
/** GRUB 2.06 does not read file systems that have these. */
const WITHOUT = '^metadata_csum_seed,^orphan_file';

/** The first sector: GRUB's boot.img, which loads what lies from the second sector on, and one bootable partition. */
export function firstSector(bootImg: Buffer, diskBytes: number): Buffer {
  const sector = Buffer.alloc(SECTOR);
  bootImg.copy(sector, 0, 0, BOOT_CODE_BYTES);
  sector.write('nxnw', BOOT_CODE_BYTES, 'latin1');
  const noChs = [0xfe, 0xff, 0xff];
  const linux = 0x83;
  sector.set([0x80, ...noChs, linux, ...noChs], TABLE_AT);
  sector.writeUInt32LE(PARTITION_BYTES / SECTOR, TABLE_AT + 8);
  sector.writeUInt32LE((diskBytes - PARTITION_BYTES) / SECTOR, TABLE_AT + 12);
  sector.writeUInt16LE(0xaa55, SECTOR - 2);
  return sector;
}

/**
 * Makes a disk of the folder `root`: one partition with ext4, and GRUB for BIOS.
 * @throws SETUP_FAILED, SETUP_TIMEOUT
 */
export async function makeDisk(root: string, raw: string): Promise<void> {
  say('image: making the disk');
  const core = '/tmp/core.img';
  const prefix = ['-O', 'i386-pc', '-p', '(hd0,msdos1)/boot/grub', '-o', core];
  await run(findProgram('chroot') ?? 'chroot', [root, 'grub-mkimage', ...prefix, ...MODULES], {
    what: 'make the boot loader',
    deadlineMs: STEP_MS,
    onFailure: "See tools/image/packages.ts for GRUB's packages.",
  });
  const coreImg = readFileSync(join(root, core));
  rmSync(join(root, core));
  if (coreImg.length > PARTITION_BYTES - SECTOR)
    throw new NxnwError(
      'SETUP_FAILED',
      `the boot loader has ${String(coreImg.length)} bytes, and ${String(PARTITION_BYTES - SECTOR)} fit before the partition; name fewer modules in tools/image/disk.ts`,
    );
  const bootImg = readFileSync(join(root, 'usr', 'lib', 'grub', 'i386-pc', 'boot.img'));
  writeFileSync(raw, '');
  truncateSync(raw, DISK_BYTES);
  const fileSystem = ['-q', '-F', '-L', ROOT_LABEL, '-O', WITHOUT, '-E', `offset=${String(PARTITION_BYTES)}`];
  const kib = String((DISK_BYTES - PARTITION_BYTES) / 1024) + 'k';
  await run(findProgram('mkfs.ext4') ?? 'mkfs.ext4', [...fileSystem, '-d', root, raw, kib], {
    what: "make the image's file system",
    deadlineMs: STEP_MS,
    onFailure: `Is there room on the disk? The image has ${String(DISK_BYTES / MIB)} MiB (tools/image/disk.ts).`,
  });
  const file = openSync(raw, 'r+');
  try {
    writeSync(file, firstSector(bootImg, DISK_BYTES), 0, SECTOR, 0);
    writeSync(file, coreImg, 0, coreImg.length, SECTOR);
  } finally {
    closeSync(file);
  }
}

/** The same disk as qcow2. @throws SETUP_FAILED, SETUP_TIMEOUT */
export async function makeQcow2(raw: string, qcow2: string): Promise<void> {
  say('image: making the qcow2');
  await run(findProgram('qemu-img') ?? 'qemu-img', ['convert', '-c', '-O', 'qcow2', raw, qcow2], {
    what: 'convert the image to qcow2',
    deadlineMs: STEP_MS,
    onFailure: 'Is there room on the disk?',
  });
}

/** Copies kernel and initrd out of the root, for hosts that start machines with them. */
export function copyKernel(root: string, dir: string): void {
  for (const [link, name] of [
    ['vmlinuz', 'vmlinuz'],
    ['initrd.img', 'initrd.img'],
  ] as const)
    // prettier-ignore
    copyFileSync(join(root, relative(realpathSync(root), realpathSync(join(root, link)))), join(dir, name));
}
