import type { Go, Model } from './explore.js';

/**
 * Loading ONE shard with two keys into N2: a fuzzy scan of N1's rows, then redo of the log from p0, guarded by version.
 * Key A carries an index row for its value (version % 2). N1 applies its log in the background (`applied` lags); N2 holds
 * every log entry. A dead receiver's writes may land at any later time, also after the gate.
 */
export interface Load {
  /** p0: where N1's applied prefix stood when the scan began, or where the log ended. */
  readonly p0: 'applied' | 'end';
  /** A row is replaced by a higher version only, deletes are records; false: last arrival wins, deletes leave nothing. */
  readonly guard: boolean;
  /** Index rows have a version and present|absent, the higher wins; false: put and delete, last arrival wins. */
  readonly idxGuard: boolean;
  /** N2's delete records may go at once; false: they stay while late writes can exist. */
  readonly prune: boolean;
  /** What a new p0 means: new scan into new tables; the scan goes on where it was; a new scan into the same tables. */
  readonly restart: 'whole' | 'keepScan' | 'sameTables';
  /** Commits on N1. */
  readonly ops: number;
}

const KEYS = ['A', 'B'] as const;
type Key = (typeof KEYS)[number];

/** A commit, and the row that it makes: version v, put or deleted. */
interface Write {
  readonly k: Key;
  readonly v: number;
  readonly del: boolean;
}
interface Row {
  readonly v: number;
  readonly del: boolean;
}
interface Scan {
  /** Number of keys stored, and the row that was read for the next one. */
  readonly next: number;
  readonly read: Write | null;
  readonly p0: number;
}

interface State {
  log: readonly Write[];
  applied: number;
  n2: Readonly<Partial<Record<Key, Row>>>;
  /** Index rows of A by value. */
  idx: Readonly<Record<number, { readonly v: number; readonly on: boolean }>>;
  gen: number;
  scan: Scan | null;
  redo: number | null;
  /** Writes of a receiver that is dead; `drop` also removes the index row of that value. */
  wires: readonly { readonly x: Write; readonly gen: number; readonly drop: number | null }[];
  died: number;
  restarts: number;
  pruned: number;
}

const NOTHING: Row = { v: 0, del: true };
const valueOf = (x: Row): number => x.v % 2;
const show = (x: Row | undefined): string => (!x ? 'nothing' : x.del ? `deleted@${x.v}` : `put@${x.v}`);
const live = (x: Row | undefined): number => (x && !x.del ? x.v : 0);

function without(rows: State['n2'], k: Key): State['n2'] {
  const { [k]: _, ...rest } = rows;
  return rest;
}

export function load(v: Load): Model<State> {
  /** N1's row of a key after the first `upto` commits. */
  const n1 = (s: State, k: Key, upto: number): Write | undefined => s.log.slice(0, upto).findLast((x) => x.k === k);

  const putIndex = (t: State, value: number, version: number, on: boolean): void => {
    if (!v.idxGuard || version >= (t.idx[value]?.v ?? 0)) t.idx = { ...t.idx, [value]: { v: version, on } };
  };
  const putRow = (t: State, x: Write): void => {
    const old = t.n2[x.k] ?? NOTHING;
    if (v.guard && x.v <= old.v) return;
    t.n2 = !v.guard && x.del ? without(t.n2, x.k) : { ...t.n2, [x.k]: { v: x.v, del: x.del } };
    if (x.k !== 'A') return;
    if (live(old) && (x.del || valueOf(old) !== valueOf(x))) putIndex(t, valueOf(old), x.v, false);
    if (!x.del) putIndex(t, valueOf(x), x.v, true);
  };

  const source = (s: State, go: Go<State>): void => {
    const n = s.log.length;
    for (const k of KEYS) {
      for (const del of [false, true]) {
        if (n >= v.ops || (del && !live(n1(s, k, n)))) continue;
        go(
          `N1 commits ${del ? 'delete' : 'put'} ${k}@${n + 1}`,
          (t) => void (t.log = [...t.log, { k, v: n + 1, del }]),
        );
      }
    }
    if (s.applied < n) go(`N1 applies ${s.applied + 1}`, (t) => void t.applied++);
  };

  const receiver = (s: State, go: Go<State>): void => {
    const n = s.log.length;
    const { scan, redo } = s;
    if (!scan) {
      const p0 = v.p0 === 'end' ? n : s.applied;
      go(`load begins, p0 = ${p0}`, (t) => void (t.scan = { next: 0, read: null, p0 }));
      return;
    }
    const key = KEYS[scan.next];
    const { read } = scan;
    if (key !== undefined && !read)
      go(`scan reads ${key} on N1: ${show(n1(s, key, s.applied))}`, (t) => {
        t.scan = { ...scan, read: n1(t, key, t.applied) ?? { k: key, ...NOTHING } };
      });
    if (read)
      go(`N2 stores the scanned ${read.k}`, (t) => {
        if (live(read)) putRow(t, read);
        t.scan = { ...scan, read: null, next: scan.next + 1 };
      });
    if (key === undefined && redo === null) go(`redo begins at ${scan.p0}`, (t) => void (t.redo = scan.p0));
    const entry = redo === null ? undefined : s.log[redo];
    if (redo !== null && entry)
      go(`redo ${entry.del ? 'delete' : 'put'} ${entry.k}@${redo + 1}`, (t) => {
        putRow(t, entry);
        t.redo = redo + 1;
      });
    if (s.restarts < 1)
      go('the load is restarted', (t) => {
        t.restarts++;
        t.redo = null;
        t.scan = v.restart === 'keepScan' ? { ...scan, read: null, p0: t.applied } : null;
        if (v.restart !== 'whole') return;
        t.gen++;
        t.n2 = {};
        t.idx = {};
      });
  };

  /** The receiver dies with one write on its way: a scanned row, or its last redo (the row, or an index removal). */
  const deaths = (s: State, go: Go<State>): void => {
    if (s.died >= 1) return;
    const { scan } = s;
    const read = scan?.read;
    if (scan && read && live(read))
      go(`receiver dies, scanned ${read.k}@${read.v} still on its way; another goes on`, (t) => {
        t.died++;
        t.wires = [...t.wires, { x: read, gen: t.gen, drop: null }];
        t.scan = { ...scan, read: null };
      });
    const redo = s.redo ?? 0;
    const x = s.log[redo - 1];
    if (x)
      go(`receiver dies after redo ${redo}; a second copy of it is on its way`, (t) => {
        t.died++;
        const before = n1(t, x.k, redo - 1);
        const drops = x.k === 'A' && before && live(before) && (x.del || valueOf(before) !== valueOf(x));
        t.wires = [...t.wires, { x, gen: t.gen, drop: drops ? valueOf(before) : null }];
      });
  };

  const late = (s: State, go: Go<State>): void => {
    s.wires.forEach((w, i) =>
      go(`late: ${w.x.del ? 'delete' : 'put'} ${w.x.k}@${w.x.v} lands`, (t) => {
        t.wires = t.wires.toSpliced(i, 1);
        if (w.gen !== t.gen) return;
        if (w.drop !== null) putIndex(t, w.drop, w.x.v, false);
        putRow(t, w.x);
      }),
    );
    for (const k of KEYS) {
      if (!v.prune || !s.n2[k]?.del || s.pruned >= 1) continue;
      go(`N2 prunes the delete record of ${k}`, (t) => {
        t.pruned++;
        t.n2 = without(t.n2, k);
      });
    }
  };

  return {
    init: {
      log: [{ k: 'A', v: 1, del: false }],
      applied: 1,
      n2: {},
      idx: {},
      gen: 1,
      scan: null,
      redo: null,
      wires: [],
      died: 0,
      restarts: 0,
      pruned: 0,
    },

    next(s, go) {
      source(s, go);
      receiver(s, go);
      deaths(s, go);
      late(s, go);
    },

    bad(s) {
      if (s.redo !== s.log.length) return null; // the gate: everything is redone, the digests would be compared now
      for (const k of KEYS) {
        const wanted = live(n1(s, k, s.log.length));
        const got = live(s.n2[k]);
        if (wanted !== got) {
          if (!wanted) return `resurrected ${k}: N1 nothing, N2 put@${got}`;
          return `${got ? 'old' : 'lost'} ${k}: N1 put@${wanted}, N2 ${got ? `put@${got}` : 'nothing'}`;
        }
        if (k === 'A' && wanted && !s.idx[wanted % 2]?.on)
          return `missing index row: A@${wanted} is not found by its value`;
      }
      return null;
    },

    witness: (s) => s.redo === v.ops && s.died > 0 && s.restarts > 0,
  };
}
