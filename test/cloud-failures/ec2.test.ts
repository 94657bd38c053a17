/**
 * What `nxnw up` says when EC2 refuses, by the real engine and the real Terraform provider. moto is the cloud, with a
 * proxy before it for what moto never says: that a quota is reached. Takes about 5 minutes.
 */
import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import { ensureTools, terraformAws } from '@nxnw/tools';
import { AWS_TEST_ENV, MotoEc2 } from '../support/moto-ec2.js';
import { explanations, NxnwProject } from '../support/nxnw-project.js';

const HOST = '127.66.1.11';
const PROXY_PORT = 5001;
const DENYING_PORT = 5002;

/** Passes requests on to moto, but for actions that are refused with EC2's own words. */
class Gate {
  /** Action -> code that EC2 gives. */
  readonly refused = new Map<string, string>();
  private readonly server: Server;

  private constructor(to: string) {
    this.server = createServer((req, res) => {
      const chunks: Buffer[] = [];
      req.on('data', (d: Buffer) => chunks.push(d));
      req.on('end', () => {
        const body = Buffer.concat(chunks);
        const code = this.refused.get(new URLSearchParams(body.toString()).get('Action') ?? '');
        if (code !== undefined) {
          res.writeHead(400, { 'content-type': 'text/xml' });
          res.end(`<?xml version="1.0"?><Response><Errors><Error><Code>${code}</Code><Message>refused</Message></Error></Errors><RequestID>r</RequestID></Response>`); // prettier-ignore
          return;
        }
        const headers = Object.entries(req.headers).flatMap(([k, v]) => (typeof v === 'string' && !/^(host|connection|content-length|accept-encoding|expect)$/.test(k) ? [[k, v]] : [])); // prettier-ignore
        fetch(to + (req.url ?? '/'), { method: req.method ?? 'POST', headers: Object.fromEntries(headers), ...(body.length === 0 ? {} : { body }) }) // prettier-ignore
          .then(async (r) =>
            res
              .writeHead(r.status, { 'content-type': r.headers.get('content-type') ?? 'text/xml' })
              .end(await r.text()),
          ) // prettier-ignore
          .catch((e: unknown) => res.writeHead(502).end(String(e)));
      });
    });
  }

  static async start(host: string, port: number, to: string): Promise<Gate> {
    const gate = new Gate(to);
    await new Promise<void>((ok, fail) => gate.server.once('error', fail).listen(port, host, ok));
    return gate;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise<void>((ok) => this.server.close(() => ok()));
  }
}

describe('failures of EC2', function () {
  this.timeout(900_000);
  let project: NxnwProject | undefined;
  let moto: MotoEc2 | undefined;
  let denying: MotoEc2 | undefined;
  let gate: Gate | undefined;

  before(async function () {
    if (terraformAws() === undefined) {
      console.log('      skipped: no executable of terraform-provider-aws; let TF_PROVIDER_AWS name it');
      this.skip();
    }
    await ensureTools(['pulumi', 'py']);
    moto = await MotoEc2.start(HOST);
    // this one looks at every signature, and knows nobody
    denying = await MotoEc2.start(HOST, DENYING_PORT, { INITIAL_NO_AUTH_ACTION_COUNT: '0' });
    gate = await Gate.start(HOST, PROXY_PORT, moto.url);
    project = await NxnwProject.create(['aws']);
  });

  after(async () => {
    project?.remove();
    await gate?.stop();
    await denying?.stop();
    await moto?.stop();
  });

  function at(port: number, image = 'ami-0aaaaaaa'): NxnwProject {
    assert.ok(project !== undefined);
    const url = `http://${HOST}:${String(port)}`;
    project.configure({
      kind: 'ec2',
      ec2: { image, access: { operators: ['203.0.113.0/24'] }, endpoints: { ec2: url, iam: url, sts: url } },
    });
    return project;
  }

  it('wrong credentials: a line with the cloud, the cause and the next step, and nothing is made', async () => {
    const ran = await at(DENYING_PORT).up(AWS_TEST_ENV);
    assert.equal(ran.code, 1, ran.text);
    const [line = ''] = explanations(ran);
    assert.match(
      line,
      /^nxnw: CLOUD_DENIED: cloud ec2, .*refuses the credentials.*Next: check the user.*`nxnw up`/,
      ran.text,
    );
    assert.doesNotMatch(project?.state() ?? '', /aws:ec2\/vpc:Vpc/);
  });

  it('an unreachable endpoint: the same, with its address', async () => {
    const ran = await at(1).up(AWS_TEST_ENV);
    assert.equal(ran.code, 1, ran.text);
    assert.match(explanations(ran)[0] ?? '', /^nxnw: CLOUD_UNREACHABLE: cloud ec2, .*127\.66\.1\.11:1.*Next: check its address/, ran.text); // prettier-ignore
  });

  it('a quota that is reached: the machine is named; a second up after it is raised makes only what is missing', async () => {
    assert.ok(gate !== undefined);
    gate.refused.set('RunInstances', 'VcpuLimitExceeded');
    const refused = await at(PROXY_PORT).up(AWS_TEST_ENV);
    assert.equal(refused.code, 1, refused.text);
    const lines = explanations(refused);
    assert.ok(
      lines.some((l) => /^nxnw: CLOUD_QUOTA: cloud ec2, .*aws:ec2:Instance platform-fleet-data-1 \(machine data-1\).*: .*VcpuLimitExceeded.*Next: ask the cloud for a higher limit/.test(l)), // prettier-ignore
      refused.text,
    );
    const vpc = /"(vpc-[0-9a-z]+)"/.exec(project?.state() ?? '')?.[1];
    assert.ok(vpc !== undefined);
    gate.refused.clear();
    const again = await at(PROXY_PORT).up(AWS_TEST_ENV);
    assert.equal(again.code, 0, again.text);
    assert.ok(project?.state().includes(vpc), 'the network that stood is the one that is used');
    assert.match(again.text, /\d+ unchanged/);
  });

  it('a name already taken: the resource that has it is named', async () => {
    assert.ok(gate !== undefined && moto !== undefined);
    gate.refused.set('CreateSecurityGroup', 'InvalidGroup.Duplicate');
    const other = await NxnwProject.create(['aws']);
    try {
      other.configure({
        kind: 'ec2',
        ec2: {
          ...{ image: 'ami-0aaaaaaa', access: { operators: ['203.0.113.0/24'] } },
          endpoints: { ec2: `http://${HOST}:${String(PROXY_PORT)}`, iam: moto.url, sts: moto.url },
        },
      });
      const ran = await other.up(AWS_TEST_ENV);
      assert.equal(ran.code, 1, ran.text);
      assert.match(explanations(ran)[0] ?? '', /^nxnw: CLOUD_NAME_TAKEN: cloud ec2, aws:ec2:SecurityGroup platform-fleet-\S+.*: .*Next: remove or rename/, ran.text); // prettier-ignore
    } finally {
      gate.refused.clear();
      other.remove();
    }
  });
});
