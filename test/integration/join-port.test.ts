import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectH2 } from 'node:http2';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { createAuthority, issueCertificate } from '@nxnw/platform/wire/ca';
import type { Authority } from '@nxnw/platform/wire/ca';
import { Gateway } from '@nxnw/platform/wire/gateway';
import { GatewayClient } from '@nxnw/platform/wire/gateway-client';
import type { TlsMaterial } from '@nxnw/platform/wire/rpc';

const N1 = '127.61.1.1';
const N2 = '127.61.2.1';
const JOIN_PORT = 7460;

interface Event {
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Sockets of a test's own servers, destroyed at its end. */
const open = new Set<Server>();
const sockets = new Set<Socket>();

function keep(s: Socket): Socket {
  sockets.add(s);
  s.on('close', () => sockets.delete(s));
  s.on('error', () => undefined);
  return s;
}

async function serve(host: string, accept: (s: Socket) => void, port = 0): Promise<number> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (s) => accept(keep(s)));
  open.add(server);
  server.listen(port, host);
  await once(server, 'listening');
  const at = server.address();
  assert.ok(typeof at === 'object' && at !== null);
  return at.port;
}

const echo = (s: Socket): void => void s.pipe(s);
const dial = (at: { host: string; port: number }): Socket =>
  keep(connect({ ...at, allowHalfOpen: true, noDelay: true }));

/** What a socket ends with: `end` after a clean end, or the code of its error. */
function ending(s: Socket): Promise<string> {
  return new Promise((ok) => {
    let how = 'closed';
    s.on('end', () => (how = 'end'));
    s.on('error', (e: NodeJS.ErrnoException) => (how = e.code ?? e.message));
    s.on('close', () => ok(how));
    s.on('end', () => ok(how));
  });
}

/** Everything up to a clean end; the other half stays open. */
function read(s: Socket): Promise<Buffer> {
  const parts: Buffer[] = [];
  return new Promise((ok, fail) => {
    s.on('data', (d: Buffer) => parts.push(d));
    s.on('end', () => ok(Buffer.concat(parts)));
    s.on('error', fail);
  });
}

/** Sends a byte: `served` when one comes back, else how the connection ended. */
function tried(s: Socket): Promise<string> {
  s.write('x');
  return Promise.race([ending(s), new Promise<string>((ok) => s.once('data', () => ok('served')))]);
}

async function until(what: string, holds: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `${what}: not within ${String(ms)} ms`);
    await delay(20);
  }
}

describe('the join port', () => {
  let authority: Authority;
  let gatewayTls: TlsMaterial;
  let joinTls: TlsMaterial;
  const gateways: Gateway[] = [];
  const clients: GatewayClient[] = [];
  const events: Event[] = [];
  const log = (event: string, fields: Readonly<Record<string, unknown>>): void => void events.push({ event, fields });
  const said = (event: string, code: string): boolean =>
    events.some((e) => e.event === event && e.fields['code'] === code);

  before(async () => {
    authority = await createAuthority('blue');
    gatewayTls = await issueCertificate(authority, { name: 'data-1', hosts: [N1] });
    joinTls = await issueCertificate(authority, { name: 'coordinator-join', hosts: [] });
  });

  afterEach(async () => {
    for (const c of clients.splice(0)) c.close();
    for (const g of gateways.splice(0)) await g.close();
    for (const s of sockets) s.destroy();
    for (const s of open) s.close();
    open.clear();
    events.length = 0;
  });

  async function gateway(allow: readonly string[], host = N1): Promise<Gateway> {
    const reverse = new Map([['edge-1', { host, port: 7461 }]]);
    const { gateway: g } = await Gateway.start({
      listen: { host, port: JOIN_PORT },
      tls: gatewayTls,
      allow,
      reverse,
      log,
    });
    gateways.push(g);
    return g;
  }

  async function client(
    to: readonly string[],
    over: { hosts?: readonly string[]; port?: number; tls?: TlsMaterial; reverse?: number; ready?: boolean } = {},
  ): Promise<{ client: GatewayClient; at: (to: string) => { host: string; port: number } }> {
    const c = await GatewayClient.start({
      gateways: (over.hosts ?? [N1]).map((host) => ({
        machine: 'data-1',
        endpoint: { host, port: over.port ?? JOIN_PORT },
      })),
      tls: over.tls ?? joinTls,
      forwards: to.map((t) => ({ listen: { host: N2, port: 0 }, to: t })),
      reverse: over.reverse === undefined ? null : { target: 'edge-1', to: { host: N2, port: over.reverse } },
      log,
    });
    clients.push(c);
    if (over.ready !== false) await until('sessions are up', () => c.status().all);
    return {
      client: c,
      at: (t) => {
        const port = c.portOf(t);
        assert.ok(port);
        return port;
      },
    };
  }

  it('carries both directions unchanged and passes each end of sending on', async () => {
    const port = await serve(N1, (s) => {
      // answers only when it has heard all: the client's end must arrive while its other half stays open
      read(s).then(
        (b) => {
          s.write(createHash('sha256').update(b).digest('hex'));
          s.end(b);
        },
        () => s.destroy(),
      );
    });
    const to = `${N1}:${String(port)}`;
    await gateway([to]);
    const { at } = await client([to]);
    await Promise.all(
      [0, 1, 70_000, 9_000_000].map(async (size) => {
        const sent = randomBytes(size);
        const s = dial(at(to));
        s.end(sent);
        const got = await read(s);
        assert.equal(got.subarray(0, 64).toString(), createHash('sha256').update(sent).digest('hex'));
        assert.ok(got.subarray(64).equals(sent));
      }),
    );
  });

  it('stops the sender of a connection that is not read, and no other', async () => {
    let written = 0;
    let last = 0;
    const flood = await serve(N1, (s) => {
      const block = Buffer.alloc(64 << 10);
      const more = (): void => {
        while (!s.destroyed) {
          written += block.length;
          last = Date.now();
          if (!s.write(block)) return void s.once('drain', more);
        }
      };
      more();
    });
    const quick = await serve(N1, echo);
    const [slowTo, quickTo] = [`${N1}:${String(flood)}`, `${N1}:${String(quick)}`];
    await gateway([slowTo, quickTo]);
    const { at } = await client([slowTo, quickTo]);
    const slow = dial(at(slowTo));
    slow.pause();
    await until('the sender is stopped', () => written > 0 && Date.now() - last > 1500);
    // sockets' buffers on the way hold the rest
    assert.ok(written < 40 << 20, `the sender got rid of ${String(written)} bytes`);
    assert.equal(await tried(dial(at(quickTo))), 'served');
    // it goes on where it stood
    const before = written;
    slow.resume();
    await until('the sender goes on', () => written > before + (8 << 20));
  });

  it('passes an abort on as an abort, in both directions', async () => {
    let reached: (s: Socket) => void = () => undefined;
    const port = await serve(N1, (s) => reached(s));
    const to = `${N1}:${String(port)}`;
    await gateway([to]);
    const { at } = await client([to]);
    const pair = async (): Promise<[Socket, Socket]> => {
      const there = new Promise<Socket>((ok) => (reached = ok));
      const here = dial(at(to));
      here.write('x');
      const far = await there;
      await once(far, 'data');
      far.write('y');
      await once(here, 'data');
      here.resume();
      far.resume();
      return [here, far];
    };
    const [a, b] = await pair();
    const heardThere = ending(b);
    a.resetAndDestroy();
    assert.equal(await heardThere, 'ECONNRESET');
    const [c, d] = await pair();
    const heardHere = ending(c);
    d.resetAndDestroy();
    assert.equal(await heardHere, 'ECONNRESET');
  });

  it('refuses an endpoint that is not in its list, and one that nobody listens at', async () => {
    const port = await serve(N1, echo);
    const secret = `${N1}:${String(port)}`;
    await gateway([`${N1}:9`]);
    const { at } = await client([secret, `${N1}:9`]);
    assert.equal(await ending(dial(at(secret)).resume()), 'ECONNRESET');
    assert.ok(said('join.connection.refused', 'JOIN_REFUSED'));
    assert.equal(await ending(dial(at(`${N1}:9`)).resume()), 'ECONNRESET');
    assert.ok(said('join.connection.refused', 'UNAVAILABLE'));
  });

  it('serves the certificate of a join bundle only', async () => {
    const port = await serve(N1, echo);
    const to = `${N1}:${String(port)}`;
    await gateway([to]);
    const member = await issueCertificate(authority, { name: 'app-1', hosts: [] });
    const { at } = await client([to], { tls: member });
    assert.equal(await ending(dial(at(to)).resume()), 'ECONNRESET');
    assert.ok(said('join.connection.refused', 'JOIN_REFUSED'));
    const foreign = await issueCertificate(await createAuthority('red'), { name: 'coordinator-join', hosts: [] });
    const stranger = await client([to], { tls: { ...foreign, ca: authority.cert }, ready: false });
    await until('the stranger is refused', () => events.some((e) => e.event === 'join.refused' && 'why' in e.fields && !('code' in e.fields))); // prettier-ignore
    assert.equal(stranger.client.status().all, false);
    stranger.client.close();
    const before = events.length;
    const bare = connectH2(`https://${N1}:${String(JOIN_PORT)}`, {
      ca: authority.cert,
      servername: 'nxnw',
      checkServerIdentity: () => undefined,
    });
    let settings = 0;
    bare.on('error', () => undefined);
    bare.on('remoteSettings', () => settings++);
    await until('a client without a certificate is refused', () =>
      events.slice(before).some((e) => String(e.fields['why']).includes('did not return a certificate')),
    );
    bare.destroy();
    assert.equal(settings, 0);
  });

  it('is not served by another member of the platform that pretends to be the gateway', async () => {
    gatewayTls = await issueCertificate(authority, { name: 'app-1', hosts: [N1] });
    await gateway([]);
    gatewayTls = await issueCertificate(authority, { name: 'data-1', hosts: [N1] });
    const { client: c } = await client([`${N1}:9`], { ready: false });
    await until('the fault is told', () => c.status().detail.includes('for "app-1"'));
  });

  it('leads back to the other platform while that serves its target, and refuses otherwise', async () => {
    const port = await serve(N2, echo);
    await gateway([]);
    const door = { host: N1, port: 7461 };
    assert.equal(await ending(dial(door).resume()), 'ECONNREFUSED');
    const { client: c } = await client([], { reverse: port });
    await until('the door is open', () => events.some((e) => e.event === 'join.reverse.open'));
    const sent = randomBytes(3_000_000);
    const all = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const s = dial(door);
        s.end(sent);
        return read(s);
      }),
    );
    for (const got of all) assert.ok(got.equals(sent));
    c.close();
    await until('the door is shut', async () => (await ending(dial(door).resume())) === 'ECONNREFUSED');
  });

  it('keeps the number of connections bounded, and serves again when some have ended', async function () {
    this.timeout(60_000);
    const port = await serve(N1, echo);
    const to = `${N1}:${String(port)}`;
    const g = await gateway([to]);
    const { at } = await client([to]);
    const flood = Array.from({ length: 1200 }, () => dial(at(to)));
    const how = await Promise.all(flood.map(tried));
    assert.equal(how.filter((h) => h === 'served').length, 1000);
    assert.ok(events.some((e) => String(e.fields['why']).includes('the most there may be')));
    for (const s of flood) s.destroy();
    await until('they have ended', () => g.counts().connections === 0);
    assert.equal(await tried(dial(at(to))), 'served');
  });

  it('notices in seconds that the other side is silent, and goes by another way', async function () {
    this.timeout(60_000);
    const port = await serve(N1, echo);
    const to = `${N1}:${String(port)}`;
    await gateway([to]);
    await gateway([to], '127.61.1.2');
    const held: Socket[] = [];
    let frozen = false;
    // a way that can be cut without either end hearing of it
    const cut = await serve('127.61.3.1', (s) => {
      if (frozen) return;
      const far = dial({ host: N1, port: JOIN_PORT });
      held.push(s, far);
      s.pipe(far).pipe(s);
    }, JOIN_PORT); // prettier-ignore
    assert.equal(cut, JOIN_PORT);
    const { client: c, at } = await client([to], { hosts: ['127.61.3.1', '127.61.1.2'] });
    const s = dial(at(to));
    assert.equal(await tried(s), 'served');
    frozen = true;
    for (const h of held) h.unpipe().pause();
    const beganMs = Date.now();
    assert.equal(await ending(s.resume()), 'ECONNRESET');
    const noticedMs = Date.now() - beganMs;
    assert.ok(noticedMs < 15_000, `noticed after ${String(noticedMs)} ms`);
    await until('another session is up', () => c.status().all);
    assert.equal(await tried(dial(at(to))), 'served');
  });
});
