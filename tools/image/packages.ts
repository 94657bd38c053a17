/** Debian's release of the image. */
export const SUITE = 'bookworm';
/** As package addresses (purl) have it. */
export const DISTRO = 'debian-12';

/** Debian packages of the image, besides what they depend on; no recommended ones. What each group is for: */
export const PACKAGES: readonly string[] = [
  // a system that starts, with its own names and time (certificates need the time)
  ...['systemd', 'systemd-sysv', 'systemd-resolved', 'systemd-timesyncd', 'udev', 'dbus', 'procps', 'sudo'],
  ...['linux-image-cloud-amd64', 'initramfs-tools', 'zstd', 'grub-common', 'grub-pc-bin'],
  // user data; EC2's metadata is asked over a lease of dhclient; growpart needs sfdisk
  ...['cloud-init', 'cloud-guest-utils', 'fdisk', 'isc-dhcp-client', 'iproute2', 'openssh-server', 'ca-certificates'],
  // the first-boot scripts of the user data: blkid, wipefs, lsblk, mkfs.ext4, python3, tar, sha256sum
  ...['util-linux', 'e2fsprogs', 'python3', 'tar', 'coreutils'],
  // what the release's roles and Node need and the release has not
  ...['openjdk-17-jre-headless', 'memcached', 'haproxy', 'knot', 'libstdc++6'],
];

/** Units that packages enable and a machine must not run: the agent starts the roles' own processes. */
export const MASKED_UNITS: readonly string[] = [
  ...['memcached.service', 'haproxy.service', 'knot.service'],
  // a machine is replaced by one of a newer image, and its first boot needs no mirror
  ...['apt-daily.timer', 'apt-daily-upgrade.timer', 'apt-daily.service', 'apt-daily-upgrade.service'],
  ...['e2scrub_reap.service', 'e2scrub_all.timer', 'systemd-pstore.service'],
];

/** A package that is installed in an image. */
export interface InstalledPackage {
  readonly name: string;
  readonly version: string;
  readonly arch: string;
}

/** Format of dpkg-query for lines that `parsePackages` reads. */
export const PACKAGE_LINE = '${Package}\\t${Version}\\t${Architecture}\\n';

/** Lines of name, version, architecture -> packages by name; the package list file is those lines. */
export function parsePackages(text: string): InstalledPackage[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [name = '', version = '', arch = ''] = line.split('\t');
      return { name, version, arch };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}
