import assert from 'node:assert/strict';
import {
  drainStep,
  isDrained,
  noteBefore,
  pointing,
  sideOf,
  type DrainState,
  type Found,
  type LoweredNote,
} from '@nxnw/migration/cutover/decide';
import { sameSet, type DnsChange, type DnsDriver, type RecordSet, type RecordType } from '@nxnw/migration/cutover/dns';
import { DnsHandoff, type Clock } from '@nxnw/migration/cutover/handoff';
import { parseDnsSettings } from '@nxnw/migration/cutover/settings';
import { conflict } from '@nxnw/migration/cutover/rfc2136';

const NAME = 'shop.example';
const sides = { source: ['10.0.0.1'], target: ['10.0.1.1', '10.0.1.2'] };
const a = (ttlS: number, ...values: string[]): RecordSet => ({ name: NAME, type: 'A', ttlS, values });

/** A zone in memory, a clock that only moves when somebody sleeps, and a way to stop the process at a chosen call. */
class World implements DnsDriver, Clock {
  ms = 1_000_000;
  slept = 0;
  note: LoweredNote | null = null;
  readonly log: string[] = [];
  private readonly sets = new Map<RecordType, RecordSet>();
  crashAt: string | undefined;

  constructor(set: RecordSet) {
    this.sets.set(set.type, set);
  }

  private did(what: string): void {
    if (this.crashAt === what) {
      this.crashAt = undefined;
      throw new Error(`crash at ${what}`);
    }
    this.log.push(what);
  }
  get set(): RecordSet | undefined {
    return this.sets.get('A');
  }
  put(set: RecordSet): void {
    this.sets.set(set.type, set);
  }

  read = (_name: string, type: RecordType): Promise<RecordSet | null> => Promise.resolve(this.sets.get(type) ?? null);
  change = (expected: RecordSet | null, wanted: RecordSet | null): Promise<DnsChange> => {
    const type = (wanted ?? expected)?.type ?? 'A';
    const found = this.sets.get(type) ?? null;
    if (!sameSet(found, expected) && !sameSet(found, wanted)) return Promise.reject(conflict(NAME, expected, found));
    if (wanted) this.sets.set(type, wanted);
    else this.sets.delete(type);
    return Promise.resolve()
      .then(() => this.did('changed'))
      .then(() => ({ name: NAME, type, wanted, token: '' }));
  };
  awaitInSync = (): Promise<void> => Promise.resolve().then(() => this.did('inSync'));
  close = (): void => undefined;

  nowMs = (): number => this.ms;
  sleep = (ms: number): Promise<void> => {
    this.ms += ms;
    this.slept += ms;
    return Promise.resolve();
  };

  handoff(): DnsHandoff {
    return new DnsHandoff({
      ...{
        driver: this,
        name: 'Shop.example.',
        ttlSeconds: 60,
        restoreTtlSeconds: 3600,
        addresses: sides,
        clock: this,
      },
      notes: {
        load: () => Promise.resolve(this.note),
        save: (note) => {
          this.note = note;
          return Promise.resolve().then(() =>
            this.did((note?.loweredAtMs ?? null) === null ? 'noted' : 'notedLowered'),
          );
        },
      },
    });
  }
}

const signal = new AbortController().signal;

describe('the hand-over of a DNS name', () => {
  it('lowers the TTL, waits for the old one, moves, and restores', async () => {
    const w = new World(a(3600, '10.0.0.1'));
    const h = w.handoff();
    assert.deepEqual(await h.lowerTtl(), { oldTtlS: 3600 });
    assert.deepEqual(w.set, a(60, '10.0.0.1'));
    await h.waitOldTtl(signal);
    assert.equal(w.slept, 3_600_000);
    await h.pointAt('target');
    assert.deepEqual(w.set, a(60, '10.0.1.1', '10.0.1.2'));
    assert.equal(await h.pointsAt(), 'target');
    await h.restoreTtl();
    assert.deepEqual(w.set, a(3600, '10.0.1.1', '10.0.1.2'));
    assert.equal(w.note, null);
  });

  it('goes back to N1 as it came', async () => {
    const w = new World(a(60, '10.0.0.1'));
    await w.handoff().pointAt('target');
    await w.handoff().pointAt('source');
    assert.deepEqual(w.set, a(60, '10.0.0.1'));
  });

  for (const at of ['noted', 'changed', 'inSync', 'notedLowered'])
    it(`still waits for the whole old TTL when it crashed at "${at}" while lowering`, async () => {
      const w = new World(a(3600, '10.0.0.1'));
      w.crashAt = at;
      await assert.rejects(w.handoff().lowerTtl(), /crash/);
      w.ms += 100_000;
      const h = w.handoff();
      const { oldTtlS } = await h.lowerTtl();
      assert.ok(oldTtlS >= 3500, `${oldTtlS} s`);
      await h.waitOldTtl(signal);
      assert.ok(w.ms >= 1_000_000 + 3_600_000);
      assert.deepEqual(w.set, a(60, '10.0.0.1'));
    });

  it('a repeated lowering answers what is left of the old TTL', async () => {
    const w = new World(a(3600, '10.0.0.1'));
    await w.handoff().lowerTtl();
    w.ms += 3_000_000;
    assert.deepEqual(await w.handoff().lowerTtl(), { oldTtlS: 600 });
    w.ms += 3_000_000;
    assert.deepEqual(await w.handoff().lowerTtl(), { oldTtlS: 0 });
  });

  it('does not raise a TTL that is low already, and waits for it', async () => {
    const w = new World(a(5, '10.0.0.1'));
    assert.deepEqual(await w.handoff().lowerTtl(), { oldTtlS: 5 });
    assert.deepEqual(w.set, a(5, '10.0.0.1'));
    await w.handoff().pointAt('target');
    assert.equal(w.set?.ttlS, 5);
  });

  it('refuses to wait before anything was lowered', async () => {
    const w = new World(a(3600, '10.0.0.1'));
    await assert.rejects(w.handoff().waitOldTtl(signal), { code: 'DNS_NOT_LOWERED' });
  });

  it("leaves somebody else's record alone, and says what it found", async () => {
    const w = new World(a(3600, '192.0.2.9'));
    await assert.rejects(w.handoff().lowerTtl(), { code: 'DNS_FOREIGN', message: /192\.0\.2\.9.*10\.0\.0\.1/ });
    await assert.rejects(w.handoff().pointAt('target'), { code: 'DNS_FOREIGN' });
    assert.deepEqual(w.log, []);
    assert.equal(w.note, null);
  });

  it('removes a type of address that the other side has not, and goes on when it was interrupted between the types', () => {
    const two = { source: ['10.0.0.1', '2001:db8::1'], target: ['10.0.1.1'] };
    const aaaa: RecordSet = { name: NAME, type: 'AAAA', ttlS: 60, values: ['2001:db8::1'] };
    const found: Found = { A: a(60, '10.0.0.1'), AAAA: aaaa };
    assert.equal(sideOf(found, two), 'source');
    assert.deepEqual(pointing(NAME, found, two, 'target', 60), [
      { expected: a(60, '10.0.0.1'), wanted: a(60, '10.0.1.1') },
      { expected: aaaa, wanted: null },
    ]);
    const half: Found = { A: a(60, '10.0.1.1'), AAAA: aaaa };
    assert.equal(sideOf(half, two), null);
    assert.deepEqual(pointing(NAME, half, two, 'target', 60)[1], { expected: aaaa, wanted: null });
  });

  it('remembers the longer TTL when somebody raises it again in between', () => {
    const noted = { name: NAME, oldTtlS: 300, loweredAtMs: 5 };
    assert.deepEqual(noteBefore(NAME, { A: a(60, '10.0.0.1'), AAAA: null }, 60, noted), noted);
    assert.deepEqual(noteBefore(NAME, { A: a(900, '10.0.0.1'), AAAA: null }, 60, noted), { name: NAME, oldTtlS: 900, loweredAtMs: null }); // prettier-ignore
  });
});

describe("the drain of N1's edge", () => {
  const after = (...samples: [number, number][]): DrainState | null =>
    samples.reduce<DrainState | null>((s, [atMs, requests]) => drainStep(s, { atMs, requests }), null);

  it('ends when nothing came for a whole TTL', () => {
    const quiet = after([0, 10], [3000, 12], [7900, 12]);
    assert.ok(quiet && !isDrained(quiet, 5));
    const longer = quiet && drainStep(quiet, { atMs: 8000, requests: 12 });
    assert.ok(longer && isDrained(longer, 5));
  });

  it('takes an edge that was restarted for traffic', () => {
    const restarted = after([0, 10], [6000, 2]);
    assert.ok(restarted && !isDrained(restarted, 5));
  });

  it('counts what arrived, and gives up with the truth', async () => {
    const w = new World(a(60, '10.0.1.1', '10.0.1.2'));
    let requests = 0;
    const always = w
      .handoff()
      .awaitDrain(() => Promise.resolve(requests++), { atMostMs: 120_000, everyMs: 1000, signal });
    assert.deepEqual(await always, { drained: false, arrived: 121 });
    const h = w.handoff();
    const till = w.ms + 30_000;
    const some = h.awaitDrain(() => Promise.resolve(w.ms < till ? requests++ : requests), { atMostMs: 600_000, everyMs: 1000, signal }); // prettier-ignore
    assert.equal((await some).drained, true);
  });
});

describe('the settings of DNS', () => {
  const common = { zone: 'example', name: NAME, ttlSeconds: 60, restoreTtlSeconds: 3600 };

  it('are refused with every fault and its path, and no secret', () => {
    assert.throws(
      () =>
        parseDnsSettings({
          ...common,
          driver: 'rfc2136',
          ttlSeconds: 0,
          rfc2136: { server: 'x', keyName: '', keySecret: 'geheim' },
        }),
      (e: Error) => /ttlSeconds.*rfc2136\.server.*keyName/s.test(e.message) && !e.message.includes('geheim'),
    );
    assert.throws(() => parseDnsSettings({ ...common, driver: 'rfc2136' }), {
      code: 'DNS_CONFIG',
      message: /dns\.rfc2136/,
    });
    assert.throws(() => parseDnsSettings({ ...common, driver: 'bind' }), { code: 'DNS_CONFIG', message: /driver/ });
    const outside = { ...common, name: 'shop.other', driver: 'route53', route53: { hostedZoneId: 'Z1' } };
    assert.throws(() => parseDnsSettings(outside), { code: 'DNS_CONFIG', message: /not in the zone/ });
  });
});
