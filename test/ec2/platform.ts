import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureTools, findProgram, pulumiHome, repoRoot, terraformAws } from '@nxnw/tools';
import { stringify } from 'yaml';
import { TestStack, type Ran } from '../provider/stack.js';
import { AWS_KEYS } from '../support/aws-sdk.js';
import { namespacesMissing } from '../support/lab-network.js';

/** First two parts of every address of the tests. */
export const BASE = '127.63';
export const HTTP_PORT = 80;
export const HTTPS_PORT = 443;
export const AGENT_PORT = 7400;
export const SUBNETS = [1, 2] as const;
export const ZONES = ['us-east-1a', 'us-east-1b'] as const;
/** A run waits for Terraform's own waits and for five machines on a busy computer. */
const RUN_MS = 20 * 60_000;
const SALT = 'v1:jEbYAZtkvcY=:v1:OY7zsjo01BGNCDWF:6QKUiBxR70xtofC5tDYldTdgfQcjkA==';

/** Why the tests cannot run here; null = they can. */
export function labMissing(): string | null {
  if (terraformAws() === undefined)
    return 'TF_PROVIDER_AWS names no executable of terraform-provider-aws v5.100.0, and none lies beside the plugin';
  return findProgram('ip') === undefined ? 'there is no program "ip" (Debian package iproute2)' : namespacesMissing();
}

export const bringTools = (): Promise<void> =>
  ensureTools(['pulumi', 'py', 'zookeeper', 'cassandra', 'memcached', 'haproxy', 'aws-provider']);

/** Block of `nxnw:cloud` for a lab at `endpoint`: a VPC of its own, with a subnet in each of two zones. */
export function amazon(endpoint: string, over: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    image: 'ami-00000001',
    vpcCidr: `${BASE}.0.0/16`,
    subnets: SUBNETS.map((s, i) => ({ cidr: `${BASE}.${String(s)}.0/24`, zone: ZONES[i] })),
    access: { operators: [`${BASE}.0.0/16`] },
    endpoints: { ec2: endpoint, iam: endpoint, sts: endpoint },
    ...over,
  };
}

/** The program of nxnw as a project of the test's own, which names clouds that speak EC2's API. */
export class CloudStack {
  readonly stack = new TestStack("module.exports = require('@nxnw/stacks');", RUN_MS);
  private readonly env: Record<string, string>;

  constructor(private readonly name: string) {
    mkdirSync(join(this.stack.dir, '.nxnw'));
    this.env = {
      ...AWS_KEYS,
      NXNW_HOME: this.stack.dir,
      PULUMI_CONFIG_PASSPHRASE: 'x',
      PULUMI_HOME: pulumiHome(),
      TF_PROVIDER_AWS: terraformAws() ?? '',
    };
  }

  init(): Promise<void> {
    return this.stack.init();
  }

  /** @param config keys of the namespace `nxnw:` */
  configure(config: Record<string, unknown>): void {
    const platform = { name: this.name, protect: false };
    const apps = [
      { id: 'shop', bundle: join(repoRoot, 'examples', 'gazetteer'), instances: 4, domains: ['shop.test'] },
    ];
    const keyed = Object.entries({ platform, apps, ...config }).map(([k, v]) => [`nxnw:${k}`, v] as const);
    const text = stringify({ encryptionsalt: SALT, config: Object.fromEntries(keyed) });
    writeFileSync(join(this.stack.dir, 'Pulumi.dev.yaml'), text);
  }

  up(): Promise<Ran> {
    return this.stack.up(this.env);
  }

  /** `pulumi WHAT --stack dev`, for instance `preview --diff`. */
  run(...what: string[]): Promise<Ran> {
    return this.stack.run([...what, '--stack', 'dev'], this.env);
  }

  preview(): Promise<Ran> {
    return this.run('preview', '--expect-no-changes', '--diff');
  }

  quietRefresh(): Promise<Ran> {
    return this.run('refresh', '--preview-only', '--expect-no-changes', '--diff');
  }

  refresh(): Promise<Ran> {
    return this.run('refresh', '--yes', '--skip-preview');
  }

  destroy(): Promise<Ran> {
    return this.run('destroy', '--yes', '--skip-preview');
  }

  /** The last name of each resource that a run would do `ops` to, as a preview tells. */
  async planned(): Promise<readonly { readonly op: string; readonly name: string; readonly type: string }[]> {
    const ran = await this.run('preview', '--json');
    if (ran.code !== 0) throw new Error(ran.text);
    return stepsIn(ran.text);
  }

  remove(): void {
    this.stack.remove();
  }
}

function stepsIn(text: string): { op: string; name: string; type: string }[] {
  return [...text.matchAll(/"op": "([a-z-]+)",\s+"urn": "([^"]+)"/g)].map(([, op = '', urn = '']) => {
    const [, , type = '', name = ''] = urn.split('::');
    return { op, type: type.split('$').at(-1) ?? '', name };
  });
}
