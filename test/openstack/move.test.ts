import assert from 'node:assert/strict';
import { join } from 'node:path';
import { ensureTools } from '@nxnw/tools';
import { ensureImage, imageDir } from '@nxnw/tools/image/build';
import { EmulatedMove } from '../support/emulated-move.js';
import { VIRT, makeFlavors, openstack } from './cloud.js';
import { OPERATOR, OUTER_CIDR, OpenstackLab } from './lab/lab.js';
import { NEEDS, whyNoOpenstack } from './lab/needs.js';

const DATA_MIB = 1024;
const INSTANCES = '10.98.0.';

describe('a live move from local machines with lmdb to servers of OpenStack with lmdb', function () {
  this.timeout(120 * 60_000);
  let lab: OpenstackLab | undefined;
  let move: EmulatedMove | undefined;

  before(async function () {
    console.log(`      needs ${NEEDS}. All of it takes half an hour or more by emulation`);
    const why = await whyNoOpenstack();
    if (why !== null) {
      console.log(`      skipped: ${why}`);
      this.skip();
    }
    await ensureTools(['pulumi', 'zookeeper', 'cassandra', 'memcached', 'haproxy', 'knot', 'openstack-provider']);
    const image = await ensureImage();
    lab = await OpenstackLab.start(VIRT);
    await makeFlavors(lab, { data: DATA_MIB });
    await lab.image('nxnw', join(imageDir(), image.qcow2));
    Object.assign(process.env, lab.env());
    // servers go out by the project's router, which has an address of the outer network
    move = await EmulatedMove.prepare({ network: '127.67.1', outside: OPERATOR, clients: [OUTER_CIDR] });
  });

  afterEach(async function () {
    if (this.currentTest?.isFailed() !== true) return;
    console.log(this.currentTest.err?.message);
    await move?.showLogs();
    console.log(`---- ended of the cloud's programs: ${lab?.ended().join(', ') ?? ''}`);
  });

  after(async () => {
    for (const name of Object.keys(lab?.env() ?? {})) Reflect.deleteProperty(process.env, name);
    await move?.end();
    await lab?.stop();
  });

  it('loses nothing, tears nothing, fails no request', async () => {
    assert.ok(move);
    const n2 = { cloud: openstack(), store: { diskGiB: 1 }, cache: { memoryMiB: 32 } };
    assert.deepEqual(await move.run(INSTANCES, n2), []);
  });
});
