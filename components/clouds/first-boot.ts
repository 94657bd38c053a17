/** Folder of the machine: its agent's, as `LocalMachine.directory` is on the local cloud. */
export const MACHINE_DIR = '/var/lib/nxnw';
/** Where the release lies, Node and all. */
const RELEASE_DIR = '/opt/nxnw';
/** Debian's part of what roles need, for an image that does not have it. */
export const PACKAGES: readonly string[] = ['openjdk-17-jre-headless', 'memcached', 'haproxy'];
/** File system of a machine's own disk. */
export const DISK_LABEL = 'nxnw-data';

/**
 * The agent as a service. Roles outlive it (KillMode), it ends to be started again with a new key (Restart), and it does
 * not start without the disk that its roles' data is on (RequiresMountsFor).
 */
export const SERVICE = `[Unit]
Description=nxnw agent
Wants=network-online.target
After=network-online.target
RequiresMountsFor=${MACHINE_DIR}/roles
StartLimitIntervalSec=0

[Service]
Environment=NXNW_HOME=${RELEASE_DIR}
ExecStart=${RELEASE_DIR}/bin/node ${RELEASE_DIR}/platform/dist/agent/main.js --dir ${MACHINE_DIR}
Restart=always
RestartSec=1
KillMode=process

[Install]
WantedBy=multi-user.target
`;

/**
 * nxnw-first-boot own|none [URL SHA256]: installs the release if one is given, has the disk mounted if there is one, and
 * only then starts the agent. A step that fails ends it, and the console shows which.
 */
export const FIRST_BOOT = `#!/bin/sh
set -eu
disk="$1" url="\${2:-}" sha256="\${3:-}"
if [ -n "$url" ]; then
  archive="$(mktemp)"
  n=0
  until python3 -c 'import shutil, sys, urllib.request as u
with u.urlopen(sys.argv[1], timeout=60) as i, open(sys.argv[2], "wb") as o: shutil.copyfileobj(i, o)' "$url" "$archive"
  do
    n=$((n + 1))
    [ "$n" -lt 10 ] || { echo "nxnw-first-boot: the release cannot be fetched from $url" >&2; exit 1; }
    sleep 5
  done
  echo "$sha256  $archive" | sha256sum --check --status ||
    { echo "nxnw-first-boot: what $url gave has not the digest $sha256; nothing was installed" >&2; exit 1; }
  mkdir -p ${RELEASE_DIR}
  tar --extract --file "$archive" --directory ${RELEASE_DIR} --no-same-owner
  rm -f "$archive"
fi
[ "$disk" = none ] || /usr/local/sbin/nxnw-mount-disk
systemctl daemon-reload
systemctl enable --now nxnw-agent.service
echo "nxnw-first-boot: done"
`;

/**
 * nxnw-mount-disk: mounts the disk labelled ${DISK_LABEL} at the roles' folder, now and at each boot. If there is none
 * yet, waits (clouds attach disks after the start) for one disk that is blank, which becomes it. A disk with anything on
 * it (a partition table, a file system, any other signature) is never written to; of several blank ones none is taken.
 */
export const MOUNT_DISK = `#!/bin/sh
set -eu
label=${DISK_LABEL}
where=${MACHINE_DIR}/roles
seconds="\${NXNW_DISK_WAIT_S:-600}"
fail() { echo "nxnw-mount-disk: $1" >&2; exit 1; }
labelled() { blkid -c /dev/null --match-token "LABEL=$label" --output device || true; }
blank() { # signatures and partitions are asked of the disk itself, by two programs
  [ -n "$1" ] && found="$(wipefs --no-act --noheadings "$1")" && [ -z "$found" ] || return 1
  status=0
  blkid -c /dev/null --probe "$1" >/dev/null || status=$?
  [ "$status" -eq 2 ] && [ "$(lsblk --noheadings --raw --output NAME "$1" | wc -l)" -eq 1 ]
}
blanks() {
  lsblk --nodeps --noheadings --raw --output PATH,TYPE,RO | while read -r path type ro; do
    [ "$type" = disk ] && [ "$ro" = 0 ] && blank "$path" && echo "$path" || true
  done
}
waited=0
until [ -n "$(labelled)" ]; do
  found="$(blanks)"
  case "$(echo "$found" | grep -c . || true)" in
    0) [ "$waited" -lt "$seconds" ] || fail "no disk labelled $label and no blank one came within $seconds s" ;;
    1) mkfs.ext4 -q -L "$label" "$found"; continue ;;
    *) fail "several disks are blank, and it is not known which is the data's: $(echo $found); label one: mkfs.ext4 -L $label DISK" ;;
  esac
  sleep 2
  waited=$((waited + 2))
done
[ "$(labelled | wc -l)" -eq 1 ] || fail "several disks are labelled $label: $(echo $(labelled)); detach all but one"
mkdir -p "$where"
grep -q "^LABEL=$label " /etc/fstab ||
  echo "LABEL=$label $where ext4 defaults,nofail,x-systemd.device-timeout=600 0 2" >>/etc/fstab
mountpoint -q "$where" || mount "$where"
`;
