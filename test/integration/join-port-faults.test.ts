import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createAuthority, issueCertificate } from '@nxnw/platform/wire/ca';
import { askHealth } from '@nxnw/platform/wire/health';
import { RpcClient, RpcServer } from '@nxnw/platform/wire/rpc';
import type { TlsMaterial } from '@nxnw/platform/wire/rpc';
import { seeded } from '../support/random.js';

const N1 = '127.61.4.1';
const N2 = '127.61.5.1';
const BIN = resolve(__dirname, '../../../platform/dist/wire');
const ROUNDS = Number(process.env['JOIN_ROUNDS'] ?? 4);
const SEED = Number(process.env['JOIN_SEED'] ?? Date.now() % 1_000_000);

/** How a connection ended, and whether what came was right as far as it came. */
interface Ending {
  readonly how: 'end' | 'abort';
  readonly bytes: number;
}

/** Sends `size` bytes that follow from the seed to an echo and reads them back. Throws on a wrong byte. */
function exchange(at: { host: string; port: number }, size: number, seed: number): Promise<Ending> {
  const body = Buffer.alloc(size);
  for (let i = 0; i < size; i++) body[i] = (i * 31 + seed) & 0xff;
  return new Promise((ok, fail) => {
    const s = connect({ ...at, allowHalfOpen: true, noDelay: true });
    let bytes = 0;
    s.on('data', (d: Buffer) => {
      if (!d.equals(body.subarray(bytes, bytes + d.length))) fail(new Error(`wrong bytes behind ${String(bytes)}`));
      bytes += d.length;
    });
    s.on('error', () => ok({ how: 'abort', bytes }));
    s.on('end', () => ok({ how: 'end', bytes }));
    s.end(body);
  });
}

describe('the processes of the join port', function () {
  this.timeout(600_000);
  let dir: string;
  let gatewayTls: TlsMaterial;
  let joinTls: TlsMaterial;
  let ownTls: TlsMaterial;
  const children = new Map<string, ChildProcess>();
  const servers: Server[] = [];
  const echoPort = 7100;
  const rpcPort = 7101;
  const doors = { echo: { host: N2, port: 25_000 }, rpc: { host: N2, port: 25_001 } };
  const reverse = { host: N1, port: 7472 };

  function place(name: string, tls: TlsMaterial): { ca: string; cert: string; key: string } {
    const paths = { ca: join(dir, `${name}-ca`), cert: join(dir, `${name}-cert`), key: join(dir, `${name}-key`) };
    for (const k of ['ca', 'cert', 'key'] as const) writeFileSync(paths[k], tls[k], { mode: 0o600 });
    return paths;
  }

  /** As the agent would: whenever it is gone it is started again. */
  async function start(name: 'gateway' | 'gateway-client'): Promise<void> {
    const child = spawn(process.execPath, [join(BIN, `${name}-main.js`), '--config', join(dir, `${name}.json`)], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    children.set(name, child);
    const [at, tls] = name === 'gateway' ? [`${N1}:7470`, gatewayTls] : [`${N2}:7471`, ownTls];
    for (let ready = false; !ready; await delay(50)) {
      assert.equal(child.exitCode, null, `${name} ended`);
      ready = (await askHealth(at, tls, Date.now() + 2000)).ready;
    }
  }

  async function kill(name: string): Promise<void> {
    const child = children.get(name);
    assert.ok(child !== undefined);
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  async function echo(host: string): Promise<void> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (s) => {
      s.on('error', () => s.destroy());
      s.pipe(s);
    });
    servers.push(server);
    server.listen(echoPort, host);
    await once(server, 'listening');
  }

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'nxnw-join-'));
    const [blue, green] = await Promise.all([createAuthority('blue'), createAuthority('green')]);
    gatewayTls = await issueCertificate(blue, { name: 'data-1', hosts: [N1] });
    joinTls = await issueCertificate(blue, { name: 'coordinator-join', hosts: [] });
    ownTls = await issueCertificate(green, { name: 'edge-1', hosts: [N2] });
    const to = [`${N1}:${String(echoPort)}`, `${N1}:${String(rpcPort)}`];
    const gateway = {
      listen: { host: N1, port: 7460 },
      status: { host: N1, port: 7470 },
      tls: place('gateway', gatewayTls),
      allow: to,
      reverse: [{ target: 'edge-1', listen: reverse }],
    };
    const client = {
      status: { host: N2, port: 7471 },
      tls: place('own', ownTls),
      gateways: [{ machine: 'data-1', endpoint: gateway.listen }],
      join: place('join', joinTls),
      forwards: [
        { listen: doors.echo, to: to[0] },
        { listen: doors.rpc, to: to[1] },
      ],
      reverse: { target: 'edge-1', to: { host: N2, port: echoPort } },
    };
    writeFileSync(join(dir, 'gateway.json'), JSON.stringify(gateway));
    writeFileSync(join(dir, 'gateway-client.json'), JSON.stringify(client));
    await Promise.all([echo(N1), echo(N2), start('gateway'), start('gateway-client')]);
  });

  after(async () => {
    for (const [name, c] of children) if (c.exitCode === null && c.signalCode === null) await kill(name);
    for (const s of servers) s.close();
    rmSync(dir, { recursive: true, force: true });
  });

  async function whole(at: { host: string; port: number }): Promise<void> {
    const deadline = Date.now() + 120_000;
    for (;;) {
      const { how, bytes } = await exchange(at, 1000, 1);
      if (how === 'end' && bytes === 1000) return;
      assert.ok(Date.now() < deadline, `${at.host}:${String(at.port)} does not serve again`);
      await delay(50);
    }
  }

  it(`end no connection as if it were whole when either of them is killed, and serve again (seed ${String(SEED)})`, async () => {
    const random = seeded(SEED);
    const below = (n: number): number => Math.floor(random() * n);
    let cut = 0;
    let entire = 0;
    for (let round = 0; round < ROUNDS; round++) {
      await Promise.all([whole(doors.echo), whole(reverse)]);
      const victim = below(2) === 0 ? 'gateway' : 'gateway-client';
      let stop = false;
      const traffic = Array.from({ length: 8 }, async (_, i) => {
        for (let n = 0; !stop; n++) {
          const size = below(2_000_000);
          const [at, near] = i % 2 === 0 ? [doors.echo, 'gateway-client'] : [reverse, 'gateway'];
          const { how, bytes } = await exchange(at, size, n + i);
          // of a process that is killed the kernel itself may end the connections that it holds
          if (how === 'end' && (bytes === size || near !== victim)) {
            assert.equal(bytes, size, `an end came before everything had come: near ${near}, killed ${victim}`);
            entire++;
          } else {
            cut++;
            await delay(20);
          }
        }
      });
      await delay(below(400) + 100);
      await kill(victim);
      await start(victim);
      stop = true;
      await Promise.all(traffic);
    }
    assert.ok(cut > 0 && entire > 0, `${String(cut)} cut, ${String(entire)} entire`);
  });

  it('add little to the time of a small call between our own processes, whose mTLS goes through', async () => {
    const server = new RpcServer();
    server.add('test', { unary: { echo: (body, caller) => Promise.resolve({ body, peer: caller.peer }) } });
    await server.listen(`${N1}:${String(rpcPort)}`, gatewayTls);
    const direct = new RpcClient(`${N1}:${String(rpcPort)}`, joinTls);
    const through = new RpcClient(`${doors.rpc.host}:${String(doors.rpc.port)}`, joinTls);
    const times = new Map([
      [direct, [] as number[]],
      [through, [] as number[]],
    ]);
    try {
      await whole(doors.echo);
      for (let i = 0; i < 500; i++)
        for (const [client, list] of times) {
          const beganMs = performance.now();
          const answer = await client.call<{ body: unknown; peer: string }>('test.echo', { n: i }, { deadlineMs: Date.now() + 10_000 }); // prettier-ignore
          list.push(performance.now() - beganMs);
          assert.deepEqual(answer, { body: { n: i }, peer: 'coordinator-join' });
        }
    } finally {
      direct.close();
      through.close();
      await server.close();
    }
    const at = (client: RpcClient, p: number): number =>
      (times.get(client) ?? []).slice(100).sort((a, b) => a - b)[Math.floor(400 * p)] ?? NaN;
    const line = [0.5, 0.99].map((p) => `p${String(p * 100)} ${at(direct, p).toFixed(2)} → ${at(through, p).toFixed(2)} ms (${(at(through, p) / at(direct, p)).toFixed(2)}x)`); // prettier-ignore
    process.stdout.write(`      a small call, direct → by the join port: ${line.join(', ')}\n`);
    // a timer of TCP that waits for more (Nagle, delayed acknowledgement) would make it many times slower
    assert.ok(at(through, 0.5) < 10 * at(direct, 0.5), line.join());
  });
});
