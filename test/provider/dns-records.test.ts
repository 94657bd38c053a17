import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isAlive } from '@nxnw/platform/agent/procfs';
import { makeDnsRecord, removeDnsRecord } from '@nxnw/migration/resources/engines/dns-records';
import { openDnsDriver, parseDnsSettings } from '@nxnw/migration/cutover/settings';
import { ensureTools } from '@nxnw/tools';
import { startZone } from '../support/zone.js';
import type { Zone } from '../support/zone.js';

const BLUE = ['127.30.6.201'];
const GREEN = ['127.30.7.201'];

describe("the clients' name of a platform", () => {
  let zone: Zone;
  const dir = mkdtempSync(join(tmpdir(), 'nxnw-dns-records-'));
  const said: string[] = [];
  const log = (line: string): void => void said.push(line);

  before(async function () {
    this.timeout(300_000);
    await ensureTools(['knot']);
    zone = await startZone({ dir, host: '127.30.6.53', port: 5353, zone: 'apps.test', ttlS: 5, records: {} });
  });

  after(async () => {
    process.kill(zone.pid, 'SIGTERM');
    // it writes its database until it has ended
    for (const end = Date.now() + 20_000; isAlive(zone);) {
      assert.ok(Date.now() < end, 'the zone server did not end');
      await delay(20);
    }
    rmSync(dir, { recursive: true, force: true });
  });

  const inputs = (addresses: readonly string[]) => ({
    dns: {
      driver: 'rfc2136',
      zone: 'apps.test',
      name: 'shop.apps.test',
      ttlSeconds: 5,
      restoreTtlSeconds: 60,
      rfc2136: { server: '127.30.6.53:5353', keyName: zone.keyName, keySecret: zone.keySecret },
    },
    addresses,
    logUrn: '',
  });

  async function values(): Promise<readonly string[]> {
    const driver = openDnsDriver(parseDnsSettings(inputs(BLUE).dns));
    try {
      return (await driver.read('shop.apps.test', 'A', Date.now() + 5000))?.values ?? [];
    } finally {
      driver.close();
    }
  }

  it('is made where there is none, and again it changes nothing', async () => {
    await makeDnsRecord(inputs(BLUE), null, log);
    await makeDnsRecord(inputs(BLUE), null, log);
    assert.deepEqual(await values(), BLUE);
  });

  it("is left alone by another platform's up and destroy", async () => {
    await makeDnsRecord(inputs(GREEN), null, log);
    assert.match(said.join('\n'), /127\.30\.6\.201 and stays so/);
    await removeDnsRecord(inputs(GREEN), log);
    assert.deepEqual(await values(), BLUE);
  });

  it("follows the platform's own edges", async () => {
    const grown = [...BLUE, '127.30.6.202'];
    await makeDnsRecord(inputs(grown), inputs(BLUE), log);
    assert.deepEqual(await values(), grown);
    await removeDnsRecord(inputs(grown), log);
    assert.deepEqual(await values(), []);
  });

  it('is refused with the code for a wrong key', async () => {
    const wrong = inputs(BLUE);
    wrong.dns.rfc2136.keySecret = Buffer.from('another key that is long enough').toString('base64');
    await assert.rejects(makeDnsRecord(wrong, null, log), { code: 'DNS_REFUSED' });
  });
});
