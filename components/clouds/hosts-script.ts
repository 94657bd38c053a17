import type { HostsSettings, MachineGroup } from './settings.js';

/** Programs that a group's roles need, and the Debian packages that have them. */
const PROGRAMS: Readonly<Record<MachineGroup, Readonly<Record<string, string>>>> = {
  data: { java: 'openjdk-17-jre-headless' },
  app: { memcached: 'memcached' },
  edge: { haproxy: 'haproxy' },
};

/** A platform's own folder on its hosts: several platforms may share a host. */
export function hostFolder({ directory }: HostsSettings, platformId: string): string {
  return `${directory}/${platformId}`;
}

export interface HostScript {
  readonly platformId: string;
  readonly machine: string;
  readonly group: MachineGroup;
  /** As the operator's ssh reaches it, for error texts. */
  readonly host: string;
  /** Folder of the machine's agent. */
  readonly directory: string;
  /** What must be free on the host before anything is installed. */
  readonly needs: HostsSettings['needs'][MachineGroup];
  /** Folder of the releases on the host. */
  readonly releases: string;
  /** Digest of the release's archive, hex; it lies there as `SHA256.tar.gz`. */
  readonly sha256: string;
}

/** A word of a shell command, whatever is in it. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** systemd's unit of the machine's agent. */
export function unitOf(s: HostScript): string {
  return `nxnw-agent-${s.platformId}-${s.machine}`;
}

/**
 * Sees that the host has memory and disk for the machine, where it is not there yet; then makes the folder that the
 * release is copied into, for a user who is not root too.
 */
export function folderScript(s: HostScript): string {
  const of = `cloud hosts, machine ${s.machine} of ${s.platformId} at ${s.host}`;
  const next = 'then run nxnw up again; nothing was installed';
  const setting = (what: string) => `nxnw:cloud.hosts.needs.${s.group}.${what}`;
  return `set -eu
folder=${quote(s.releases)}
refuse() { echo "[nxnw:$1] ${of}: $2; ${next}" >&2; exit 1; }
if ! { [ -e ${quote(`${s.directory}/agent.json`)} ] || sudo -n test -e ${quote(`${s.directory}/agent.json`)}; } 2>/dev/null; then
  memory=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
  [ "$memory" -ge ${String(s.needs.memoryMiB)} ] || refuse NO_MEMORY_ON_HOST "$memory MiB of memory are free and ${String(s.needs.memoryMiB)} are needed (${setting('memoryMiB')}); stop what else runs there, or list another host"
  disk="$folder"
  while [ ! -d "$disk" ]; do disk=$(dirname "$disk"); done
  free=$(df -Pm "$disk" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge ${String(s.needs.diskMiB)} ] || refuse NO_SPACE_ON_HOST "$free MiB are free at $disk and ${String(s.needs.diskMiB)} are needed (${setting('diskMiB')}); free some, or give another directory (nxnw:cloud.hosts.directory)"
fi
mkdir -p "$folder" 2>/dev/null || { sudo -n mkdir -p "$folder" && sudo -n chown "$(id -u)" "$folder"; }
[ -w "$folder" ] || sudo -n chown "$(id -u)" "$folder"
`;
}

const prologue = (s: HostScript): string => `set -eu
umask 022
releases=${quote(s.releases)}
machine=${quote(s.machine)}
dir=${quote(s.directory)}
release=${quote(`${s.releases}/${s.sha256}`)}
sha256=${quote(s.sha256)}
unit=${quote(unitOf(s))}
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo -n"
`;

/**
 * Installs the release and what it needs, leaves the enrolment file that comes on standard input where the machine is
 * not enrolled yet, and has the agent run: by systemd where the host has it. Again with the same arguments it changes
 * nothing; with another release the agent is started anew and the roles go on.
 */
export function installScript(s: HostScript): string {
  const programs = Object.entries(PROGRAMS[s.group]);
  return `${prologue(s)}
enrolment=$(cat)
[ -n "$enrolment" ] || { echo "no enrolment file on standard input" >&2; exit 1; }
missing=""
${programs.map(([program, name]) => `command -v ${program} >/dev/null 2>&1 || missing="$missing ${name}"`).join('\n')}
if [ -n "$missing" ]; then
  command -v apt-get >/dev/null || { echo "install$missing on this host: it has no apt-get" >&2; exit 1; }
  $sudo apt-get -qq update >&2
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >&2
fi
$sudo mkdir -p "$release" "$dir"
if [ ! -e "$release/.complete" ]; then
  echo "$sha256  $release.tar.gz" | $sudo sha256sum --quiet -c - >&2
  $sudo tar -xzf "$release.tar.gz" -C "$release"
  $sudo touch "$release/.complete"
fi
$sudo rm -f "$release.tar.gz"
if ! $sudo test -e "$dir/agent.json"; then
  printf '%s\\n' "$enrolment" | $sudo sh -c 'umask 077; cat > "$1/enrol.json.new" && mv "$1/enrol.json.new" "$1/enrol.json"' sh "$dir"
fi
if [ -d /run/systemd/system ]; then
  printf '%s\\n' '[Unit]' "Description=nxnw agent of $machine" 'After=network-online.target' '[Service]' \\
    "ExecStart=$release/bin/node --enable-source-maps $release/platform/dist/agent/main.js --dir $dir" \\
    'Restart=always' 'RestartSec=1' 'KillMode=process' 'LimitNOFILE=65536' '[Install]' 'WantedBy=multi-user.target' \\
    | $sudo sh -c 'cat > "/etc/systemd/system/$1.service.new"' sh "$unit"
  if ! $sudo cmp -s "/etc/systemd/system/$unit.service.new" "/etc/systemd/system/$unit.service"; then
    $sudo mv "/etc/systemd/system/$unit.service.new" "/etc/systemd/system/$unit.service"
    $sudo systemctl daemon-reload
    $sudo systemctl restart "$unit"
  fi
  $sudo rm -f "/etc/systemd/system/$unit.service.new"
  $sudo systemctl enable --now --quiet "$unit"
else
  $sudo "$release/bin/node" "$release/platform/dist/agent/machine-main.js" start --dir "$dir"
fi
echo "agent of $machine runs from $release"
`;
}

/** Ends the agent and its roles, and removes the machine's folder; refused (4) while the machine is held. */
export function removeScript(s: HostScript): string {
  return `${prologue(s)}
[ -x "$release/bin/node" ] || exit 0
if [ -d /run/systemd/system ]; then
  $sudo systemctl disable --now --quiet "$unit" || true
fi
$sudo "$release/bin/node" "$release/platform/dist/agent/machine-main.js" remove --dir "$dir" || {
  code=$?
  [ ! -d /run/systemd/system ] || $sudo systemctl enable --now --quiet "$unit"
  exit $code
}
# one that was never enrolled has no record by which it is found
for p in /proc/[0-9]*; do
  case "$(tr '\\0' ' ' < "$p/cmdline" 2>/dev/null)" in
    *"/platform/dist/agent/main.js --dir $dir ") $sudo kill "\${p#/proc/}" || true ;;
  esac
done
$sudo rm -f "/etc/systemd/system/$unit.service"
$sudo rm -rf "$dir" "$releases"
`;
}
