import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pythonPath } from '@nxnw/tools';
import { until } from './agents.js';

const START_MS = 60_000;

/** Images that it has: the provider looks an instance's image up. */
export const MOTO_IMAGES = ['ami-0aaaaaaa', 'ami-0bbbbbbb'] as const;

/** moto as EC2, STS and IAM on an address of its own. It knows no wrong credentials unless it is asked to check them. */
export class MotoEc2 {
  private readonly child: ChildProcess;
  private readonly dir = mkdtempSync(join(tmpdir(), 'nxnw-moto-'));
  private said = '';

  private constructor(
    readonly host: string,
    readonly port: number,
    env: Readonly<Record<string, string>>,
  ) {
    const images = MOTO_IMAGES.map((id) => ({
      ...{ ami_id: id, name: id, description: id, owner_id: '136693071363', public: true, state: 'available' },
      ...{ virtualization_type: 'hvm', architecture: 'x86_64', hypervisor: 'xen', image_type: 'machine' },
      ...{ root_device_type: 'ebs', root_device_name: '/dev/xvda', creation_date: '2025-01-01T00:00:00.000Z' },
    }));
    writeFileSync(join(this.dir, 'images.json'), JSON.stringify(images));
    this.child = spawn(pythonPath, ['-m', 'moto.server', '-H', host, '-p', String(port)], {
      env: { ...process.env, MOTO_AMIS_PATH: join(this.dir, 'images.json'), ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.child.stderr?.setEncoding('utf8').on('data', (d: string) => (this.said = (this.said + d).slice(-10_000)));
  }

  /** @param env more variables, such as INITIAL_NO_AUTH_ACTION_COUNT */
  static async start(host: string, port = 5000, env: Readonly<Record<string, string>> = {}): Promise<MotoEc2> {
    const moto = new MotoEc2(host, port, env);
    await until('moto answers', START_MS, async () => {
      if (moto.child.exitCode !== null) throw new Error(`moto ended: ${moto.said}`);
      return fetch(`${moto.url}/moto-api/`).then(
        () => true,
        () => null,
      );
    });
    return moto;
  }

  get url(): string {
    return `http://${this.host}:${String(this.port)}`;
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  async stop(): Promise<void> {
    rmSync(this.dir, { recursive: true, force: true });
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
  }
}

/** Credentials in the environment, as the provider of AWS takes them; no look for those of an instance. */
export const AWS_TEST_ENV = {
  AWS_ACCESS_KEY_ID: 'AKIAIOSFODNN7EXAMPLE',
  AWS_SECRET_ACCESS_KEY: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  AWS_EC2_METADATA_DISABLED: 'true',
} as const;
