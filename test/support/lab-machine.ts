import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, closeSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MACHINE_DIR } from '@nxnw/components/clouds/first-boot';
import { repoRoot, toolsDir } from '@nxnw/tools/paths';
import { parse } from 'yaml';
import { z } from 'zod';

const AGENT = require.resolve('@nxnw/platform/agent/main');
/** PID 1 of a machine: mounts its disks and, as the service of its user data says, starts the agent again and again. */
const INIT = `set -e
mount --bind "$1" ${MACHINE_DIR}
[ -z "$2" ] || mount --bind "$2" ${MACHINE_DIR}/roles
set +e
while :; do "$3" "$4" --dir ${MACHINE_DIR}; sleep 1; done`;

const cloudConfig = z.object({
  write_files: z.array(z.object({ path: z.string(), permissions: z.string(), content: z.string() })),
  runcmd: z.array(z.array(z.string())),
});

/** What user data says about a machine: its files below the agent's folder, and whether it has a disk of its own. */
export interface FirstBoot {
  readonly files: readonly { readonly name: string; readonly mode: number; readonly content: string }[];
  readonly ownDisk: boolean;
}

/** Reads cloud-init user data. Throws where it is none, or does not end in nxnw's first boot. */
export function firstBootOf(userData: string): FirstBoot {
  if (!userData.startsWith('#cloud-config\n')) throw new Error('the user data is no cloud-config');
  const { write_files: files, runcmd } = cloudConfig.parse(parse(userData));
  const [command = []] = runcmd;
  if (command[0] !== '/usr/local/sbin/nxnw-first-boot') throw new Error(`the first command is ${command.join(' ')}`);
  const own = files.filter((f) => f.path.startsWith(`${MACHINE_DIR}/`));
  return {
    files: own.map((f) => ({
      name: f.path.slice(MACHINE_DIR.length + 1),
      mode: parseInt(f.permissions, 8),
      content: f.content,
    })),
    ownDisk: command[1] === 'own',
  };
}

/**
 * A machine as its agent sees one: its own processes, network and agent's folder (namespaces of the kernel); programs
 * and release are this machine's. The folder of its disk, if it has one, is the roles'.
 */
export class LabMachine {
  private init: ChildProcess | null = null;

  /** @param dir its root disk: what lies in the agent's folder @param namespace of the network */
  constructor(
    readonly dir: string,
    private readonly namespace: string,
  ) {
    mkdirSync(join(dir, 'roles'), { recursive: true });
  }

  /** What cloud-init does at the first boot. */
  write(boot: FirstBoot): void {
    for (const f of boot.files) writeFileSync(join(this.dir, f.name), f.content, { mode: f.mode });
  }

  get isOn(): boolean {
    return this.init !== null;
  }

  /** @param disk folder of its own disk; '' = it has none */
  on(disk: string): void {
    const console = openSync(join(this.dir, 'console'), 'a');
    const isolated = ['--mount', '--pid', '--fork', '--kill-child=KILL', '--mount-proc'];
    const env = {
      ...{ PATH: process.env['PATH'], HOME: this.dir, NXNW_HOME: repoRoot, NXNW_TOOLS: toolsDir },
      // as under systemd: an agent that ends is started again from outside
      INVOCATION_ID: 'lab',
    };
    const init = spawn(
      'ip',
      ['netns', 'exec', this.namespace, 'unshare', ...isolated, 'sh', '-c', INIT, 'init', this.dir, disk, process.execPath, AGENT], // prettier-ignore
      { env, cwd: '/', stdio: ['ignore', console, console] },
    );
    closeSync(console);
    this.init = init;
  }

  /** Ends everything on it at once, as a power cut does. */
  async off(): Promise<void> {
    const init = this.init;
    if (init === null) return;
    this.init = null;
    if (init.exitCode !== null || init.signalCode !== null) return;
    const gone = once(init, 'exit');
    init.kill('SIGKILL');
    await gone;
  }
}
