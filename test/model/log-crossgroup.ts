import type { Go, Model } from './explore.js';
import {
  after,
  EMPTY,
  isDecision,
  isFixed,
  sameRow,
  truth,
  type Entry,
  type Log,
  type View,
} from './log-crossgroup-log.js';
import { BOTH, replaced, type Pair, type Which } from './pair.js';

/**
 * ONE transaction T over two shards A (first participant) and B, each with its own log. T writes one key in each, and a
 * later single-shard write W per shard takes the same key. PREPARE in both logs, the first DECIDE in A's log wins, a NOTE
 * in B's. Appends are atomic here (what one slot decides is in log-ownership and log-handover): an owner that was
 * superseded is refused; a take-over is END and START in one step. The logs keep what was truncated, for the oracle; a
 * reader sees START, END, MOVE and what lies at or above `floor`. The coordinator may be slow for ever or die: its messages
 * come arbitrarily late, and progress never relies on it.
 */
export interface CrossGroup {
  /**
   * `below`: the checkpoint stays below undecided PREPAREs and not-noted DECIDEs, so replay needs no list but a later
   * START's; `ckpt`: it goes past them and carries both lists; `start`: it goes past them and only START has lists.
   */
  readonly lists: 'below' | 'ckpt' | 'start';
  /** START lists both, and that replaces what its reader had; bare: it says nothing of either. */
  readonly start: 'full' | 'bare';
  /** Floor (and checkpoint) stay at or below undecided PREPAREs and not-noted DECIDEs; below PREPAREs only; neither. */
  readonly trunc: 'both' | 'noDecide' | 'none';
  /** p0 lies before undecided PREPAREs and not-noted DECIDEs; before PREPAREs only; at the applied prefix. */
  readonly p0: 'both' | 'prepare' | 'end';
  /**
   * A's owner aborts when it holds the undecided PREPARE, or when B is undecided and A holds neither PREPARE nor DECIDE
   * (a commit is kept until all have noted); unpruned: only if A's log since T's begin is unpruned.
   */
  readonly abort: 'trace' | 'unpruned';
  /** A PREPARE is refused, or taken, when T began below the shard's floor. */
  readonly late: 'refuse' | 'take';
  /** An abort is noted in B also without a PREPARE there. */
  readonly tomb: boolean;
  /** After a time-out B's owner notes abort by itself; false: it only asks. */
  readonly alone: boolean;
  /** DECIDE and notes pass while new requests are held. */
  readonly pass: boolean;
  /** MOVE waits for the decision of an undecided PREPARE; false: it goes with it. */
  readonly forbid: boolean;
  /** A DECIDE or note voids a confirmation. */
  readonly voids: boolean;
  /** START on N2 needs the whole replica; false: the proof is enough. */
  readonly whole: boolean;
  /** A later write waits while its key has an undecided PREPARE. */
  readonly locks: boolean;
  /** A participant raises its clock to the commit version. */
  readonly raise: boolean;
  /** Which two DECIDEs are a violation: any, or only commit against abort (to see the worse trace). */
  readonly twice: 'any' | 'conflict';
  /**
   * What must stay reachable without the coordinator, deadlines and new faults: `settle`: T is settled and both shards
   * serve; `serve`: both shards take requests, without recovery's time-out either.
   */
  readonly live: 'settle' | 'serve';
  /** Budgets for each shard: later writes, take-overs, hand-overs, loads, checkpoints. */
  readonly w: Pair<number>;
  readonly take: Pair<number>;
  readonly move: Pair<number>;
  readonly load: Pair<number>;
  readonly ck: Pair<number>;
  /** Deadlines, and whether N1's copy may be lost once N2 was shown the MOVE. */
  readonly dead: number;
  readonly gone: number;
}

interface Owner extends View {
  readonly ph: 'serve' | 'hold';
  /** Length of the log that N2 has confirmed, 0 = none. */
  readonly conf: number;
}
/** N2's copy: `next` entry to redo, the load's p0, and whether the scan's row is stored. */
interface Replica extends View {
  readonly next: number;
  readonly p0: number;
  readonly scanned: boolean;
}
interface State {
  log: Pair<Log>;
  floor: Pair<number>;
  ck: Pair<View & { readonly at: number }>;
  own: Pair<Owner | null>;
  n2: Pair<Replica | null>;
  /** The coordinator: T's proposals so far (0 = not prepared there), and whether it has acknowledged the commit. */
  co: { readonly runs: boolean; readonly p: Pair<number>; readonly acked: boolean };
  w: Pair<number>;
  take: Pair<number>;
  cks: Pair<number>;
  loads: Pair<number>;
  moved: Pair<boolean>;
  dead: number;
  gone: Pair<boolean>;
}

const NAMES = ['A', 'B'] as const;
/** T began here in both shards. */
const BEGIN = 1;

const sideOf = (log: Log): Which => {
  const start = log.findLast((x) => x.t === 'START');
  return start?.t === 'START' ? start.side : 0;
};
const visible = (s: State, i: Which, j: number): boolean => j >= s.floor[i];
/** Whether an owner finds such an entry in its unpruned log. */
const finds = (s: State, i: Which, t: Entry['t']): boolean => s.log[i].some((x, j) => x.t === t && visible(s, i, j));
const viewOf = ({ row, clk, und, dec }: View): View => ({ row, clk, und, dec });
const serving = (w: View): Owner => ({ ...viewOf(w), ph: 'serve', conf: 0 });
const settled = (s: State): boolean => s.own.every((o) => o?.ph === 'serve' && !o.und) && !s.own[0]?.dec;

const setLog = (t: State, i: Which, x: Entry): void => void (t.log = replaced(t.log, i, [...t.log[i], x]));
const setOwner = (t: State, i: Which, o: Owner | null): void => void (t.own = replaced(t.own, i, o));
const setReplica = (t: State, i: Which, r: Replica | null): void => void (t.n2 = replaced(t.n2, i, r));
const countUp = (counts: Pair<number>, i: Which): Pair<number> => replaced(counts, i, counts[i] + 1);
const ends = (t: State, acked: boolean): void => void (t.co = { runs: false, p: [0, 0], acked });

export function crossgroup(v: CrossGroup): Model<State> {
  /** The owner appends, and has applied it at once. */
  const append = (t: State, i: Which, o: Owner, x: Entry): void => {
    const clk = o.clk;
    const view = after(o, x, t.log[i].length);
    setLog(t, i, x);
    setOwner(t, i, { ...o, ...view, clk: !v.raise && isDecision(x) ? clk : view.clk });
  };
  /** START on platform `side`, and the view of the owner that it makes. */
  const opens = (t: State, i: Which, w: View, side: Which): View => {
    const lists = v.start === 'full' ? { und: w.und, dec: w.dec } : null;
    const x: Entry = { t: 'START', side, lists, clk: w.clk };
    const view = after(w, x, t.log[i].length);
    setLog(t, i, x);
    setOwner(t, i, serving(view));
    return view;
  };
  /** What a new owner makes of checkpoint and log. */
  const recovered = (s: State, i: Which): View => {
    const log = s.log[i];
    const ck = s.ck[i];
    let w: View = v.lists === 'ckpt' ? viewOf(ck) : { row: ck.row, clk: ck.clk, und: null, dec: null };
    let from = ck.at;
    if (v.lists === 'start') while (from > 0 && log[from]?.t !== 'START') from--;
    log.forEach((x, j) => {
      if (j < from || !(isFixed(x) || visible(s, i, j))) return;
      const view = after(w, x, j);
      w = j >= ck.at ? view : { ...view, row: w.row }; // what lies below the checkpoint is in its row
    });
    return w;
  };
  const takes = (o: Owner | null): o is Owner => o !== null && (v.pass || o.ph === 'serve');

  const coordinator = (s: State, go: Go<State>): void => {
    if (!s.co.runs) return;
    go('fault: the coordinator dies', (t) => ends(t, false));
    for (const i of BOTH) {
      const o = s.own[i];
      if (o?.ph !== 'serve' || s.co.p[i] > 0) continue;
      const refuses = finds(s, i, i === 0 ? 'DECIDE' : 'NOTE') || (v.late === 'refuse' && s.floor[i] > BEGIN);
      const proposal = o.clk + 1;
      if (refuses) go(`co: ${NAMES[i]} refuses PREPARE`, (t) => ends(t, false));
      else
        go(`co: PREPARE in ${NAMES[i]}, proposal ${proposal}`, (t) => {
          t.co = { ...t.co, p: replaced(t.co.p, i, proposal) };
          append(t, i, o, { t: 'PREPARE', v: proposal });
        });
    }
    const a = s.own[0];
    if (s.co.p[0] === 0 || s.co.p[1] === 0 || !takes(a)) return;
    const version = Math.max(...s.co.p);
    if (!a.und) go('co: A refuses DECIDE commit', (t) => ends(t, false));
    else
      go(`co: DECIDE commit@${version} in A, acknowledged`, (t) => {
        ends(t, true);
        append(t, 0, a, { t: 'DECIDE', commit: true, v: version });
      });
  };

  /** A's owner after a time-out, of its own accord or asked by B's; B's owner asks A's for the decision. */
  const recovery = (s: State, go: Go<State>): void => {
    const [a, b] = s.own;
    if (takes(a) && !a.dec && !finds(s, 0, 'DECIDE')) {
      const concerns = a.und !== null || (b !== null && b.und !== null);
      const knows = a.und ? '' : ', asked by B, knows nothing of T';
      if (concerns && (v.abort === 'trace' || s.floor[0] <= BEGIN))
        go(`A: time-out${knows}, DECIDE abort`, (t) => append(t, 0, a, { t: 'DECIDE', commit: false, v: 0 }));
    }
    if (v.alone && takes(b) && b.und)
      go('B: time-out, notes abort by itself', (t) => append(t, 1, b, { t: 'NOTE', commit: false, v: 0 }));
    if (!a?.dec || !b) return;
    const { commit, v: version } = a.dec;
    const unnoted = v.tomb && !commit && s.floor[1] <= BEGIN && !finds(s, 1, 'NOTE');
    if (!b.und && !unnoted) go('A: learns that B has noted', (t) => setOwner(t, 0, { ...a, dec: null }));
    else if (takes(b))
      go(`B: learns from A, note ${commit ? 'commit' : 'abort'}`, (t) =>
        append(t, 1, b, { t: 'NOTE', commit, v: version }),
      );
  };

  const owner = (s: State, i: Which, o: Owner, go: Go<State>): void => {
    const name = NAMES[i];
    const n = s.log[i].length;
    if (o.ph === 'serve' && (!o.und || !v.locks) && s.w[i] < v.w[i])
      go(`${name}: W@${o.clk + 1}`, (t) => {
        t.w = countUp(t.w, i);
        append(t, i, o, { t: 'W', v: o.clk + 1, seen: o.row.t });
      });
    if (s.take[i] < v.take[i])
      go(`fault: ${name}'s owner dies, another takes over`, (t) => {
        t.take = countUp(t.take, i);
        setLog(t, i, { t: 'END' });
        opens(t, i, recovered(t, i), sideOf(t.log[i]));
      });
    const low = Math.min(v.trunc !== 'none' && o.und ? o.und.i : n, v.trunc === 'both' && o.dec ? o.dec.i : n);
    const to = v.lists === 'below' ? low : n;
    if (s.cks[i] < v.ck[i] && s.ck[i].at < to)
      go(`${name}: checkpoint through ${to - 1}`, (t) => {
        t.cks = countUp(t.cks, i);
        const lists = v.lists === 'ckpt' ? { und: o.und, dec: o.dec } : { und: null, dec: null };
        t.ck = replaced(t.ck, i, { at: to, row: o.row, clk: o.clk, ...lists });
      });
    const floor = Math.min(s.ck[i].at, low, s.n2[i]?.next ?? n);
    if (floor > s.floor[i])
      go(`${name}: truncates below ${floor}`, (t) => void (t.floor = replaced(t.floor, i, floor)));
    if (sideOf(s.log[i]) === 0) loadAndMove(s, i, o, go);
  };

  /** N1's owner: N2's load, and the hand-over. */
  const loadAndMove = (s: State, i: Which, o: Owner, go: Go<State>): void => {
    const name = NAMES[i];
    const n = s.log[i].length;
    const r = s.n2[i];
    if (v.load[i] > 0 && !r && s.loads[i] < 1) {
      const p0 = Math.min(n - 1, v.p0 !== 'end' && o.und ? o.und.i - 1 : n, v.p0 === 'both' && o.dec ? o.dec.i - 1 : n);
      go(`${name}: load begins, p0 = ${p0}`, (t) => {
        t.loads = countUp(t.loads, i);
        setReplica(t, i, { next: p0 + 1, p0, scanned: false, ...EMPTY });
      });
    }
    if (!r) return;
    if (!r.scanned)
      go(`${name}: scan stores N1's applied row @${o.row.v}`, (t) =>
        setReplica(t, i, { ...r, scanned: true, row: o.row, clk: o.clk }),
      );
    if (v.move[i] > 0 && r.scanned && o.ph === 'serve' && !s.moved[i])
      go(`${name}: holds new requests`, (t) => {
        t.moved = replaced(t.moved, i, true);
        setOwner(t, i, { ...o, ph: 'hold' });
      });
    if (o.ph !== 'hold') return;
    if (r.next === n && o.conf !== n && sameRow(r.row, o.row) && (v.voids || o.conf === 0))
      go(`${name}: N2 confirms through ${n - 1}`, (t) => setOwner(t, i, { ...o, conf: n }));
    if (o.conf > 0 && (!v.voids || o.conf === n) && !(v.forbid && o.und))
      go(`${name}: MOVE at ${n}`, (t) => {
        setLog(t, i, { t: 'MOVE' });
        setOwner(t, i, null);
      });
    if (s.dead < v.dead)
      go(`fault: ${name}: deadline, releases`, (t) => {
        t.dead++;
        setOwner(t, i, { ...o, ph: 'serve', conf: 0 });
      });
  };

  /** MOVE is in the log. */
  const opener = (s: State, i: Which, r: Replica, go: Go<State>): void => {
    const n = s.log[i].length;
    const whole = r.next === n || (s.gone[i] && r.next === n - 1);
    if (v.gone > 0 && s.gone.every((gone) => !gone))
      go(`fault: N2 is shown ${NAMES[i]}'s MOVE at ${n - 1}, N1's copy is gone for good`, (t) => {
        t.gone = replaced(t.gone, i, true);
      });
    if (whole || !v.whole)
      go(`${NAMES[i]}: N2 appends START`, (t) => {
        const view = opens(t, i, viewOf(r), 1);
        t.floor = replaced(t.floor, i, Math.max(t.floor[i], r.p0 + 1));
        t.ck = replaced(t.ck, i, { at: n, ...view });
        setReplica(t, i, null);
      });
  };

  const redo = (s: State, i: Which, r: Replica, go: Go<State>): void => {
    const x = s.log[i][r.next];
    if (!x || !r.scanned || s.gone[i] || !(isFixed(x) || visible(s, i, r.next))) return;
    go(`${NAMES[i]}: N2 redoes ${x.t} ${r.next}`, (t) =>
      setReplica(t, i, { ...r, ...after(r, x, r.next), next: r.next + 1 }),
    );
  };

  const first: Entry = { t: 'START', side: 0, lists: { und: null, dec: null }, clk: 0 };
  const follower = (i: Which): Replica | null =>
    v.move[i] > 0 && v.load[i] === 0 ? { next: 0, p0: -1, scanned: true, ...EMPTY } : null;
  return {
    init: {
      log: [[first], [first]],
      floor: [0, 0],
      ck: [
        { at: 0, ...EMPTY },
        { at: 0, ...EMPTY },
      ],
      own: [serving(EMPTY), serving(EMPTY)],
      n2: [follower(0), follower(1)],
      co: { runs: true, p: [0, 0], acked: false },
      w: [0, 0],
      take: [0, 0],
      cks: [0, 0],
      loads: [0, 0],
      moved: [false, false],
      dead: 0,
      gone: [false, false],
    },

    next(s, go) {
      coordinator(s, go);
      recovery(s, go);
      for (const i of BOTH) {
        const o = s.own[i];
        const r = s.n2[i];
        if (o) owner(s, i, o, go);
        else if (r) opener(s, i, r, go);
        if (r) redo(s, i, r, go);
      }
    },

    bad(s) {
      const verdict = (commit: boolean | undefined): string =>
        commit === undefined ? 'nothing' : commit ? 'commit' : 'abort';
      const decisions = s.log[0].filter((x) => x.t === 'DECIDE').filter(isDecision);
      const commit = decisions[0]?.commit;
      if (decisions.length > 1 && (v.twice === 'any' || decisions.some((x) => x.commit !== commit)))
        return `two DECIDEs: ${decisions.map((x) => verdict(x.commit)).join(', ')}`;
      const wrong = s.log[1]
        .filter((x) => x.t === 'NOTE')
        .filter(isDecision)
        .find((x) => x.commit !== commit);
      if (wrong) return `B noted ${verdict(wrong.commit)}, A decided ${verdict(commit)}`;
      for (const i of BOTH) {
        const o = s.own[i];
        const r = s.n2[i];
        const { row, fault } = truth(s.log[i]);
        const who = `${NAMES[i]}'s owner`;
        if (fault !== null) return `versions in ${NAMES[i]} do not follow the log: ${fault}`;
        if (o && commit && !o.und && !o.row.t)
          return `T is committed${s.co.acked ? ' and acknowledged' : ''}, ${who} on N${sideOf(s.log[i]) + 1} serves without it`;
        if (o && !commit && o.row.t) return `T is not committed, ${who} shows it`;
        if (o && !sameRow(o.row, row)) return `${who} serves another row than the log's replay`;
        if (r?.scanned && r.next === s.log[i].length && !sameRow(r.row, row))
          return `N2's row of ${NAMES[i]} after redo is not the log's replay`;
      }
      return null;
    },

    witness: (s) =>
      s.co.acked &&
      settled(s) &&
      BOTH.every((i) => s.w[i] === v.w[i] && s.take[i] === v.take[i] && (v.move[i] === 0 || sideOf(s.log[i]) === 1)),

    live: v.live === 'settle' ? settled : (s) => s.own.every((o) => o?.ph === 'serve'),
    liveStep: (label) => !/^(fault|co):/.test(label) && (v.live === 'settle' || !label.includes('time-out')),
  };
}
