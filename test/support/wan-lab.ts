import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram, repoRoot } from '@nxnw/tools';
import { until } from './agents.js';

const run = promisify(execFile);

/** Addresses of the two sides, as the test's process reaches them. */
export const WAN = { n1: '10.166.1.1', n2: '10.166.2.1' } as const;
type Side = keyof typeof WAN;
const LINK = { n1: '10.166.3.1', n2: '10.166.3.2' } as const;
const WAY = { n1: '10.166.101', n2: '10.166.102' } as const;
const SIDES: readonly Side[] = ['n1', 'n2'];

/** How a line is: one-way delay and loss, each way. */
export interface Line {
  readonly delayMs: number;
  readonly lossPercent: number;
}

/** Why two networks cannot be made here; null = they can. */
export function whyNoWan(): string | null {
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  for (const [program, name] of [
    ['ip', 'iproute2'],
    ['python3', 'python3'],
  ] as const)
    if (findProgram(program) === undefined) return `there is no program "${program}" (Debian package ${name})`;
  return existsSync('/dev/net/tun') ? null : 'there is no /dev/net/tun';
}

/**
 * Two network namespaces with a line between them that may be long and lossy, and a short way from the test's process to
 * each. The line is line.py, because netem is not in every kernel. Programs are started in them, see `within`.
 */
export class WanLab {
  private line: ChildProcess | undefined;

  private constructor(private readonly label: string) {}

  static async start(): Promise<WanLab> {
    const lab = new WanLab(`nxs-${String(process.pid % 100_000)}`);
    try {
      for (const s of SIDES) {
        await run('ip', ['netns', 'add', lab.inside(s)]);
        await lab.at(s, 'link', 'set', 'lo', 'up');
        await lab.at(s, 'address', 'add', `${WAN[s]}/32`, 'dev', 'lo');
        await lab.wayTo(s);
      }
      await lab.connect();
    } catch (e) {
      await lab.stop();
      throw e;
    }
    return lab;
  }

  /** The namespace's name. */
  inside(side: Side): string {
    return `${this.label}-${side}`;
  }

  private way(side: Side): string {
    return `${this.label}${side}`;
  }

  private at(side: Side, ...args: string[]): Promise<unknown> {
    return run('ip', ['-n', this.inside(side), ...args]);
  }

  private async wayTo(side: Side): Promise<void> {
    const way = this.way(side);
    await run('ip', ['link', 'add', way, 'type', 'veth', 'peer', 'name', 'way', 'netns', this.inside(side)]);
    await run('ip', ['address', 'add', `${WAY[side]}.1/30`, 'dev', way]);
    await run('ip', ['link', 'set', way, 'up']);
    await this.at(side, 'address', 'add', `${WAY[side]}.2/30`, 'dev', 'way');
    await this.at(side, 'link', 'set', 'way', 'up');
    await run('ip', ['route', 'add', WAN[side], 'via', `${WAY[side]}.2`]);
  }

  private async connect(): Promise<void> {
    const script = join(repoRoot, 'test', 'support', 'line.py');
    const line = spawn(findProgram('python3') ?? 'python3', [script, ...SIDES.map((s) => this.inside(s))], { stdio: ['pipe', 'pipe', 'pipe'] }); // prettier-ignore
    this.line = line;
    let said = '';
    for (const s of [line.stdout, line.stderr]) s.setEncoding('utf8').on('data', (d: string) => (said += d));
    await until('the line', 20_000, () => {
      if (line.exitCode !== null) throw new Error(`the line ended: ${said}`);
      return Promise.resolve(said.includes('ready'));
    });
    for (const s of SIDES) {
      const other = s === 'n1' ? 'n2' : 'n1';
      await this.at(s, 'address', 'add', `${LINK[s]}/30`, 'dev', 'line');
      await this.at(s, 'link', 'set', 'line', 'up');
      await this.at(s, 'route', 'add', WAN[other], 'via', LINK[other], 'src', WAN[s]);
    }
  }

  /** Makes the line so, for packets from now on. */
  shape({ delayMs, lossPercent }: Line): void {
    this.line?.stdin?.write(`${String(delayMs)} ${String(lossPercent)}\n`);
  }

  /** Removes the namespaces with everything that still runs in them. */
  async stop(): Promise<void> {
    this.line?.kill('SIGKILL');
    for (const s of SIDES) {
      const ns = this.inside(s);
      const { stdout } = await run('ip', ['netns', 'pids', ns]).catch(() => ({ stdout: '' }));
      for (const pid of stdout.split('\n').filter((p) => p !== '')) process.kill(Number(pid), 'SIGKILL');
      await run('ip', ['link', 'delete', this.way(s)]).catch(() => undefined);
      await run('ip', ['netns', 'delete', ns]).catch(() => undefined);
    }
  }
}

/** Program and arguments that run another one in a namespace; it keeps its process id. */
export function within(namespace: string | undefined, command: string, args: readonly string[]): [string, string[]] {
  return namespace === undefined ? [command, [...args]] : ['ip', ['netns', 'exec', namespace, command, ...args]];
}
