import { readFileSync, readdirSync } from 'node:fs';
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { type DnsDriver, type RecordSet } from '@nxnw/migration/cutover/dns';
import { Rfc2136Driver } from '@nxnw/migration/cutover/rfc2136';
import { Route53Driver } from '@nxnw/migration/cutover/route53';
import { KEY, ZONE, startKnot, startRoute53, within, type Knot, type Route53Double } from './dns-support.js';

const NAME = `shop.${ZONE}`;
const set = (ttlS: number, ...values: string[]): RecordSet => ({ name: NAME, type: 'A', ttlS, values });
const six = (...values: string[]): RecordSet => ({ name: NAME, type: 'AAAA', ttlS: 60, values });
const signal = new AbortController().signal;

/** What every driver must do, on the real thing (or the nearest to it that runs here). */
function contract(open: () => DnsDriver): void {
  let d: DnsDriver;
  beforeEach(async () => {
    d = open();
    for (const type of ['A', 'AAAA'] as const) {
      const left = await d.read(NAME, type, within(5000));
      if (left) await d.change(left, null, within(5000));
    }
  });
  afterEach(() => d.close());
  const change = async (from: RecordSet | null, to: RecordSet | null): Promise<void> =>
    d.awaitInSync(await d.change(from, to, within(5000)), within(5000), signal);

  it('reads, makes, replaces and removes a set', async () => {
    assert.equal(await d.read(NAME, 'A', within(5000)), null);
    await change(null, set(3600, '10.0.0.1'));
    assert.deepEqual(await d.read(NAME, 'A', within(5000)), set(3600, '10.0.0.1'));
    await change(set(3600, '10.0.0.1'), set(5, '10.0.0.1'));
    await change(set(5, '10.0.0.1'), set(5, '10.0.1.1', '10.0.1.2'));
    assert.deepEqual(await d.read(`${NAME.toUpperCase()}.`, 'A', within(5000)), set(5, '10.0.1.1', '10.0.1.2'));
    await change(set(5, '10.0.1.1', '10.0.1.2'), null);
    assert.equal(await d.read(NAME, 'A', within(5000)), null);
  });

  it('keeps the two types of address apart', async () => {
    await change(null, set(60, '10.0.0.1'));
    await change(null, six('2001:db8::1'));
    await change(set(60, '10.0.0.1'), null);
    assert.deepEqual(await d.read(NAME, 'AAAA', within(5000)), six('2001:db8::1'));
    assert.equal(await d.read(NAME, 'A', within(5000)), null);
  });

  it('changes nothing when somebody else has changed the set, and says what it found', async () => {
    await change(null, set(60, '10.0.0.1'));
    for (const expected of [set(60, '10.0.0.2'), set(60, '10.0.0.1', '10.0.0.2'), set(300, '10.0.0.1'), null])
      await assert.rejects(d.change(expected, set(60, '10.9.9.9'), within(5000)), {
        code: 'DNS_CONFLICT',
        message: /found "60 A 10\.0\.0\.1"/,
      });
    assert.deepEqual(await d.read(NAME, 'A', within(5000)), set(60, '10.0.0.1'));
  });

  it('one of two that race wins, and the other is told', async () => {
    await change(null, set(60, '10.0.0.1'));
    const other = open();
    const both = await Promise.allSettled([
      d.change(set(60, '10.0.0.1'), set(60, '10.0.0.2'), within(5000)),
      other.change(set(60, '10.0.0.1'), set(60, '10.0.0.3'), within(5000)),
    ]);
    assert.equal(both.filter((r) => r.status === 'fulfilled').length, 1);
    other.close();
  });

  it('counts a change as done when it is repeated', async () => {
    await change(null, set(60, '10.0.0.1'));
    await change(set(60, '10.0.0.1'), set(60, '10.0.0.2'));
    await change(set(60, '10.0.0.1'), set(60, '10.0.0.2'));
    await change(set(60, '10.0.0.2'), set(60, '10.0.0.2'));
    assert.deepEqual(await d.read(NAME, 'A', within(5000)), set(60, '10.0.0.2'));
  });
}

/** Stops a process, and waits until none of its threads runs any more: the signal takes effect a moment after it was sent. */
async function halt(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  const runs = (thread: string) => !/\) T /.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8'));
  while (readdirSync(`/proc/${pid}/task`).some(runs)) await delay(5);
}

describe('DNS by RFC 2136, on knot', function () {
  this.timeout(60_000);
  let primary: Knot;
  let secondary: Knot;
  const servers = [
    { name: 'ns1', host: '127.35.5.1' },
    { name: 'ns2', host: '127.35.5.2' },
  ];
  const open = (o: Partial<ConstructorParameters<typeof Rfc2136Driver>[0]> = {}): Rfc2136Driver =>
    new Rfc2136Driver({ zone: ZONE, server: { host: '127.35.5.1', port: 5353 }, ...KEY, pollEveryMs: 20, ...o });

  describe('with one server', () => {
    before(async () => {
      primary = await startKnot({ host: '127.35.5.1', port: 5353, servers: servers.slice(0, 1) });
    });
    after(() => primary.stop());
    contract(() => open());

    it('says why it is refused: wrong secret, unknown key, wrong zone, nobody there', async () => {
      const refused = async (o: Partial<ConstructorParameters<typeof Rfc2136Driver>[0]>, code: string, why: RegExp) =>
        assert.rejects(open(o).change(null, set(60, '10.0.0.1'), within(1500)), (e: Error & { code?: string }) => {
          assert.equal(e.code, code);
          assert.match(e.message, why);
          assert.ok(!e.message.includes(KEY.keySecret));
          return true;
        });
      await refused({ keySecret: Buffer.alloc(32, 9).toString('base64') }, 'DNS_REFUSED', /BADSIG|secret/);
      await refused({ keyName: 'nobody' }, 'DNS_REFUSED', /BADKEY|refuses/);
      await refused({ server: { host: '127.35.5.9', port: 5353 } }, 'DNS_UNREACHABLE', /127\.35\.5\.9:5353/);
      await assert.rejects(open().read('shop.other', 'A', within(1500)), { code: 'DNS_REFUSED' });
      assert.throws(() => open({ keySecret: 'short' }), { code: 'DNS_CONFIG' });
    });

    it('an update is not taken for done when the primary does not answer', async () => {
      await halt(primary.child.pid ?? 0);
      await assert.rejects(open().change(null, set(60, '10.0.0.1'), within(500)), { code: 'DNS_UNREACHABLE' });
      primary.child.kill('SIGCONT');
    });
  });

  describe('with a secondary that is behind', () => {
    before(async () => {
      primary = await startKnot({ host: '127.35.5.1', port: 5353, servers });
      secondary = await startKnot({ host: '127.35.5.2', port: 5353, servers, primary });
      const d = open();
      for (const end = within(10_000); ; await delay(50)) {
        const there = await open({ server: secondary })
          .read(ZONE, 'A', within(2000))
          .then(
            () => true,
            () => false,
          );
        if (there) break;
        assert.ok(Date.now() < end, 'the secondary has not transferred the zone');
      }
      d.close();
    });
    after(() => {
      secondary.stop();
      primary.stop();
    });

    it('waits until every authoritative server answers the change', async () => {
      const d = open();
      const change = await d.change(null, set(60, '10.0.0.1'), within(20_000));
      // A primary that is still busy with its journal would be named beside the secondary.
      assert.deepEqual(await d.read(NAME, 'A', within(20_000)), set(60, '10.0.0.1'));
      await assert.rejects(d.awaitInSync(change, within(4000), signal), {
        code: 'DNS_TIMEOUT',
        message: /127\.35\.5\.2:5353: no record/,
      });
      const waiting = d.awaitInSync(change, within(10_000), signal);
      await secondary.control('zone-refresh', ZONE);
      await waiting;
      assert.deepEqual(await open({ server: secondary }).read(NAME, 'A', within(2000)), set(60, '10.0.0.1'));
    });

    it('names a server that is down', async () => {
      const d = open();
      secondary.child.kill('SIGSTOP');
      const change = await d.change(set(60, '10.0.0.1'), set(60, '10.0.0.2'), within(5000));
      const stuck = d.awaitInSync(change, within(500), signal);
      await assert.rejects(stuck, { code: 'DNS_TIMEOUT', message: /127\.35\.5\.2/ });
      secondary.child.kill('SIGCONT');
    });
  });
});

describe('DNS by Route 53, on moto', function () {
  this.timeout(60_000);
  let aws: Route53Double;
  const open = (o: Partial<ConstructorParameters<typeof Route53Driver>[0]> = {}): Route53Driver =>
    new Route53Driver({
      ...{ hostedZoneId: aws.hostedZoneId, region: 'us-east-1', endpoint: aws.endpoint, pollEveryMs: 20 },
      ...{ credentials: { accessKeyId: 'test', secretAccessKey: 'test' } },
      ...o,
    });
  before(async () => {
    aws = await startRoute53('127.35.6.1');
  });
  after(() => aws.stop());
  beforeEach(() => {
    aws.pending = 0;
    aws.log.length = 0;
  });
  contract(() => open());

  it('waits until a change is INSYNC, also one that was made before a crash', async () => {
    const d = open();
    aws.pending = 3;
    const change = await d.change(null, set(60, '10.0.0.1'), within(5000));
    await d.awaitInSync(change, within(5000), signal);
    assert.equal(aws.log.filter((l) => l.includes('/change/')).length, 4);
    aws.log.length = 0;
    await d.awaitInSync(await d.change(null, set(60, '10.0.0.1'), within(5000)), within(5000), signal);
    assert.equal(aws.log.filter((l) => l.includes('/change/')).length, 4);
    aws.pending = 1000;
    const slow = await d.change(set(60, '10.0.0.1'), set(60, '10.0.0.2'), within(5000));
    await assert.rejects(d.awaitInSync(slow, within(200), signal), { code: 'DNS_TIMEOUT', message: /PENDING/ });
    d.close();
  });

  it('says why it fails: no such zone, nobody there', async () => {
    await assert.rejects(open({ hostedZoneId: 'ZNONE' }).read(NAME, 'A', within(5000)), {
      code: 'DNS_REFUSED',
      message: /ZNONE/,
    });
    const nobody = open({ endpoint: 'http://127.35.6.9:5001' });
    await assert.rejects(nobody.read(NAME, 'A', within(2000)), { code: 'DNS_UNREACHABLE' });
  });
});
