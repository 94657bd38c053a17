import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pythonPath, repoRoot } from '@nxnw/tools';
import { z } from 'zod';

const answer = z.union([z.object({ ok: z.unknown() }), z.object({ error: z.string() })]);

/** moto does not check them. */
export const AWS_KEYS = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' } as const;

/** The AWS SDK for Python in a process of its own (test/ec2/sdk.py): calls one after the other. */
export class AwsSdk {
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly waiting: { ok(line: string): void; fail(e: Error): void }[] = [];
  private said = '';

  constructor(endpoint: string, region: string) {
    const script = join(repoRoot, 'test', 'ec2', 'sdk.py');
    const env = { PATH: process.env['PATH'], HOME: '/nonexistent', AWS_EC2_METADATA_DISABLED: 'true', ...AWS_KEYS };
    this.child = spawn(pythonPath, [script, endpoint, region], { env });
    createInterface(this.child.stdout).on('line', (line) => this.waiting.shift()?.ok(line));
    this.child.stderr.on('data', (d: Buffer) => (this.said = (this.said + d.toString()).slice(-2000)));
    this.child.once('exit', () => {
      for (const w of this.waiting.splice(0)) w.fail(new Error(`the SDK's process has ended: ${this.said}`));
    });
  }

  /** What boto3's client of `service` answers to `call` (`describe_instances`), as `shape` reads it. */
  async call<T>(shape: z.ZodType<T>, service: string, call: string, args: Record<string, unknown> = {}): Promise<T> {
    const line = await new Promise<string>((ok, fail) => {
      this.waiting.push({ ok, fail });
      this.child.stdin.write(`${JSON.stringify({ service, call, args })}\n`);
    });
    const read = answer.parse(JSON.parse(line));
    if ('error' in read) throw new Error(`${service}.${call}: ${read.error}`);
    return shape.parse(read.ok);
  }

  stop(): void {
    this.child.kill('SIGKILL');
  }
}
