import { seeded } from '../support/random.js';

const HOT = 16;
const WARM = 600;

export type Known = 'there' | 'deleted' | 'unknown';

/**
 * Which places a client works on. The first ones are shared by all and contended; the others belong to one client each,
 * which never has two writes to one of them on the way. Readers prefer a warm set, as people do.
 */
export class Keys {
  private readonly rnd: () => number;
  private readonly own: number[];
  private readonly warm: number[];
  private readonly hot: number[];
  private readonly busy = new Set<number>();
  private readonly known = new Map<number, Known>();
  private readonly deleted: number[] = [];

  constructor(
    private readonly all: readonly number[],
    o: { readonly index: number; readonly of: number; readonly seed: number },
  ) {
    this.rnd = seeded(o.seed);
    this.hot = all.slice(0, HOT);
    this.own = all.slice(HOT).filter((_, i) => i % o.of === o.index);
    this.warm = all.slice(0, HOT + WARM);
  }

  chance(): number {
    return this.rnd();
  }

  pick<T>(list: readonly T[]): T {
    const one = list[Math.floor(this.rnd() * list.length)];
    if (one === undefined) throw new Error('nothing to pick from');
    return one;
  }

  toRead(): number {
    return this.pick(this.rnd() < 0.7 ? this.warm : this.all);
  }

  shared(): number {
    return this.pick(this.hot);
  }

  isShared(id: number): boolean {
    return this.hot.includes(id);
  }

  /** An own place on which nothing is on the way, claimed until `release`; null if ten draws find none. */
  claimOwn(): number | null {
    for (let i = 0; i < 10; i++) {
      const id = this.pick(this.own);
      if (this.busy.has(id) || this.state(id) !== 'there') continue;
      this.busy.add(id);
      return id;
    }
    return null;
  }

  /** An own place that this client has deleted, claimed; null if there is none. */
  claimDeleted(): number | null {
    const i = Math.floor(this.rnd() * this.deleted.length);
    const id = this.deleted[i];
    if (id === undefined || this.busy.has(id)) return null;
    this.deleted.splice(i, 1);
    this.busy.add(id);
    return id;
  }

  get deletedCount(): number {
    return this.deleted.length;
  }

  /** A place that this client has not written yet is taken to be there. */
  state(id: number): Known {
    return this.known.get(id) ?? 'there';
  }

  /** Whether this client knows the place's state, or takes it for granted. */
  isSure(id: number): boolean {
    return this.known.has(id);
  }

  /** Ends a claim. A place whose state is unknown is not written again. */
  release(id: number, now: Known): void {
    this.busy.delete(id);
    this.known.set(id, now);
    if (now === 'deleted') this.deleted.push(id);
  }
}
