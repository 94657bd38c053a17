/** Label of the root file system; a kernel that is given from outside the image starts with `root=LABEL=` of it. */
export const ROOT_LABEL = 'nxnw-root';

/**
 * An emulated machine on a busy host may get its first timer interrupts late, which the kernel takes for a broken board;
 * one that panics starts again.
 */
const KERNEL_ARGS = `root=LABEL=${ROOT_LABEL} ro console=tty0 console=ttyS0,115200 no_timer_check panic=30`;

/** Debian's kernel package keeps the links /vmlinuz and /initrd.img; GRUB and pygrub read this. */
const GRUB = `set timeout=0
menuentry 'nxnw' {
  linux /vmlinuz ${KERNEL_ARGS}
  initrd /initrd.img
}
`;

/**
 * Where user data comes from is looked up (ds-identify), not tried out: a machine that has a seed asks no network.
 * Modules: those that a machine of a platform needs.
 */
const CLOUD = `datasource_list: [NoCloud, ConfigDrive, OpenStack, Ec2, None]
system_info:
  network:
    renderers: [networkd]
ssh_genkeytypes: [ed25519, ecdsa]
cloud_init_modules: [seed_random, bootcmd, write-files, growpart, resizefs, disk_setup, mounts, set_hostname, update_hostname, update_etc_hosts, ca-certs, users-groups, ssh]
cloud_config_modules: [set-passwords, timezone, runcmd]
cloud_final_modules: [write-files-deferred, scripts-vendor, scripts-per-once, scripts-per-boot, scripts-per-instance, scripts-user, final-message]
`;

const APT = `deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-updates main
deb http://deb.debian.org/debian-security bookworm-security main
`;

/** Files of the image by path. */
export const FILES: Readonly<Record<string, string>> = {
  '/boot/grub/grub.cfg': GRUB,
  '/etc/cloud/cloud.cfg.d/90-nxnw.cfg': CLOUD,
  '/etc/fstab': `LABEL=${ROOT_LABEL} / ext4 defaults,noatime,errors=remount-ro 0 1\n`,
  '/etc/apt/sources.list': APT,
  '/etc/ssh/sshd_config.d/nxnw.conf': 'PasswordAuthentication no\n',
  '/etc/hostname': 'nxnw\n',
  // empty: each machine makes its own at its first boot
  '/etc/machine-id': '',
};
