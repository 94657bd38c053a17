import type { Findings } from './findings.js';
import { endOf, outcomeOf } from './record.js';
import type { Observation, Op } from './record.js';

/** Something that saw, or made, a state of the group. */
export interface Sight {
  /** Nonce of the operation, or `dump`. */
  readonly by: string;
  readonly from: number;
  readonly to: number;
  readonly made: boolean;
  readonly state: Observation;
}

/** One entity group's history: which commit made which serial, pieced together from everything that was seen. */
export class Chain {
  /** Nonce of each serial that anything told, the first that told it. */
  readonly nonceAt = new Map<number, string>();
  readonly serialOf = new Map<string, number>();
  /** Writes whose place in the chain another write holds: they are lost, or, of two groups, torn. */
  readonly displaced = new Set<string>();
  /** Highest serial that anything told. */
  last = 0;

  constructor(
    readonly id: number,
    private readonly ops: ReadonlyMap<string, Op>,
    private readonly out: Findings,
  ) {}

  get key(): string {
    return `Place/${this.id}`;
  }

  /** Takes in that the commit `nonce` made `serial`, as `by` tells. */
  claim(serial: number, nonce: string | null, by: string): void {
    if (nonce === null || serial < 0) return;
    this.last = Math.max(this.last, serial);
    const held = this.nonceAt.get(serial);
    if (held === undefined) this.nonceAt.set(serial, nonce);
    else if (held !== nonce) this.conflict(serial, held, nonce, by);
    const other = this.serialOf.get(nonce);
    if (other === undefined) this.serialOf.set(nonce, serial);
    else if (other !== serial)
      this.out.add('duplicated', this.key, [nonce, by], `${nonce} made both serial ${other} and serial ${serial}`);
    const op = this.ops.get(nonce);
    if (op !== undefined && outcomeOf(op) === 'none')
      this.out.add('phantom', this.key, [nonce, by], `${nonce} was refused, but ${by} saw what it wrote`);
    if (op === undefined && serial > 0)
      this.out.add('phantom', this.key, [nonce, by], `${by} saw serial ${serial} made by ${nonce}, which nobody sent`);
  }

  private conflict(serial: number, held: string, nonce: string, by: string): void {
    const acknowledged = [held, nonce].filter((n) => {
      const op = this.ops.get(n);
      return op !== undefined && outcomeOf(op) === 'ok';
    });
    // What a later observer tells is what is there; the other one is gone.
    const victim = acknowledged.length === 1 ? acknowledged[0] : held;
    if (victim === undefined) return;
    this.displaced.add(victim);
    if (this.groupsOf(victim) === 1)
      this.out.add(
        'lost',
        this.key,
        [victim, nonce, by],
        `serial ${serial} was ${held}'s, and ${by} tells that it is ${nonce}'s`,
      );
  }

  groupsOf(nonce: string): number {
    return this.ops.get(nonce)?.start.groups.length ?? 1;
  }

  /** True if every serial from `from` to `to` is known. */
  whole(from: number, to: number): boolean {
    for (let s = from; s <= to; s++) if (!this.nonceAt.has(s)) return false;
    return true;
  }

  opAt(serial: number): Op | undefined {
    const nonce = this.nonceAt.get(serial);
    return nonce === undefined ? undefined : this.ops.get(nonce);
  }
}

/** Each observed state for itself: the place and its ledger must tell of the same commit. */
export function checkWhole(chain: Chain, s: Sight, out: Findings): void {
  const { state, by } = s;
  const victim = state.nonce ?? '';
  const about = `${by} saw the ledger at ${state.serial} (${victim}${state.deleted ? ', deleted' : ''})`;
  if (state.placeNonce === null) {
    if (!state.deleted) out.add('lost', chain.key, [victim, by], `${about} without its place`);
  } else if (state.deleted && state.serial > 0)
    out.add(
      'resurrected',
      chain.key,
      [victim, state.placeNonce, by],
      `${about} and a place written by ${state.placeNonce}`,
    );
  else if (state.placeSerial !== state.serial || state.placeNonce !== state.nonce)
    out.add(
      'torn',
      chain.key,
      [victim, by],
      `${about} and a place at ${state.placeSerial} written by ${state.placeNonce}`,
    );
}

interface Value {
  sum: string | null;
  signatures: number | null;
  tokens: number | null;
  version: number | null;
  by: string;
}

/** States of one serial must have one content, and each commit must follow from the one before. */
export function checkContents(chain: Chain, sights: readonly Sight[], out: Findings): void {
  const values = new Map<number, Value>();
  for (const { state, by, made } of sights) {
    if (chain.nonceAt.get(state.serial) !== state.nonce) continue;
    const known = values.get(state.serial);
    const sum = state.deleted ? null : state.sum;
    if (known === undefined)
      values.set(state.serial, {
        sum,
        signatures: state.signatures ?? null,
        tokens: state.tokens ?? null,
        version: state.version ?? null,
        by,
      });
    else {
      if (known.sum !== sum && state.placeNonce === state.nonce)
        out.add(
          'torn',
          chain.key,
          [state.nonce ?? '', by],
          `${by} saw serial ${state.serial} with another content than ${known.by}`,
        );
      if (made && state.version !== undefined) known.version = state.version;
    }
  }
  let highest = { version: 0, serial: 0 };
  for (const serial of [...values.keys()].sort((a, b) => a - b)) {
    const now = values.get(serial);
    if (now === undefined) continue;
    const op = chain.opAt(serial);
    const nonce = op?.start.nonce ?? '';
    if (now.version !== null) {
      if (now.version <= highest.version)
        out.add(
          'version',
          chain.key,
          [nonce],
          `serial ${serial} has version ${now.version}, serial ${highest.serial} has ${highest.version}`,
        );
      else highest = { version: now.version, serial };
    }
    const before = values.get(serial - 1);
    if (before === undefined || before.signatures === null || now.signatures === null || op === undefined) continue;
    if (before.tokens === null || now.tokens === null || op.start.op === 'create') continue;
    const signed = op.start.op === 'sign' ? 1 : 0;
    const moved =
      op.start.op !== 'move' ? 0 : op.start.groups[0] === chain.id ? -(op.start.amount ?? 0) : (op.start.amount ?? 0);
    if (now.signatures !== before.signatures + signed || now.tokens !== before.tokens + moved)
      out.add(
        'torn',
        chain.key,
        [nonce],
        `${nonce} (${op.start.op}) made ${now.signatures} signatures, ${now.tokens} tokens of ${before.signatures}, ${before.tokens}`,
      );
  }
}

/**
 * Real time: what begins after an acknowledged write, or after a read of the store, sees that state or a newer one. A
 * cached read is held to the acknowledged writes only: a state that was seen before its writer was answered may still
 * be on its way into the cache.
 */
export function checkOrder(chain: Chain, sights: readonly Sight[], out: Findings): void {
  const byStart = [...sights].sort((a, b) => a.from - b.from);
  const byEnd = [...sights].filter((s) => s.made || s.state.from === 'store').sort((a, b) => a.to - b.to);
  let done = 0;
  let acknowledged: Sight | null = null;
  let seen: Sight | null = null;
  for (const s of byStart) {
    for (let e = byEnd[done]; e !== undefined && e.to < s.from; e = byEnd[++done]) {
      if (e.made && (acknowledged === null || e.state.serial > acknowledged.state.serial)) acknowledged = e;
      if (seen === null || e.state.serial > seen.state.serial) seen = e;
    }
    const cached = !s.made && s.state.from === 'cache';
    const floor = cached ? acknowledged : seen;
    const reached = s.made ? s.state.serial - 1 : s.state.serial;
    if (floor !== null && reached < floor.state.serial) {
      const victim = floor.state.nonce ?? '';
      const text = `${s.by} ${s.made ? 'wrote on top of' : 'saw'} serial ${reached} after ${floor.by} had ${floor.made ? 'written' : 'seen'} serial ${floor.state.serial}`;
      if (cached) out.add('stale', chain.key, [victim, s.by], text);
      else if (floor.made && chain.groupsOf(victim) > 1) chain.displaced.add(victim);
      else if (floor.state.deleted && !s.state.deleted && !s.made)
        out.add('resurrected', chain.key, [victim, s.by], text);
      else out.add('lost', chain.key, [victim, s.by], text);
    }
    const writer = s.state.nonce === null ? undefined : chain.opAt(s.state.serial);
    if (writer !== undefined && writer.start.nonce === s.state.nonce && writer.start.at > s.to)
      out.add('phantom', chain.key, [writer.start.nonce, s.by], `${s.by} saw ${writer.start.nonce} before it was sent`);
  }
}

/** Sights of a group in its operations. */
export function sightsOf(id: number, ops: Iterable<Op>): Sight[] {
  const sights: Sight[] = [];
  for (const op of ops) {
    const times = { by: op.start.nonce, from: op.start.at, to: endOf(op) };
    for (const state of op.end?.made ?? []) if (state.id === id) sights.push({ ...times, made: true, state });
    for (const state of op.end?.saw ?? []) if (state.id === id) sights.push({ ...times, made: false, state });
  }
  return sights;
}
