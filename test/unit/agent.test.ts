import assert from 'node:assert/strict';
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canonicalJson } from '@nxnw/platform/agent/files';
import { javaProgram } from '@nxnw/platform/agent/home';
import { logPath, rotateLogs, tailLog } from '@nxnw/platform/agent/logs';
import { hashProcesses } from '@nxnw/platform/agent/plan';
import type { PlannedFile, RolePlan } from '@nxnw/platform/agent/plan';
import { machineSpecSchema } from '@nxnw/platform/agent/spec';
import type { RoleSpecInput } from '@nxnw/platform/agent/spec';
import { backoffMs } from '@nxnw/platform/agent/supervise';

describe('a role specification', () => {
  const faults = (roles: readonly RoleSpecInput[]): string[] => {
    const parsed = machineSpecSchema.safeParse({ roles });
    return parsed.success ? [] : parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`);
  };

  it('gets its defaults', () => {
    const [locks] = machineSpecSchema.parse({ roles: [{ kind: 'locks', id: 'locks', host: '127.0.0.1' }] }).roles;
    assert.ok(locks?.kind === 'locks');
    assert.deepEqual([locks.clientPort, locks.members, locks.tickTimeMs], [2181, [], 500]);
  });

  it('may not name an embedded store that the machine does not have', () => {
    const datastore: RoleSpecInput = {
      kind: 'datastore',
      id: 'd1',
      processId: 'd1',
      peer: { host: '127.0.0.1', port: 7001 },
      locks: { servers: ['127.0.0.1:2181'] },
      store: { kind: 'lmdb', role: 'store' },
      apps: [],
    };
    assert.deepEqual(faults([datastore]), ['roles.0.store: this machine has no lmdb role "store"']);
    assert.deepEqual(faults([datastore, { kind: 'lmdb', id: 'store' }]), []);
  });
});

describe('the Java program', () => {
  const home = process.env['JAVA_HOME'];
  afterEach(() => {
    if (home === undefined) delete process.env['JAVA_HOME'];
    else process.env['JAVA_HOME'] = home;
  });

  it('is named as missing where JAVA_HOME leads to none, before anything is started', () => {
    process.env['JAVA_HOME'] = '/nowhere/java';
    assert.throws(
      () => javaProgram(),
      /JAVA_HOME names \/nowhere\/java, where bin\/java is no program; correct or unset it/,
    );
  });
});

describe('a plan', () => {
  const role = (files: readonly PlannedFile[], env: Record<string, string> = {}): RolePlan => ({
    dirs: [],
    version: '',
    files,
    processes: [
      {
        name: 'p',
        command: '/bin/p',
        args: [],
        env,
        cwd: '/',
        listens: [],
        probe: () => Promise.resolve({ ok: true, detail: '' }),
        stopSignal: 'SIGTERM',
        stopGraceMs: 1,
      },
    ],
  });
  const hashes = (files: readonly PlannedFile[], env?: Record<string, string>) => {
    const [p] = hashProcesses(role(files, env));
    return [p?.restartHash, p?.reloadHash];
  };

  it('asks for a restart or a reload only by the files that need it', () => {
    const file = (content: string, onChange: PlannedFile['onChange']) => [{ path: '/f', content, onChange }];
    const [restart, reload] = hashes(file('a', 'restart'));
    assert.deepEqual(hashes(file('a', 'restart')), [restart, reload]);
    assert.notEqual(hashes(file('b', 'restart'))[0], restart);
    assert.equal(hashes(file('b', 'restart'))[1], reload);
    assert.equal(hashes(file('a', 'reload'))[0], hashes(file('b', 'reload'))[0]);
    assert.notEqual(hashes(file('a', 'reload'))[1], hashes(file('b', 'reload'))[1]);
    assert.deepEqual(hashes(file('a', 'nothing')), hashes(file('b', 'nothing')));
  });

  it('asks for a restart when the environment changes, in whatever order it is written', () => {
    assert.notEqual(hashes([], { A: '1' })[0], hashes([], { A: '2' })[0]);
    assert.equal(hashes([], { A: '1', B: '2' })[0], hashes([], { B: '2', A: '1' })[0]);
    assert.equal(canonicalJson({ b: [{ d: 1, c: 2 }], a: null }), '{"a":null,"b":[{"c":2,"d":1}]}');
  });
});

describe('the back-off', () => {
  it('doubles from half a second to half a minute', () => {
    assert.deepEqual([0, 1, 2, 3, 7, 60].map(backoffMs), [0, 500, 1000, 2000, 30_000, 30_000]);
  });
});

describe('a log', () => {
  it('is cut when it grows too large, while its process goes on writing to it', () => {
    const dir = mkdtempSync(join(tmpdir(), 'nxnw-logs-'));
    mkdirSync(join(dir, 'logs'));
    const path = logPath(dir, 'p');
    const fd = openSync(path, 'a');
    for (const word of ['one', 'two', 'three', 'four']) {
      writeSync(fd, `${word}\n`);
      rotateLogs(dir, 4);
    }
    writeSync(fd, 'x\n');
    rotateLogs(dir, 4);
    closeSync(fd);
    assert.deepEqual(tailLog(path, 10), ['x']);
    assert.deepEqual([tailLog(`${path}.1`, 10), tailLog(`${path}.2`, 10)], [['four'], ['three']]);
    assert.deepEqual(readdirSync(join(dir, 'logs')).sort(), ['p.log', 'p.log.1', 'p.log.2']);
    rmSync(dir, { recursive: true });
  });
});
