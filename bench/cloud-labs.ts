import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureTools, repoRoot, terraformAws } from '@nxnw/tools';
import { builtRelease, ensureRelease } from '@nxnw/tools/release/build';
import { Sshd } from '@nxnw/test/providers-live/sshd';
import { LibvirtLab, whyNoLab } from '@nxnw/test/support/libvirt-lab';
import { AWS_TEST_ENV, MOTO_IMAGES, MotoEc2 } from '@nxnw/test/support/moto-ec2';
import { DOUBLE_IMAGE, DOUBLE_IMAGE_2, OpenstackDouble } from '@nxnw/test/support/openstack-double';

export const KINDS = ['local', 'hosts', 'kvm', 'xen', 'ec2', 'eucalyptus', 'openstack'] as const;
export type Kind = (typeof KINDS)[number];

const MOTO = '127.66.1.1';
const OPENSTACK = '127.66.1.2';
const SSHD = '127.66.1.3';
/** Addresses of the machines that are there already. */
const HOSTS = '127.66.2';

/** What stands in for the clouds on this machine, and the blocks of a stack file that lead to it. */
export interface Labs {
  /** Of every kind; with `bumped` all name another image. */
  readonly blocks: (bumped: boolean) => Record<string, unknown>;
  readonly env: Readonly<Record<string, string>>;
  /** Kinds whose state an `up` makes here, with what answers it. */
  readonly answers: Readonly<Partial<Record<Kind, string>>>;
  /** Kinds that get no `up` here, with the reason. */
  readonly refusals: Readonly<Partial<Record<Kind, string>>>;
  /** Has another release in the project: what an image is to machines that are there already. */
  readonly bumpRelease: () => void;
  readonly stop: () => Promise<void>;
}

/** Starts all of them; `dir` is the project. */
export async function startLabs(dir: string): Promise<Labs> {
  await ensureTools(['pulumi', 'py', 'sshd', 'zookeeper', 'cassandra', 'memcached', 'haproxy']);
  const started: { stop(): Promise<void> }[] = [];
  const keep = <T extends { stop(): Promise<void> }>(lab: T): T => {
    started.push(lab);
    return lab;
  };
  try {
    const moto = keep(await MotoEc2.start(MOTO));
    const openstack = keep(await OpenstackDouble.start(OPENSTACK));
    const sshd = keep(await Sshd.start(join(dir, 'sshd'), SSHD));
    const whyNot = whyNoLab();
    const libvirt = whyNot === null ? await LibvirtLab.start() : undefined;
    if (libvirt !== undefined) keep({ stop: () => libvirt.destroy() });
    const images = libvirt && [
      await libvirt.image('a.qcow2', 'qcow2', 64),
      await libvirt.image('b.qcow2', 'qcow2', 64),
    ];
    await placeRelease(dir);
    const noAws =
      terraformAws() === undefined ? 'no executable of terraform-provider-aws (TF_PROVIDER_AWS)' : undefined;
    return {
      blocks: (bumped) => blocksOf({ moto, sshd, libvirt, image: images?.[bumped ? 1 : 0], dir, bumped }),
      env: { ...AWS_TEST_ENV, ...openstack.env, NXNW_HOME: dir, PULUMI_CONFIG_PASSPHRASE: 'x' },
      answers: {
        hosts: 'a real sshd',
        openstack: "a double of OpenStack's APIs",
        ...(libvirt === undefined ? {} : { kvm: 'a real libvirtd' }),
        ...(noAws === undefined ? { ec2: 'moto', eucalyptus: 'moto' } : {}),
      },
      refusals: {
        local: 'has no image',
        xen: 'needs a host with Xen',
        ...(whyNot === null ? {} : { kvm: whyNot }),
        ...(noAws === undefined ? {} : { ec2: noAws, eucalyptus: noAws }),
      },
      bumpRelease: () => describeRelease(dir, 'package.json', 'b'.repeat(64)),
      stop: () => stopAll(started),
    };
  } catch (e) {
    await stopAll(started);
    throw e;
  }
}

async function stopAll(labs: readonly { stop(): Promise<void> }[]): Promise<void> {
  for (const lab of [...labs].reverse()) await lab.stop();
}

interface Places {
  readonly moto: MotoEc2;
  readonly sshd: Sshd;
  readonly libvirt: LibvirtLab | undefined;
  readonly image: string | undefined;
  readonly dir: string;
  readonly bumped: boolean;
}

function blocksOf({ moto, sshd, libvirt, image, dir, bumped }: Places): Record<string, unknown> {
  const access = { operators: ['203.0.113.0/24'] };
  const size = { vcpus: 1, memoryMiB: 256 };
  const { user, host, port, keys } = sshd;
  const machine = (group: string, n: number) => ({ group, address: `${HOSTS}.${String(n)}`, ssh: host });
  const libvirtBlock = { access, sizes: { data: size, app: size, edge: size } };
  return {
    ec2: {
      access,
      image: bumped ? MOTO_IMAGES[1] : MOTO_IMAGES[0],
      endpoints: { ec2: moto.url, iam: moto.url, sts: moto.url },
    },
    eucalyptus: {
      access,
      // moto knows Amazon's regions only
      region: 'eu-west-1',
      image: bumped ? MOTO_IMAGES[1] : MOTO_IMAGES[0],
      endpoints: { ec2: moto.url },
    },
    openstack: { access, image: bumped ? DOUBLE_IMAGE_2 : DOUBLE_IMAGE, externalNetwork: 'public' },
    kvm: {
      ...libvirtBlock,
      ...(libvirt === undefined ? {} : { hosts: [libvirt.uri] }),
      ...(image === undefined ? {} : { image }),
    },
    xen: { ...libvirtBlock, image: bumped ? '/srv/b.img' : '/srv/a.img' },
    hosts: {
      ...{ user, port, privateKey: keys.plain, directory: join(dir, 'hosts') },
      hosts: [machine('data', 1), machine('data', 2), machine('app', 3), machine('edge', 4)],
    },
  };
}

/** The release of this checkout, as the project's own. */
async function placeRelease(dir: string): Promise<void> {
  await ensureRelease();
  const release = builtRelease();
  if (release === undefined) throw new Error('the release was built');
  mkdirSync(join(dir, '.nxnw', 'release'), { recursive: true });
  symlinkSync(join(repoRoot, '.nxnw', 'release', release.archive), join(dir, '.nxnw', 'release', release.archive));
  symlinkSync(join(repoRoot, 'package.json'), join(dir, '.nxnw', 'release', 'package.json'));
  describeRelease(dir, release.archive, release.sha256);
}

function describeRelease(dir: string, archive: string, sha256: string): void {
  writeFileSync(join(dir, '.nxnw', 'release', 'release.json'), JSON.stringify({ archive, sha256 }));
}
