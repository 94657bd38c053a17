import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { packBundle, readManifest, unpackBundle } from '@nxnw/platform/apps/bundle';
import { packagePlacements } from '@nxnw/platform/apps/packages';
import { readTar, writeTar } from '@nxnw/platform/apps/tar';
import { hasCode } from '@nxnw/platform/errors';

describe('a bundle', () => {
  let dir: string;
  const put = (path: string, content: string, mode = 0o644): void => {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), content, { mode });
  };
  const pack = (name: string, dependencies: Record<string, string>): string =>
    JSON.stringify({ name, version: '1.0.0', dependencies });

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'nxnw-bundle-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it('has the same digest for the same files, and another one for another byte', () => {
    put('app.yaml', 'runtime: custom\nentrypoint: ./run\n');
    put('run', '#!/bin/sh\n', 0o755);
    const first = packBundle(dir);
    assert.equal(packBundle(dir).digest, first.digest);
    put('run', '#!/bin/sh\n# x\n', 0o755);
    assert.notEqual(packBundle(dir).digest, first.digest);
  });

  it('comes out as it went in, with what may be run', () => {
    put('app.yaml', 'runtime: custom\nentrypoint: [./run, --now]\n');
    put('bin/deep/run', 'x'.repeat(1000), 0o755);
    put('empty', '');
    const target = join(dir, 'unpacked');
    unpackBundle(packBundle(dir).archive, target);
    assert.equal(readFileSync(join(target, 'bin/deep/run'), 'utf8'), 'x'.repeat(1000));
    assert.equal(statSync(join(target, 'bin/deep/run')).mode & 0o777, 0o755);
    assert.equal(statSync(join(target, 'empty')).size, 0);
    assert.deepEqual(readManifest(target).entrypoint, ['./run', '--now']);
  });

  it('names every fault of its app.yaml', () => {
    put('app.yaml', 'runtime: cobol\nport: 80\n');
    assert.throws(
      () => packBundle(dir),
      (e) => {
        assert.ok(hasCode(e, 'BUNDLE_INVALID'));
        assert.match(e.message, /runtime: .*entrypoint: .*port/s);
        return true;
      },
    );
    rmSync(join(dir, 'app.yaml'));
    assert.throws(() => packBundle(dir), /has no app.yaml/);
  });

  it('takes along the npm packages that it needs, each in the version that it finds now', () => {
    put('app/package.json', pack('app', { a: '1', b: '2' }));
    put('app/app.yaml', 'runtime: node\nentrypoint: index.js\n');
    put('app/node_modules/b/package.json', pack('b2', {}));
    put('node_modules/a/package.json', pack('a', { b: '1', c: '1' }));
    put('node_modules/b/package.json', pack('b1', {}));
    put('node_modules/c/package.json', pack('c', { a: '1' }));
    put('node_modules/unused/package.json', pack('unused', {}));
    const names = (from: string): string => readFileSync(join(from, 'package.json'), 'utf8');
    const placed = packagePlacements(join(dir, 'app')).map((p) => [
      p.path,
      /"name":"(\w+)"/.exec(names(p.source))?.[1],
    ]);
    assert.deepEqual(placed, [
      ['node_modules/a', 'a'],
      ['node_modules/b', 'b2'],
      ['node_modules/a/node_modules/b', 'b1'],
      ['node_modules/c', 'c'],
    ]);
    const paths = readTar(packBundle(join(dir, 'app')).archive).map((e) => e.path);
    assert.deepEqual(
      paths.filter((p) => p.startsWith('node_modules/a/')),
      ['node_modules/a/node_modules/b/package.json', 'node_modules/a/package.json'],
    );
  });

  it('says which npm package is missing', () => {
    put('package.json', pack('app', { 'not-there': '1' }));
    assert.throws(() => packagePlacements(dir), /"not-there".*is not installed/);
  });
});

describe('an archive', () => {
  const entry = (path: string) => ({ path, executable: false, content: Buffer.from('x') });

  it('holds long paths', () => {
    const path = `${'d'.repeat(80)}/${'e'.repeat(70)}/${'f'.repeat(90)}`;
    assert.deepEqual(readTar(writeTar([entry(path)])), [entry(path)]);
    assert.throws(
      () => writeTar([entry('g'.repeat(101))]),
      (e) => hasCode(e, 'BUNDLE_INVALID'),
    );
  });

  it('is refused when it is cut or would write outside', () => {
    const whole = writeTar([entry('a')]);
    assert.throws(() => readTar(whole.subarray(0, 1024)), /ends too early/);
    assert.throws(() => readTar(writeTar([entry('../a')])), /may not have/);
    assert.throws(() => readTar(writeTar([entry('/etc/a')])), /may not have/);
  });
});
