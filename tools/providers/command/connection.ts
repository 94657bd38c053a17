/** Connections over ssh: dialled again until they stand, through a bastion where one is named. */
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, type ConnectConfig } from 'ssh2';
import type { Connection, Endpoint } from './inputs.js';

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15_000;
const KEEPALIVE_MS = 30_000;
const open = new Set<Client>();

function config(e: Endpoint): ConnectConfig {
  const agent = e.agentSocketPath ?? process.env['SSH_AUTH_SOCK'];
  const expected = e.hostKey?.trim().split(/\s+/).find((word) => word.startsWith('AAAA')); // prettier-ignore
  if (e.hostKey !== undefined && expected === undefined)
    throw new Error(`hostKey of ${e.host} is not a public key: it must be \`TYPE BASE64\` or the base64 alone`);
  return {
    host: e.host,
    port: e.port,
    username: e.user,
    readyTimeout: e.perDialTimeout * 1000,
    keepaliveInterval: KEEPALIVE_MS,
    ...(e.privateKey === undefined ? {} : { privateKey: e.privateKey }),
    ...(e.privateKeyPassword === undefined ? {} : { passphrase: e.privateKeyPassword }),
    ...(e.password === undefined ? {} : { password: e.password }),
    ...(agent === undefined || agent === '' ? {} : { agent }),
    ...(expected === undefined ? {} : { hostVerifier: (key: Buffer) => key.toString('base64') === expected }),
  };
}

async function dial(e: Endpoint, sock?: Duplex): Promise<Client> {
  const client = new Client();
  try {
    await new Promise<void>((ok, fail) => {
      client.once('ready', ok).once('error', fail);
      client.connect({ ...config(e), ...(sock === undefined ? {} : { sock }) });
    });
  } catch (e) {
    client.destroy();
    throw e;
  }
  // Once it stands, a broken connection shows in what runs over it: its channel closes without an exit status.
  client.on('error', () => undefined);
  open.add(client);
  client.once('close', () => open.delete(client));
  return client;
}

/** Tries until it stands, at most dialErrorLimit times. */
async function retried(e: Endpoint, attempt: () => Promise<Client>): Promise<Client> {
  for (let n = 1; ; n++)
    try {
      return await attempt();
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      if (e.dialErrorLimit >= 0 && n >= e.dialErrorLimit)
        throw new Error(
          `cannot connect to ${e.user}@${e.host}:${String(e.port)}, tried ${String(n)} times (dialErrorLimit): ${why}`,
          { cause },
        );
      await sleep(Math.min(FIRST_WAIT_MS * 1.5 ** (n - 1), LONGEST_WAIT_MS));
    }
}

function forward(through: Client, to: Endpoint): Promise<Duplex> {
  return new Promise((ok, fail) => {
    through.forwardOut('127.0.0.1', 0, to.host, to.port, (e, channel) => {
      if (e) fail(e);
      else ok(channel);
    });
  });
}

/** Connects, works, and closes. @throws when there is no connection after dialErrorLimit attempts */
export async function connected<T>(to: Connection, work: (client: Client) => Promise<T>): Promise<T> {
  const { proxy } = to;
  const through = proxy === undefined ? undefined : await retried(proxy, () => dial(proxy));
  try {
    const client = await retried(to, async () =>
      dial(to, through === undefined ? undefined : await forward(through, to)),
    );
    try {
      return await work(client);
    } finally {
      client.end();
    }
  } finally {
    through?.end();
  }
}

/** Breaks all connections; what runs over them fails. */
export function cancelRemote(): void {
  for (const client of open) client.destroy();
}
