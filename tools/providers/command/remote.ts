/** Runs commands on another machine over ssh. */
import type { Client } from 'ssh2';
import { connected } from './connection.js';
import type { Connection } from './inputs.js';
import { collect, commandFailed, type Printed, type Show } from './output.js';

export interface RemoteRun {
  readonly command: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Variables that help but need not arrive: a server may refuse them. */
  readonly optional: Readonly<Record<string, string>>;
  readonly stdin?: string | undefined;
}

interface Ended extends Printed {
  /** `status 0`, `signal KILL`, or that the connection broke. */
  readonly how: string;
}

function exec(client: Client, command: string, env: NodeJS.ProcessEnv, stdin: string, show: Show): Promise<Ended> {
  return new Promise((ok, fail) => {
    // The listeners are set in the callback: an exit status that came in the same packet would be lost after it.
    client.exec(command, { env }, (e, channel) => {
      if (e) {
        fail(e);
        return;
      }
      let how = 'no status: the connection closed';
      const stdout = collect('stdout', channel, show);
      const stderr = collect('stderr', channel.stderr, show);
      channel.on('exit', (code: number | null, signal?: string) => {
        how = code === null ? `signal ${String(signal)}` : `status ${String(code)}`;
      });
      channel.once('error', fail);
      channel.once('close', () => {
        ok({ how, stdout: stdout(), stderr: stderr() });
      });
      channel.end(stdin);
    });
  });
}

/** Those of the variables that the server did not let through: it drops them without a word (AcceptEnv). */
async function refused(client: Client, env: Readonly<Record<string, string>>): Promise<string[]> {
  const names = Object.keys(env);
  if (names.length === 0) return [];
  const script = names.map((n) => `[ "\${${n}+set}" ] || echo ${n};`).join(' ');
  const probe = await exec(client, `/bin/sh -c '${script} :'`, env, '', () => undefined);
  if (probe.how !== 'status 0') throw commandFailed(`process exited with ${probe.how}`, script, probe);
  return probe.stdout.split('\n').filter((n) => n !== '');
}

/**
 * @throws when there is no connection, the server refuses a variable of `environment`, or the command ends with
 * anything but 0; its output is in the message
 */
export function runRemote(to: Connection, o: RemoteRun, show: Show): Promise<Printed> {
  return connected(to, async (client) => {
    const env = { ...o.optional, ...o.environment };
    const missing = await refused(client, env);
    const needed = missing.filter((n) => n in o.environment);
    if (needed.length > 0)
      throw new Error(
        `${to.host} does not accept the environment variables ${needed.join(', ')}: name them in AcceptEnv of its sshd_config, or put them before the command (\`NAME=value command\`)`,
      );
    if (missing.length > 0) show('stderr', `${to.host} does not accept ${missing.join(', ')} (AcceptEnv): not set`);
    const { how, ...printed } = await exec(client, o.command, env, o.stdin ?? '', show);
    if (how !== 'status 0') throw commandFailed(`process exited with ${how}`, o.command, printed);
    return printed;
  });
}
