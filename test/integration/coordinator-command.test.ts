import { equal, match, ok } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { MigrationStatus } from '@nxnw/migration/coordinator/api';
import { writeAccess } from '@nxnw/migration/resources/engines/access';
import { MigrationPair } from '../support/migration-pair.js';

const NXNW = resolve(__dirname, '../../../cli/nxnw.js');

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

describe('the nxnw command, without Pulumi', function () {
  this.timeout(120_000);
  let pair: MigrationPair;

  before(async () => {
    pair = await MigrationPair.create('127.37.3', '127.37.4');
    await pair.startCoordinator();
    // What `up` leaves beside the project.
    writeAccess({
      path: join(pair.dir, '.nxnw', 'access', 'green.json'),
      access: {
        platformId: 'green',
        stack: 'green',
        operator: pair.green.operator,
        agents: [{ machine: 'm', endpoint: `${pair.green.host}:7400`, roles: ['cache', 'app', 'edge'] }],
        coordinator: pair.coordinatorTarget,
      },
    });
  });

  after(() => pair.stop());

  /** Runs the command on stack green. */
  function nxnw(...args: string[]): Promise<Ran> {
    const env = { ...process.env, NXNW_HOME: pair.dir, NXNW_ACTOR: 'eva', NXNW_STACK: 'green' };
    const child = spawn(process.execPath, [NXNW, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let err = '';
    child.stdout.on('data', (d: Buffer) => (out += d.toString()));
    child.stderr.on('data', (d: Buffer) => (err += d.toString()));
    return new Promise((done) => child.on('close', (code) => done({ code: code ?? -1, out, err })));
  }

  const status = async (): Promise<MigrationStatus> =>
    JSON.parse((await nxnw('status', '--json')).out) as MigrationStatus;

  it('says what is wrong with a command line, exit 2', async () => {
    const wrong = [['nonsense'], ['wait'], ['wait', '--for', 'nowhere'], ['back'], ['release'], ['throttle']];
    for (const args of wrong) {
      const r = await nxnw(...args);
      equal(r.code, 2, `${args.join(' ')}: ${r.err}`);
      ok(r.err.length > 0);
    }
  });

  it('fails with the next step when there is no migration, or no access', async () => {
    const none = await nxnw('status');
    equal(none.code, 1);
    match(none.err, /NO_MIGRATION.*nxnw up/);
    const stranger = await nxnw('status', '--stack', 'red');
    equal(stranger.code, 1);
    match(stranger.err, /NO_ACCESS.*nxnw up --stack red/);
  });

  it('waits for a stage, and ends with 3 when the time is over', async () => {
    const client = pair.client();
    const request = { attempt: 1, apps: ['all'], join: pair.join(), options: {}, actor: 'eva' };
    await client.startMigration({ ...request, wantedStage: 'synced' });
    client.close();
    const early = await nxnw('wait', '--for', 'finalized', '--timeout', '100ms');
    equal(early.code, 3, early.err);
    match(early.err, /goes on by itself/);
    const r = await nxnw('wait', '--for', 'synced', '--timeout', '60s');
    equal(r.code, 0, r.err);
    match(r.out, /blue → green {3}stage synced/);
  });

  it('ends the status with the way back and the counts', async () => {
    const { out } = await nxnw('status');
    const lines = out.trimEnd().split('\n');
    match(lines.at(-2) ?? '', /^back: none; blue serves/);
    match(lines.at(-1) ?? '', /^errors \d+, passes that found a difference 0, repairs 0$/);
  });

  it('pauses, resumes and throttles, and remembers who and why', async () => {
    equal((await nxnw('pause', '--reason', 'backup window')).code, 0);
    equal((await status()).pause?.reason, 'backup window');
    equal((await nxnw('resume')).code, 0);
    equal((await nxnw('throttle', '--entities-per-s', '1000')).code, 0);
    equal((await status()).throttle.entitiesPerS, 1000);
    match((await nxnw('events')).out, /eva: load: backup window/);
  });

  it('verifies and examines both sides', async () => {
    const shallow = await nxnw('verify');
    equal(shallow.code, 0, shallow.err);
    match(shallow.out, /0 of 4 shards differ/);
    equal((await nxnw('verify', '--deep')).code, 0);
    const doctor = await nxnw('doctor');
    equal(doctor.code, 0, doctor.out);
    match(doctor.out, /N1 ZooKeeper/);
    match((await nxnw('forecast')).out, /blue → green/);
    match((await nxnw('logs', '--role', 'app')).out, /== m app/);
  });

  it('switches and goes back; refusals by a hold and by the latch end with 4', async () => {
    equal((await nxnw('hold', '--reason', 'sale')).code, 0);
    equal((await nxnw('switch')).code, 4);
    equal((await nxnw('release', '--hold')).code, 0);
    const there = await nxnw('switch');
    equal(there.code, 0, there.err);
    match(there.out, /back: nxnw back --stack green --reason/);
    const destroy = await nxnw('destroy', '--yes');
    equal(destroy.code, 4, destroy.err);
    match(destroy.err, /SWITCHED.*nxnw back --stack green/);
    equal((await nxnw('back', '--reason', 'errors seen')).code, 0);
    const again = await nxnw('switch');
    equal(again.code, 4);
    match(again.err, /LATCHED.*errors seen/);
    equal((await nxnw('release', '--latch')).code, 0);
    match((await nxnw('rehearse')).out, /there: 4 shards.*\nback: {2}4 shards/);
    equal((await status()).latch, null);
    match((await nxnw('report')).out, /"source": "blue"/);
  });

  it('names the dead process that left a stack locked, and how to clear it', async () => {
    const state = join(pair.dir, '.nxnw', 'state');
    const locks = join(state, '.pulumi', 'locks', 'organization', 'nxnw', 'red');
    mkdirSync(locks, { recursive: true });
    const gone = spawn(process.execPath, ['-e', '']);
    await new Promise((ok) => gone.on('close', ok));
    const { hostname } = await import('node:os');
    const lock = { pid: gone.pid, username: 'eva', hostname: hostname(), timestamp: '2026-01-01T00:00:00Z' };
    writeFileSync(join(locks, '1.json'), JSON.stringify(lock));
    const env = { PULUMI_BACKEND_URL: `file://${state}` };
    Object.assign(process.env, env);
    const r = await nxnw('up', '--stack', 'red', '--yes');
    delete process.env['PULUMI_BACKEND_URL'];
    equal(r.code, 1, r.err);
    match(r.err, new RegExp(`STACK_LOCKED.*process ${String(gone.pid)} of eva.*gone.*nxnw cancel --stack red`));
  });
});
