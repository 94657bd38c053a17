import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureTools } from '@nxnw/tools';
import { until } from '../support/agents.js';
import { NewMachine } from '../support/enrolling.js';
import type { Told } from '../support/enrolling.js';
import { TestStack } from './stack.js';
import type { Ran } from './stack.js';

const HOST = '127.47.2.11';

/** One machine of a cloud as its components make it; the cloud's part, to start it with its token, is the test's. */
const program = (days: number) => `
const { Authority } = require('@nxnw/migration/resources/authority');
const { Certificate } = require('@nxnw/migration/resources/certificate');
const { Enrolment, EnrolmentToken } = require('@nxnw/migration/resources/enrolment');
const authority = new Authority('authority', { platformId: 'probe' });
const operator = new Certificate('operator', {
  authorityCert: authority.cert, authorityKey: authority.key, name: 'operator', hosts: [], days: 730,
});
const at = { platformId: 'probe', machine: 'data-1', agent: '${HOST}:7400', authorityCert: authority.cert };
const token = new EnrolmentToken('token', { ...at, generation: 0 });
const enrolment = new Enrolment('enrolment', {
  ...at, authorityKey: authority.key, hosts: ['${HOST}'], serverId: 'i-1', token: token.token, operator: operator.tls,
  days: ${String(days)}, waitMinutes: 1, cloud: 'kvm', console: 'virsh console data-1',
});
// as a cloud does with user data, when it is known
pulumi.jsonStringify({
  platformId: 'probe', machine: 'data-1', host: '${HOST}', port: 7400, token: token.token, ca: authority.cert,
}).apply((text) => require('node:fs').writeFileSync(dir + '/told.json', text));
exports.fingerprint = enrolment.fingerprint;
`;

describe('enrolment by the real Pulumi', () => {
  let stack: TestStack;
  const machines: NewMachine[] = [];

  before(async function () {
    this.timeout(600_000);
    await ensureTools(['pulumi']);
    stack = new TestStack(program(10));
    await stack.init();
  });

  after(async () => {
    for (const m of machines) await m.remove();
    stack.remove();
  });

  /** Runs `up`, and boots a machine with the user data that the run makes. */
  async function upWithMachine(): Promise<{ ran: Ran; machine: NewMachine }> {
    const path = join(stack.dir, 'told.json');
    rmSync(path, { force: true });
    const up = stack.up();
    await until('user data', 60_000, () => Promise.resolve(existsSync(path)));
    const told = JSON.parse(readFileSync(path, 'utf8')) as Told;
    const machine = new NewMachine(mkdtempSync(join(tmpdir(), 'nxnw-probe-data-1-')), told);
    machines.push(machine);
    machine.start();
    return { ran: await up, machine };
  }
  const fingerprint = async () => (await stack.run(['stack', 'output', 'fingerprint', '--stack', 'dev'])).text.trim();
  const ok = (r: Ran): Ran => {
    assert.equal(r.code, 0, r.text);
    return r;
  };

  it('makes a machine a member, and is quiet then, in previews and refreshes', async () => {
    const { ran, machine } = await upWithMachine();
    ok(ran);
    assert.deepEqual([machine.isEnrolled, machine.hasToken], [true, false]);
    ok(await stack.quiet());
    ok(await stack.quietRefresh());
  });

  it('keeps token and keys out of state and output as plain text', async () => {
    const { ran } = { ran: await stack.run(['stack', 'export', '--stack', 'dev']) };
    for (const text of [ok(ran).text, stack.state()]) {
      assert.equal(text.includes(machines[0]?.token ?? '?'), false);
      assert.doesNotMatch(text, /PRIVATE KEY/);
    }
  });

  it('gives the machine a fresh key when its certificate is due, and leaves its token', async () => {
    const before = await fingerprint();
    stack.program(program(365));
    const ran = ok(await stack.up());
    assert.match(ran.text, /1 updated/);
    assert.notEqual(await fingerprint(), before);
    ok(await stack.quiet());
  });

  it('sees in a refresh that the machine is lost, and enrols the one that is made with a fresh token', async () => {
    const lost = machines[0];
    assert.ok(lost);
    await lost.remove();
    ok(await stack.quiet());
    ok(await stack.refresh());
    const { ran, machine } = await upWithMachine();
    ok(ran);
    assert.notEqual(machine.token, lost.token);
    assert.equal(machine.isEnrolled, true);
    ok(await stack.quietRefresh());
  });
});
