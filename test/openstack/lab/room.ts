import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { openSync, closeSync, readFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const OPEN_MS = 20_000;
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Namespaces of their own for network, mounts and processes. Everything in them ends with their first process: the
 * kernel kills it all, and takes networks and mounts away.
 */
export class Room {
  private readonly daemons = new Map<string, ChildProcess>();

  private constructor(
    private readonly logDir: string,
    private readonly outer: ChildProcess,
    /** Of the first process inside, as seen from outside. */
    readonly pid: number,
  ) {}

  /** @param script bash, run inside before anything else; the room is open when it is done */
  static async open(dir: string, logDir: string, script: string): Promise<Room> {
    const ready = join(dir, 'room-is-open');
    // bash as the first process reaps what is left to it, in `wait`
    const first = `set -e\n${script}\ntouch ${ready}\nset +e\nwhile :; do sleep 3600 & wait; done`;
    const spaces = ['--net', '--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--mount-proc'];
    const log = openSync(join(logDir, 'room.out'), 'a');
    const outer = spawn('unshare', [...spaces, 'bash', '-c', first], {
      env: { ...process.env, PATH, LANG: 'C.UTF-8' },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    await once(outer, 'spawn');
    const deadline = Date.now() + OPEN_MS;
    while (!existsSync(ready)) {
      if (outer.exitCode !== null || Date.now() > deadline)
        throw new Error(`the lab's namespaces cannot be set up: ${readFileSync(join(logDir, 'room.out'), 'utf8')}`);
      await delay(50);
    }
    const children = readFileSync(`/proc/${String(outer.pid)}/task/${String(outer.pid)}/children`, 'utf8');
    return new Room(logDir, outer, Number(children.trim()));
  }

  private entering(command: readonly string[]): string[] {
    return ['--target', String(this.pid), '--net', '--mount', '--pid', '--', ...command];
  }

  private env(over: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
    return { ...process.env, PATH, LANG: 'C.UTF-8', ...over };
  }

  /** Runs a command inside, to its end. @throws with the end of what it said */
  async run(command: readonly string[], env?: Readonly<Record<string, string>>): Promise<string> {
    try {
      return (await run('nsenter', this.entering(command), { env: this.env(env), maxBuffer: 64e6 })).stdout;
    } catch (e) {
      const said = e instanceof Error && 'stderr' in e ? String(e.stderr).slice(-1500) : '';
      throw new Error(`${command.slice(0, 4).join(' ')} failed in the lab: ${said}`, { cause: e });
    }
  }

  /** Starts a program that runs until the room closes; what it prints goes to a file of its name. */
  daemon(name: string, command: readonly string[], env?: Readonly<Record<string, string>>): void {
    const log = openSync(join(this.logDir, `${name}.out`), 'a');
    const child = spawn('nsenter', this.entering(command), {
      env: this.env(env),
      stdio: ['ignore', log, log],
      detached: true,
    });
    closeSync(log);
    this.daemons.set(name, child);
  }

  /** Names of the programs that ended by themselves. */
  ended(): string[] {
    return [...this.daemons].filter(([, c]) => c.exitCode !== null || c.signalCode !== null).map(([name]) => name);
  }

  /** What a program printed last. */
  saidBy(name: string, lines = 15): string {
    return ['.out', '.log']
      .map((end) => join(this.logDir, `${name}${end}`))
      .filter((f) => existsSync(f))
      .flatMap((f) => readFileSync(f, 'utf8').trimEnd().split('\n').slice(-lines))
      .join('\n');
  }

  /** Ends everything inside. */
  async close(): Promise<void> {
    if (this.outer.exitCode !== null || this.outer.signalCode !== null) return;
    const gone = once(this.outer, 'exit');
    process.kill(this.pid, 'SIGKILL');
    await gone;
  }
}
