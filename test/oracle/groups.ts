import { Chain, checkContents, checkOrder, checkWhole, sightsOf } from './chain.js';
import type { Sight } from './chain.js';
import type { Findings } from './findings.js';
import { outcomeOf } from './record.js';
import type { DumpRecord, Entry, Op } from './record.js';

/** One group as the final dump holds it. Lists, since a fault may show an entity twice. */
export interface DumpedGroup {
  readonly places: Extract<DumpRecord, { k: 'place' }>[];
  readonly ledgers: Extract<DumpRecord, { k: 'ledger' }>[];
  readonly entries: Entry[];
}

/** What became of a commit over two groups in one of them. */
export type Side = 'there' | 'gone' | 'open';

export interface Loaded {
  readonly sum: string;
  readonly nonce: string;
  /** When the load was acknowledged, microseconds; Infinity without an answer. */
  readonly at: number;
}

export interface GroupInput {
  readonly id: number;
  /** Operations that touch the group, or that saw it. */
  readonly ops: readonly Op[];
  readonly opByNonce: ReadonlyMap<string, Op>;
  /** Digest that the loader wrote, and the load's nonce; null if it was never loaded. */
  readonly loaded: Loaded | null;
  /** Null = there is no dump. */
  readonly dumped: DumpedGroup | null;
}

/** Checks one entity group; answers, for the commits over two groups, what became of them here. */
export function checkGroup(g: GroupInput, out: Findings): Map<string, Side> {
  const chain = new Chain(g.id, g.opByNonce, out);
  const sights = sightsOf(g.id, g.ops);
  const dump = g.dumped === null ? null : dumpSight(g.id, g.dumped, chain, out);
  if (dump !== null) sights.push(dump);

  for (const s of sights.sort((a, b) => a.to - b.to)) {
    if (s.state.serial > 0) chain.claim(s.state.serial, s.state.nonce, s.by);
    if (s.state.serial > 1) chain.claim(s.state.serial - 1, s.state.prev ?? null, s.by);
    for (const r of s.state.recent ?? []) {
      const colon = r.indexOf(':');
      chain.claim(Number(r.slice(0, colon)), r.slice(colon + 1), s.by);
    }
  }
  for (const s of sights) if (!s.made) checkWhole(chain, s, out);
  checkOrder(chain, sights, out);
  checkContents(chain, sights, out);
  if (g.loaded !== null) checkLoaded(chain, sights, g.loaded, out);

  const signs = new Signs(chain, g);
  for (const op of g.ops) {
    const book = op.end?.book;
    if (book?.id === g.id) signs.check({ ...book, by: op.start.nonce }, out);
  }
  if (g.dumped !== null && dump !== null) {
    signs.check({ serial: dump.state.serial, complete: true, entries: g.dumped.entries, by: 'dump' }, out);
    for (const s of sights)
      if (s.made && s.state.serial > dump.state.serial && chain.groupsOf(s.by) === 1)
        out.add(
          'lost',
          chain.key,
          [s.by, 'dump'],
          `${s.by} made serial ${s.state.serial}, the dump is at ${dump.state.serial}`,
        );
    const place = g.dumped.places[0];
    if (place !== undefined && g.dumped.places.length === 1 && place.signatures !== g.dumped.entries.length)
      out.add(
        'torn',
        chain.key,
        [place.nonce],
        `${place.signatures} signatures are counted, ${g.dumped.entries.length} entries are there`,
      );
  }
  return sides(chain, g.ops, dump);
}

function dumpSight(id: number, d: DumpedGroup, chain: Chain, out: Findings): Sight | null {
  for (const list of [d.places, d.ledgers])
    if (list.length > 1)
      out.add('duplicated', chain.key, [list[0]?.nonce ?? ''], `the dump has its ${list[0]?.k} ${list.length} times`);
  const place = d.places[0];
  const ledger = d.ledgers[0];
  return {
    by: 'dump',
    from: Infinity,
    to: Infinity,
    made: false,
    state: {
      id,
      serial: ledger?.serial ?? 0,
      nonce: ledger?.nonce ?? place?.nonce ?? null,
      prev: ledger?.prev ?? null,
      deleted: ledger?.deleted ?? place === undefined,
      placeSerial: place?.serial ?? null,
      placeNonce: place?.nonce ?? null,
      sum: place?.sum ?? null,
      signatures: place?.signatures ?? null,
      tokens: place?.tokens ?? null,
      recent: ledger?.recent ?? [],
      from: 'store',
    },
  };
}

function checkLoaded(chain: Chain, sights: readonly Sight[], loaded: Loaded, out: Findings): void {
  for (const { state, by, from } of sights) {
    if (state.serial !== 0) continue;
    if (state.placeNonce === null && loaded.at < from)
      out.add('lost', chain.key, [loaded.nonce, by], `${by} did not see the loaded place`);
    if (state.sum !== null && state.sum !== loaded.sum)
      out.add('torn', chain.key, [loaded.nonce, by], `${by} saw the loaded place with another content`);
  }
}

interface Book {
  readonly serial: number;
  readonly complete: boolean;
  readonly entries: readonly Entry[];
  readonly by: string;
}

/** The group's guest book: at each serial, exactly the entries that were signed since the last deletion. */
class Signs {
  /** Serials of deletions, descending. */
  private readonly deletions: number[] = [];
  /** Signatures in the chain; those without an answer are there because somebody saw their commit. */
  private readonly signed: { nonce: string; serial: number; acknowledged: boolean }[] = [];
  /** A deletion may have happened at a serial that nothing told. */
  private readonly unplacedDeletion: boolean;

  constructor(
    private readonly chain: Chain,
    private readonly group: GroupInput,
  ) {
    for (let s = chain.last; s > 0; s--) if (chain.opAt(s)?.start.op === 'remove') this.deletions.push(s);
    for (const op of group.ops) {
      const serial = chain.serialOf.get(op.start.nonce);
      if (op.start.op === 'sign' && serial !== undefined)
        this.signed.push({ nonce: op.start.nonce, serial, acknowledged: outcomeOf(op) === 'ok' });
    }
    this.unplacedDeletion = group.ops.some(
      (o) => o.start.op === 'remove' && outcomeOf(o) === 'unknown' && !chain.serialOf.has(o.start.nonce),
    );
  }

  check(book: Book, out: Findings): void {
    const { chain } = this;
    const deletedAt = this.deletions.find((s) => s <= book.serial) ?? 0;
    const idOf = new Map<string, string>();
    const ids = new Set<string>();
    for (const [entryId, nonce, serial] of book.entries) {
      const twice = idOf.get(nonce);
      if (twice !== undefined || ids.has(entryId))
        out.add(
          'duplicated',
          chain.key,
          [nonce, book.by],
          `${book.by} saw the entry of ${nonce} twice: ${twice ?? entryId}, ${entryId}`,
        );
      idOf.set(nonce, entryId);
      ids.add(entryId);
      const known = chain.nonceAt.get(serial);
      if (serial > book.serial || (known !== undefined && known !== nonce))
        out.add(
          'torn',
          chain.key,
          [nonce, book.by],
          `${book.by} saw an entry of ${nonce} at serial ${serial}; the group is at ${book.serial}, and that serial is ${known ?? 'unknown'}`,
        );
      if (serial <= deletedAt)
        out.add(
          'resurrected',
          chain.key,
          [nonce, book.by],
          `${book.by} saw the entry of serial ${serial}, deleted at serial ${deletedAt}`,
        );
      const op = this.group.opByNonce.get(nonce);
      if (op === undefined || outcomeOf(op) === 'none')
        out.add(
          'phantom',
          chain.key,
          [nonce, book.by],
          `${book.by} saw the entry of ${nonce}, which was refused or never sent`,
        );
    }
    if (!book.complete) return;
    for (const { nonce, serial, acknowledged } of this.signed) {
      if (idOf.has(nonce) || serial <= deletedAt || serial > book.serial) continue;
      if (this.unplacedDeletion && !chain.whole(serial, book.serial)) continue;
      out.add(
        acknowledged ? 'lost' : 'torn',
        chain.key,
        [nonce, book.by],
        `${book.by} at serial ${book.serial} misses the entry of ${nonce}, signed at serial ${serial}`,
      );
    }
  }
}

function sides(chain: Chain, ops: readonly Op[], dump: Sight | null): Map<string, Side> {
  const result = new Map<string, Side>();
  for (const op of ops) {
    if (op.start.groups.length < 2 || !op.start.groups.includes(chain.id)) continue;
    const nonce = op.start.nonce;
    const complete = dump !== null && chain.whole(1, dump.state.serial);
    if (chain.displaced.has(nonce)) result.set(nonce, 'gone');
    else if (dump !== null && (chain.serialOf.get(nonce) ?? 0) > dump.state.serial) result.set(nonce, 'gone');
    else if (chain.serialOf.has(nonce)) result.set(nonce, 'there');
    else result.set(nonce, complete ? 'gone' : 'open');
  }
  return result;
}
