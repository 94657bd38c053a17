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
  /** Folder of the machine's agent. */
  readonly directory: string;
  /** Folder of the releases on the host. */
  readonly releases: string;
  /** Digest of the release's archive, hex; it lies there as `SHA256.tar.gz`. */
  readonly sha256: string;
}

/** A word of a shell command, whatever is in it. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** Makes the folder that the release is copied into, for a user who is not root too. */
export function folderScript(s: HostScript): string {
  return `set -eu
folder=${quote(s.releases)}
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
unit=${quote(`nxnw-agent-${s.platformId}-${s.machine}`)}
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
$sudo rm -f "/etc/systemd/system/$unit.service"
$sudo rm -rf "$dir" "$releases"
`;
}
