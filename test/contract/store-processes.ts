import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import type { WriterJob } from './store-writer.js';

const answer = z.object({ slot: z.number(), won: z.boolean(), held: z.string().nullable() });
export type Answer = z.infer<typeof answer>;

const LIMIT_MS = 60_000;

/** A process that appends (store-writer), seen from the test. */
export class Writer {
  readonly child: ChildProcess;
  readonly answers: Answer[] = [];
  private error = '';
  private isReady = false;
  private isClosed = false;
  private wake = (): void => undefined;
  private readonly closed: Promise<unknown>;

  constructor(job: WriterJob | { readonly hold: string } | { readonly outlive: unknown; readonly app: string }) {
    const args =
      'hold' in job
        ? ['hold', job.hold]
        : 'outlive' in job
          ? ['outlive', JSON.stringify(job.outlive), job.app]
          : ['append', JSON.stringify(job)];
    this.child = spawn(process.execPath, [join(__dirname, 'store-writer.js'), ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: this.child.stdout ?? assert.fail('no stdout') });
    lines.on('line', (line) => this.take(line));
    this.closed = once(this.child, 'close', { signal: AbortSignal.timeout(LIMIT_MS) });
    this.closed.catch(() => this.child.kill('SIGKILL')); // whoever waits has the error
    this.child.once('close', () => {
      this.isClosed = true;
      this.wake();
    });
  }

  go(): void {
    this.child.stdin?.write('go\n');
  }

  ready(): Promise<void> {
    return this.until(() => this.isReady, 'ready');
  }

  /** Until so many appends have been answered. */
  answered(n: number): Promise<void> {
    return this.until(() => this.answers.length >= n, `answered ${n}`);
  }

  /** All answers of a process that ends by itself, without an error. */
  async finished(): Promise<Answer[]> {
    await this.closed;
    assert.equal(this.error, '');
    return this.answers;
  }

  /** All answers of a process that was killed, or whose store was. */
  async ended(): Promise<Answer[]> {
    await this.closed;
    return this.answers;
  }

  private take(line: string): void {
    if (line === 'ready') this.isReady = true;
    else if (line.startsWith('{"error"')) this.error = line;
    else this.answers.push(answer.parse(JSON.parse(line)));
    this.wake();
  }

  private async until(condition: () => boolean, what: string): Promise<void> {
    while (!condition()) {
      assert.ok(this.error === '' && !this.isClosed, `the writer ended before it was ${what}: ${this.error}`);
      await new Promise<void>((done) => (this.wake = done));
    }
  }
}
