import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { pythonPath } from '@nxnw/tools';
import { until } from './agents.js';

const START_MS = 60_000;

/** moto as EC2, STS and IAM on an address of its own. It knows no wrong credentials unless it is asked to check them. */
export class MotoEc2 {
  private readonly child: ChildProcess;
  private said = '';

  private constructor(
    readonly host: string,
    readonly port: number,
    env: Readonly<Record<string, string>>,
  ) {
    this.child = spawn(pythonPath, ['-m', 'moto.server', '-H', host, '-p', String(port)], {
      env: { ...process.env, ...env },
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
