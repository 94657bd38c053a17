import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, openSync, closeSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { checkPortFree } from '@nxnw/platform/agent/ports';
import { planDns } from '@nxnw/platform/agent/roles/dns';
import { identify } from '@nxnw/platform/agent/procfs';
import { dnsSpecSchema } from '@nxnw/platform/agent/spec';
import { NxnwError } from '@nxnw/platform/errors';

/** The clients' DNS zone: a knot server that belongs to neither platform, a process of its own that outlives this one. */
export interface Zone {
  readonly host: string;
  readonly port: number;
  readonly zone: string;
  readonly keyName: string;
  /** Base64, a secret of this run. */
  readonly keySecret: string;
  readonly pid: number;
  readonly startTicks: string;
}

const READY_MS = 10_000;

/** Starts knot for `zone`, empty but for the records given; everything lies in `dir`. */
export async function startZone(o: {
  readonly dir: string;
  readonly host: string;
  readonly port: number;
  readonly zone: string;
  readonly ttlS: number;
  /** A records by name relative to the zone. */
  readonly records: Readonly<Record<string, readonly string[]>>;
  /** Networks that may send updates. @default the loopback */
  readonly allow?: readonly string[];
}): Promise<Zone> {
  const keyName = 'nxnw-test';
  const keySecret = randomBytes(32).toString('base64');
  const spec = dnsSpecSchema.parse({
    kind: 'dns',
    id: 'zone',
    host: o.host,
    port: o.port,
    zone: o.zone,
    ttlSeconds: o.ttlS,
    keyName,
    keySecret,
    allow: [...(o.allow ?? ['127.0.0.0/8'])],
    records: o.records,
  });
  const noTls = { ca: '', cert: '', key: '' };
  const plan = planDns(spec, { platformId: 'zone', machine: 'zone', dir: o.dir, tlsPaths: noTls, tls: noTls });
  for (const d of plan.dirs) mkdirSync(d, { recursive: true });
  for (const f of plan.files) {
    mkdirSync(dirname(f.path), { recursive: true });
    writeFileSync(f.path, f.content, { mode: 0o600 });
  }
  const process_ = plan.processes[0];
  if (process_ === undefined) throw new Error('a zone is one process');
  // another server at the address would answer in its place
  for (const l of process_.listens) await checkPortFree(l);
  const log = openSync(join(o.dir, 'knotd.log'), 'a');
  const child = spawn(process_.command, [...process_.args], {
    cwd: process_.cwd,
    stdio: ['ignore', log, log],
    detached: true,
  });
  child.unref();
  closeSync(log);
  await ready(child, () => process_.probe(new AbortController().signal), o.dir);
  return {
    ...o,
    keyName,
    keySecret,
    pid: child.pid ?? 0,
    startTicks: identify(child.pid ?? 0)?.startTicks ?? '',
  };
}

async function ready(child: ChildProcess, probe: () => Promise<{ ok: boolean }>, dir: string): Promise<void> {
  const until = Date.now() + READY_MS;
  for (;;) {
    if (child.exitCode !== null)
      throw new NxnwError('ZONE_FAILED', `knotd ended with ${child.exitCode}; see ${dir}/knotd.log`, { dir });
    const ok = await probe().then(
      (p) => p.ok,
      () => false,
    );
    if (ok) return;
    if (Date.now() > until) {
      child.kill('SIGKILL');
      throw new NxnwError('ZONE_FAILED', `knotd does not answer within ${READY_MS} ms; see ${dir}/knotd.log`, { dir });
    }
    await delay(50);
  }
}
