import { NxnwError, hasCode } from '@nxnw/platform/errors';
import type { MultiOp, ZooKeeper } from '@nxnw/platform/locks/client';
import { syncRoot } from './marks.js';

/**
 * Makes sure that one sync at a time writes to a ZooKeeper: taking the fence raises the version of a node, and each
 * multi checks that version. Who took it last may write; earlier holders fail with FENCED.
 */
export class Fence {
  private constructor(
    private readonly zk: ZooKeeper,
    private readonly path: string,
    readonly epoch: number,
    private readonly holder: string,
  ) {}

  static async take(zk: ZooKeeper, syncName: string, holder: string): Promise<Fence> {
    const path = `${syncRoot(syncName)}/fence`;
    await zk.createRecursive(path);
    const stat = await zk.set(path, Buffer.from(JSON.stringify({ holder })));
    return new Fence(zk, path, stat.version, holder);
  }

  /** The operation to put first in each multi. */
  check(): MultiOp {
    return { op: 'check', path: this.path, version: this.epoch };
  }

  /** True if a multi that began with `check()` failed by it. */
  failed(e: unknown): boolean {
    return hasCode(e, 'BAD_VERSION', 'NO_NODE') && e.fields['index'] === 0;
  }

  /** Throws FENCED if another sync has taken over. For acts that a multi cannot carry. */
  async assertHeld(): Promise<void> {
    if ((await this.zk.exists(this.path))?.version !== this.epoch) throw this.error();
  }

  error(cause?: unknown): NxnwError {
    return new NxnwError(
      'FENCED',
      `another lock sync has taken over from ${this.holder} (epoch ${this.epoch}); this one has stopped, nothing is lost`,
      { holder: this.holder, epoch: this.epoch },
      cause,
    );
  }
}
