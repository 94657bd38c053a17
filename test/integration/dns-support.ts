import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync, mkdirSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { findProgram, pythonPath } from '@nxnw/tools/paths';

export const ZONE = 'zone.test';
export const KEY = { keyName: 'nxnw-key', keySecret: Buffer.alloc(32, 7).toString('base64') };

export const within = (ms: number): number => Date.now() + ms;

/** Processes of the test; what is left is killed when the test process ends. */
const children = new Set<ChildProcess>();
process.on('exit', () => children.forEach((c) => c.kill('SIGKILL')));

function run(program: string, args: readonly string[], cwd: string): ChildProcess {
  const child = spawn(program, args, { cwd, stdio: 'ignore' });
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

async function listening(host: string, port: number): Promise<void> {
  for (const end = within(30_000); ; await delay(50)) {
    const ok = await new Promise<boolean>((tell) => {
      const s = connect({ host, port }, () => tell(true));
      s.once('error', () => tell(false));
      s.once('connect', () => s.destroy());
    });
    if (ok) return;
    assert.ok(Date.now() < end, `nothing listens on ${host}:${port}`);
  }
}

export interface Knot {
  readonly host: string;
  readonly port: number;
  /** Runs a command of knotc. */
  control(...args: string[]): Promise<void>;
  readonly child: ChildProcess;
  stop(): void;
}

/**
 * knot for the zone: a primary that takes updates, or a secondary of it which is not told of changes: it transfers the
 * zone when it is asked to, as a slow one would.
 */
export async function startKnot(o: {
  host: string;
  port: number;
  primary?: { host: string; port: number };
  servers: readonly { name: string; host: string }[];
  records?: string;
}): Promise<Knot> {
  const dir = mkdtempSync(join(tmpdir(), 'nxnw-knot-'));
  mkdirSync(join(dir, 'run'));
  const ns = o.servers.map((s) => `@ 3600 NS ${s.name}\n${s.name} 3600 A ${s.host}\n`).join('');
  writeFileSync(
    join(dir, `${ZONE}.zone`),
    `$ORIGIN ${ZONE}.\n@ 3600 SOA ns1 admin 1 3600 3600 86400 3600\n${ns}${o.records ?? ''}`,
  );
  const remote = o.primary
    ? `remote:\n  - id: primary\n    address: ${o.primary.host}@${o.primary.port}\n`
    : `key:\n  - id: ${KEY.keyName}\n    algorithm: hmac-sha256\n    secret: ${KEY.keySecret}\n`;
  const rights = o.primary
    ? ''
    : `acl:\n  - id: update\n    key: ${KEY.keyName}\n    action: update\n  - id: transfer\n    address: 127.0.0.0/8\n    action: transfer\n`;
  const zone = o.primary
    ? '    master: primary\n'
    : '    acl: [update, transfer]\n    zonefile-load: difference-no-serial\n    journal-content: all\n';
  writeFileSync(
    join(dir, 'knot.conf'),
    `server:\n    rundir: ${dir}/run\n    listen: ${o.host}@${o.port}\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n` +
      `database:\n    storage: ${dir}\nlog:\n  - target: stderr\n    any: error\n${remote}${rights}` +
      `zone:\n  - domain: ${ZONE}\n    storage: ${dir}\n    file: ${o.primary ? 'copy' : ZONE}.zone\n${zone}`,
  );
  const child = run(findProgram('knotd') ?? 'knotd', ['-c', 'knot.conf'], dir);
  await listening(o.host, o.port);
  const control = (...args: string[]): Promise<void> =>
    new Promise((ok, fail) => {
      const c = run(findProgram('knotc') ?? 'knotc', ['-c', 'knot.conf', ...args], dir);
      c.once('exit', (code) => (code === 0 ? ok() : fail(new Error(`knotc ${args.join(' ')} exited with ${code}`))));
    });
  return {
    ...o,
    control,
    child,
    stop() {
      child.kill('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/**
 * moto as Route 53, behind a proxy that makes up for where moto is laxer than the service: a change is PENDING at first;
 * DELETE must name the set as it is, CREATE a set that is not there (moto compares with everything ever written), and
 * requests are carried out one after another.
 */
export interface Route53Double {
  readonly endpoint: string;
  readonly hostedZoneId: string;
  /** How often each change is still PENDING. */
  pending: number;
  /** Requests, for instance `GET /2013-04-01/change/C1`. */
  readonly log: string[];
  stop(): Promise<void>;
}

/** moto tells its services apart by the signature's scope; it does not check the signature. */
const SIGNED = {
  authorization:
    'AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/route53/aws4_request, SignedHeaders=host, Signature=0',
};

export async function startRoute53(host: string): Promise<Route53Double> {
  const moto = run(pythonPath, ['-m', 'moto.server', '-H', host, '-p', '5000'], tmpdir());
  await listening(host, 5000);
  const api = `http://${host}:5000/2013-04-01`;
  const asked = new Map<string, number>();

  const answer = async (method: string, path: string, body: string): Promise<{ status: number; text: string }> => {
    double.log.push(`${method} ${path}`);
    const batch = method === 'POST' && /\/rrset\/?$/.test(path) ? await checked(api, path, body) : { body };
    if (batch.refusal !== undefined) return { status: 400, text: batch.refusal };
    const reply = await fetch(`http://${host}:5000${path}`, {
      ...{ method, headers: SIGNED },
      ...(method === 'POST' ? { body: batch.body } : {}),
    });
    const text = await reply.text();
    if (method === 'POST') asked.clear(); // moto gives every change the same id
    if (!path.includes('/change/')) return { status: reply.status, text };
    const times = (asked.get(path) ?? 0) + 1;
    asked.set(path, times);
    return { status: reply.status, text: times <= double.pending ? text.replace('INSYNC', 'PENDING') : text };
  };

  let turn: Promise<unknown> = Promise.resolve();
  const proxy: Server = createServer((req, res) => {
    let body = '';
    req.on('data', (d: Buffer) => (body += d.toString()));
    req.on('end', () => {
      turn = turn
        .then(() => answer(req.method ?? 'GET', req.url ?? '/', body))
        .then(
          ({ status, text }) => res.writeHead(status, { 'content-type': 'text/xml' }).end(text),
          (e: unknown) => res.writeHead(502).end(String(e)),
        );
    });
  });
  await new Promise<void>((ok) => proxy.listen(5001, host, () => ok()));
  const made = await fetch(`${api}/hostedzone`, {
    ...{ method: 'POST', headers: SIGNED },
    body:
      '<?xml version="1.0"?><CreateHostedZoneRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/">' +
      `<Name>${ZONE}</Name><CallerReference>test</CallerReference></CreateHostedZoneRequest>`,
  });
  const id = /<Id>\/hostedzone\/([A-Z0-9]+)<\/Id>/.exec(await made.text())?.[1];
  assert.ok(id !== undefined, `moto made no zone: ${made.status}`);
  const double: Route53Double = {
    ...{ endpoint: `http://${host}:5001`, hostedZoneId: id, pending: 0, log: [] },
    async stop() {
      moto.kill('SIGKILL');
      proxy.closeAllConnections();
      await new Promise<void>((ok) => proxy.close(() => ok()));
    },
  };
  return double;
}

/** `name type ttl values` of each record set in a text of the service. */
function setsIn(xml: string): string[] {
  const field = (t: string, name: string) => new RegExp(`<${name}>([^<]*)</${name}>`).exec(t)?.[1] ?? '';
  return [...xml.matchAll(/<ResourceRecordSet>(.*?)<\/ResourceRecordSet>/gs)].map(([, t = '']) => {
    const values = [...t.matchAll(/<Value>([^<]*)<\/Value>/g)].map((m) => m[1]).sort();
    return `${field(t, 'Name')} ${field(t, 'Type')} ${field(t, 'TTL')} ${values.join()}`;
  });
}

/** The batch as moto takes it, or the refusal that Route 53 would give. */
async function checked(api: string, path: string, body: string): Promise<{ body: string; refusal?: string }> {
  const zone = /hostedzone\/([A-Z0-9]+)\//.exec(path)?.[1] ?? '';
  const now = setsIn(await (await fetch(`${api}/hostedzone/${zone}/rrset`, { headers: SIGNED })).text());
  const key = (set: string) => set.split(' ', 2).join(' ');
  const left = new Map(now.map((s) => [key(s), s]));
  const changes = [...body.matchAll(/<Change>.*?<\/Change>/gs)].map(([t]) => t);
  for (const t of changes) {
    const [set = ''] = setsIn(t);
    const wrong = t.includes('<Action>DELETE')
      ? left.get(key(set)) !== set && `Tried to delete resource record set [${set}] but it was not found`
      : left.has(key(set)) && `Tried to create resource record set [${set}] but it already exists`;
    if (wrong)
      return {
        body,
        refusal:
          '<?xml version="1.0"?><ErrorResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Error>' +
          `<Type>Sender</Type><Code>InvalidChangeBatch</Code><Message>[${wrong}]</Message></Error></ErrorResponse>`,
      };
    if (t.includes('<Action>DELETE')) left.delete(key(set));
    else left.set(key(set), set);
  }
  // moto refuses to create what it finds in its journal; to replace is the same here.
  const replaced = changes.length === 2 ? body.replace('<Action>CREATE', '<Action>UPSERT') : body;
  const upsert = replaced.replace(/<Change><Action>DELETE.*?<\/Change>/s, '');
  return { body: changes.length === 2 ? upsert : body };
}
