import assert from 'node:assert/strict';
import { join } from 'node:path';
import { terraformAws } from '@nxnw/tools';
import { startRoute53, ZONE } from '../integration/dns-support.js';
import { AWS_KEYS } from '../support/aws-sdk.js';
import { operatorDoor } from '../support/door.js';
import { Ec2Lab } from '../support/ec2-lab.js';
import { liveMove } from '../support/live-move.js';
import { endLocalMachines } from '../support/local-machines.js';
import { Project } from '../support/project.js';
import { serveZone } from '../support/route53-names.js';
import { AGENT_PORT, amazon, BASE, bringTools, labMissing } from './platform.js';

const APP = 'gazetteer';
const NAME = `${APP}.${ZONE}`;
const EDGE_PORT = 8080;
const COORDINATOR_PORT = 7450;
const N1_NETWORK = `${BASE}.100`;
const SUBNET = 4;
const TTL_S = 2;
/** What the record has before: the move waits for as long. */
const RESTORE_TTL_S = 10;
const ROUTE53_HOST = `${BASE}.253.1`;
const DNS = { host: `${BASE}.253.2`, port: 5353 } as const;
const RUN_MS = 30 * 60_000;

/** A running application moves from this machine to EC2 under load, and its name by Route 53; the oracle judges. */
describe('a live move from local machines with lmdb to EC2 with lmdb', function () {
  this.timeout(60 * 60_000);
  let lab: Ec2Lab;
  let project: Project;
  let zone: { endpoint: string; hostedZoneId: string };
  const ends: (() => unknown)[] = [];

  before(async function () {
    const missing = labMissing();
    if (missing !== null) {
      console.log(`      skipped: ${missing}`);
      this.skip();
    }
    await bringTools();
    const ports = [AGENT_PORT, EDGE_PORT, COORDINATOR_PORT];
    lab = await Ec2Lab.start({ base: BASE, api: 252, publics: 202, subnets: [SUBNET], ports });
    ends.push(() => lab.stop());
    const route53 = await startRoute53(ROUTE53_HOST);
    ends.push(() => route53.stop());
    zone = route53;
    const names = await serveZone({ ...DNS, ...zone });
    ends.push(() => names.stop());
    project = new Project(join(lab.dir, 'home'), { ...AWS_KEYS, TF_PROVIDER_AWS: terraformAws() ?? '' });
    project.make();
    ends.push(() => endLocalMachines(join(lab.dir, 'blue')));
  });

  after(async () => {
    for (const end of ends.reverse()) await end();
  });

  const side = (stack: string, network: string, config: (stage: string) => Record<string, unknown>) => ({
    up: async (stage: string) => {
      const { endpoint, hostedZoneId } = zone;
      const credentials = { accessKeyId: AWS_KEYS.AWS_ACCESS_KEY_ID, secretAccessKey: AWS_KEYS.AWS_SECRET_ACCESS_KEY };
      project.write(stack, {
        platform: { name: 'shop', protect: false },
        edge: { httpPort: EDGE_PORT },
        dns: {
          ...{ driver: 'route53', zone: ZONE, name: NAME, ttlSeconds: TTL_S, restoreTtlSeconds: RESTORE_TTL_S },
          route53: { hostedZoneId, endpoint, credentials },
        },
        ...config(stage),
      });
      const signal = new AbortController().signal;
      await project.nxnw(['up', '--yes', '--stack', stack], { timeoutMs: RUN_MS, priority: 'normal', signal });
    },
    has: (instance: string) => instance.startsWith(`${network}.`),
  });

  it('loses nothing, tears nothing, fails no request', async () => {
    const subnets = [{ cidr: `${BASE}.${String(SUBNET)}.0/24`, zone: 'us-east-1a' }];
    const access = { operators: [`${BASE}.0.0/16`], peers: [`${N1_NETWORK}.0/24`] };
    const moved = await liveMove({
      dir: join(lab.dir, 'move'),
      app: APP,
      n1: side('blue', N1_NETWORK, () => ({
        cloud: {
          kind: 'local',
          appMachines: 1,
          local: { network: `${N1_NETWORK}.0/24`, directory: join(lab.dir, 'blue') },
        },
        datastore: { processes: 1, shards: 4 },
        apps: [{ id: APP, bundle: './examples/gazetteer', instances: 2 }],
      })),
      n2: side('green', `${BASE}.${String(SUBNET)}`, (stage) => ({
        cloud: { kind: 'ec2', appMachines: 1, ec2: amazon(lab.endpoint, { subnets, access }) },
        datastore: { processes: 1 },
        migrateFrom: 'blue',
        stage,
      })),
      clients: { host: NAME, port: EDGE_PORT, dns: DNS },
      access: () => project.access('green'),
      door: () => operatorDoor(project.access('green'), `${BASE}.${String(SUBNET)}.16`),
      say: (line) => console.log(`      ${line}`),
    });
    assert.deepEqual(moved.faults, []);
  });
});
