import type { Findings } from './findings.js';
import { endOf } from './record.js';
import type { AuthorityRecord, Op } from './record.js';

/** Ids that the platform gave out: each once. */
export class Ids {
  private readonly givenBy = new Map<string, string>();

  constructor(private readonly out: Findings) {}

  add(id: string, nonce: string): void {
    const before = this.givenBy.get(id);
    if (before !== undefined && before !== nonce)
      this.out.add('duplicateIds', `id ${id}`, [nonce, before], `id ${id} was given to ${before} and to ${nonce}`);
    else this.givenBy.set(id, nonce);
  }
}

interface Interval {
  readonly from: number;
  readonly to: number;
  readonly nonce: string;
}

/** Calls `visit` for each interval with all those that had ended before it began already passed to `ended`. */
function sweep<T extends Interval>(all: readonly T[], ended: (t: T) => void, visit: (t: T) => void): void {
  const byStart = [...all].sort((a, b) => a.from - b.from);
  const byEnd = [...all].sort((a, b) => a.to - b.to);
  let done = 0;
  for (const t of byStart) {
    for (let e = byEnd[done]; e !== undefined && e.to < t.from; e = byEnd[++done]) ended(e);
    visit(t);
  }
}

/** Sequence numbers drawn from the ZooKeeper tree: no number twice, and a later draw gets a larger one. */
export class Sequence {
  private readonly draws: (Interval & { readonly number: number })[] = [];

  add(op: Op, number: number): void {
    this.draws.push({ from: op.start.at, to: endOf(op), nonce: op.start.nonce, number });
  }

  finish(out: Findings): void {
    const by = new Map<number, string>();
    let highest = -1;
    sweep(
      this.draws,
      (d) => (highest = Math.max(highest, d.number)),
      (d) => {
        const before = by.get(d.number);
        if (before !== undefined)
          out.add(
            'duplicateIds',
            `sequence ${d.number}`,
            [d.nonce, before],
            `${before} and ${d.nonce} drew ${d.number}`,
          );
        else if (d.number <= highest)
          out.add(
            'duplicateIds',
            `sequence ${d.number}`,
            [d.nonce],
            `${d.nonce} drew ${d.number} after ${highest} had been drawn`,
          );
        by.set(d.number, d.nonce);
      },
    );
  }
}

/** Answers that name their shard's owner: an observer never sees an epoch fall, and an epoch has one platform. */
export class Authorities {
  private readonly byShard = new Map<string, (Interval & AuthorityRecord)[]>();

  add(op: Op, a: AuthorityRecord): void {
    const list = this.byShard.get(a.shard) ?? [];
    list.push({ ...a, from: op.start.at, to: endOf(op), nonce: op.start.nonce });
    this.byShard.set(a.shard, list);
  }

  finish(out: Findings): void {
    for (const [shard, list] of this.byShard) {
      const owner = new Map<number, string>();
      let highest = 0;
      sweep(
        list,
        (a) => (highest = Math.max(highest, a.epoch)),
        (a) => {
          if (a.epoch < highest)
            out.add(
              'authority',
              shard,
              [a.nonce],
              `${a.nonce} was answered at epoch ${a.epoch} after epoch ${highest}`,
            );
          const platform = owner.get(a.epoch) ?? a.platform;
          owner.set(a.epoch, platform);
          if (platform !== a.platform)
            out.add('authority', shard, [a.nonce], `epoch ${a.epoch} is answered by ${platform} and by ${a.platform}`);
        },
      );
    }
  }
}
