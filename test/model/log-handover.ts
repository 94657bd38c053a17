import type { Go, Model } from './explore.js';
import { BOTH, other, replaced, type Pair, type Which } from './pair.js';
import { held, last, put, remove, show, slot, type Segments, type Wire } from './segments.js';

/**
 * Hand-over of ONE shard between two platforms: N1 (store 0; processes a, b) and N2 (store 1; x, y). Both stores use the
 * same log coordinates: a segment's START names its platform, and the other store holds a replica of it. Appends are
 * messages that may land at any later time, or never. MOVE in N1's segment is the decision; START in N2's store picks
 * the process. Leases are sound here (the own lease is over before the session expires); they guard reads only: a process
 * without one may still send and finish appends.
 */
export interface Handover {
  /** N2 appends START only if its replica is whole up to and with MOVE; false: the proof of MOVE is enough. */
  readonly complete: boolean;
  /** How often N2's store may lose its newest replica entry after it has confirmed it. */
  readonly lose: number;
  /** A won END counts only if nothing lies behind it in its segment. */
  readonly check: boolean;
  /** A process never appends to a segment whose START names the other platform. */
  readonly foreign: boolean;
  /** The deadline fires only before MOVE is sent; after: it also releases the held requests while MOVE is unknown. */
  readonly deadline: 'before' | 'after';
  /** The opener must win START; mark: the replica's MOVE is enough, whoever holds the lock serves at once. */
  readonly open: 'START' | 'mark';
  readonly commits: number;
  /** Session expiries, hand-overs begun, truncations. */
  readonly expire: number;
  readonly moves: number;
  readonly cut: number;
}

type Process = 'a' | 'b' | 'x' | 'y';
const PROCESSES = ['a', 'b', 'x', 'y'] as const;
const SIDE: Record<Process, Which> = { a: 0, b: 0, x: 1, y: 1 };

type Entry =
  | { readonly t: 'START' | 'MOVE'; readonly by: Process; readonly s: Which }
  | { readonly t: 'END'; readonly by: Process }
  | { readonly t: 'C'; readonly by: Process; readonly id: number };
type Store = Segments<Entry>;

/** `pend`: the commit whose append has no answer. `used`: has had the lock once, and does not wait for it again. */
interface Peer {
  readonly at: 'idle' | 'gone' | 'serve' | 'hold' | 'moving' | 'end' | 'start';
  readonly lease: boolean;
  readonly used: boolean;
  readonly e: number;
  readonly k: number;
  readonly saw: readonly number[];
  readonly pend: number | null;
}

interface State {
  st: Pair<Store>;
  /** Who holds each platform's lock. */
  lock: Pair<Process | null>;
  wires: readonly (Wire<Entry> & { readonly i: Which })[];
  n: number;
  acked: readonly { readonly id: number; readonly saw: readonly number[] }[];
  /** What the truncated entries had put into the rows. */
  rows: Pair<readonly number[]>;
  p: Readonly<Record<Process, Peer>>;
  exp: number;
  moves: number;
  dead: number;
  cut: number;
  lost: number;
}

const isTerminal = (x: Entry | null): boolean => x?.t === 'END' || x?.t === 'MOVE';
const idle = (q: Peer): Peer => ({ at: 'idle', lease: q.lease, used: q.used, e: 0, k: 0, saw: [], pend: null });

const becomes = (t: State, n: Process, peer: Peer): void => void (t.p = { ...t.p, [n]: peer });
const store = (t: State, i: Which, e: number, k: number, x: Entry): void =>
  void (t.st = replaced(t.st, i, put(t.st[i], e, k, x)));
const forget = (t: State, i: Which, e: number, k: number): void =>
  void (t.st = replaced(t.st, i, remove(t.st[i], e, k)));

interface Walk {
  readonly saw: number[];
  readonly e: number;
  readonly k: number;
  /** Platform of the segment that the walk ended in, and the terminal there if it has one. */
  readonly side: Which;
  readonly end: Entry | null;
}

export function handover(v: Handover): Model<State> {
  /** A reader's way through a store from the beginning; rows stand for what was truncated. */
  const walk = (s: State, i: Which): Walk => {
    const st = s.st[i];
    const saw = [...s.rows[i]];
    let [e, k] = [1, 0];
    let side: Which = 0;
    for (;;) {
      const x = slot(st, e, k);
      const z = last(st, e);
      if (v.check && (!x || x.t === 'END') && z > k) {
        k = z; // a truncated hole: the rows hold what was there
        continue;
      }
      if (!x) return { saw, e, k, side, end: null };
      if (x.t === 'START') side = x.s;
      if (x.t === 'C' && !saw.includes(x.id)) saw.push(x.id);
      if (!isTerminal(x)) k++;
      else if (!slot(st, e + 1, 0)) return { saw, e, k, side, end: x };
      else [e, k] = [e + 1, 0];
    }
  };

  const send = (t: State, n: Process, e: number, k: number, x: Entry): void =>
    void (t.wires = [...t.wires, { i: SIDE[n], e, k, x }]);
  const appendsStart = (t: State, n: Process, q: Peer, e: number): void => {
    becomes(t, n, { ...q, at: 'start', e, k: 0 });
    send(t, n, e, 0, { t: 'START', by: n, s: SIDE[n] });
  };

  const sessions = (s: State, n: Process, q: Peer, go: Go<State>): void => {
    if (q.lease && s.exp < v.expire)
      go(`${n}: lease over, session expires`, (t) => {
        t.exp++;
        becomes(t, n, { ...q, lease: false });
        t.lock = replaced(t.lock, SIDE[n], null);
      });
    if (!s.lock[SIDE[n]] && q.at === 'idle' && !q.lease && !q.used)
      go(`${n}: gets ZK${SIDE[n] + 1}'s lock`, (t) => {
        t.lock = replaced<Process | null>(t.lock, SIDE[n], n);
        becomes(t, n, { ...q, lease: true, used: true });
      });
  };

  const owner = (s: State, n: Process, q: Peer, go: Go<State>): void => {
    const here = show(q.e, q.k);
    const [mine, theirs] = [s.st[SIDE[n]], s.st[other(SIDE[n])]];
    const x = slot(mine, q.e, q.k);
    if (q.at === 'serve' && q.pend === null && s.n < v.commits)
      go(`${n}: appends c${s.n + 1} at ${here}`, (t) => {
        t.n++;
        becomes(t, n, { ...q, pend: t.n });
        send(t, n, q.e, q.k, { t: 'C', id: t.n, by: n });
      });
    if (q.at === 'serve' && q.pend === null && q.lease && s.moves < v.moves)
      go(`${n}: holds new requests`, (t) => {
        t.moves++;
        becomes(t, n, { ...q, at: 'hold' });
      });
    if (q.at === 'hold' && slot(theirs, q.e, q.k - 1))
      go(`${n}: confirmed up to ${show(q.e, q.k - 1)}, appends MOVE`, (t) => {
        becomes(t, n, { ...q, at: 'moving' });
        send(t, n, q.e, q.k, { t: 'MOVE', by: n, s: other(SIDE[n]) });
      });
    if ((q.at === 'hold' || (q.at === 'moving' && v.deadline === 'after')) && s.dead < 1)
      go(`${n}: deadline${q.at === 'moving' ? ' with MOVE unknown' : ''}, releases`, (t) => {
        t.dead++;
        becomes(t, n, { ...q, at: 'serve' });
      });
    if (q.at === 'serve' && q.pend !== null && x) {
      if (x.t === 'C' && x.id === q.pend)
        go(`${n}: c${x.id} is in its slot: acknowledged`, (t) => {
          t.acked = [...t.acked, { id: x.id, saw: q.saw }];
          becomes(t, n, { ...q, saw: [...q.saw, x.id], k: q.k + 1, pend: null });
        });
      else go(`${n}: slot ${here} is a ${x.t}: stops`, (t) => becomes(t, n, { ...idle(q), at: 'gone', used: false }));
    }
    if (q.at === 'moving' && x)
      go(`${n}: slot ${here} holds ${x.t}${x.by === n ? ': forwards from now on' : ': stops'}`, (t) => {
        becomes(t, n, idle(q));
      });
  };

  /** The lock's holder looks at its own store; one that has begun to take over goes on even without its lease. */
  const taker = (s: State, n: Process, q: Peer, go: Go<State>): void => {
    const i = SIDE[n];
    const st = s.st[i];
    if (q.at === 'idle' && q.lease) {
      const w = walk(s, i);
      const here = show(w.e, w.k);
      const own = w.side === i || !v.foreign;
      if (!w.end && own)
        go(`${n}: takes over, appends END at ${here}`, (t) => {
          becomes(t, n, { ...q, at: 'end', e: w.e, k: w.k });
          send(t, n, w.e, w.k, { t: 'END', by: n });
        });
      if (w.end && (w.end.t === 'MOVE' ? w.end.s === i : own)) {
        const { t: what } = w.end;
        if (v.open === 'START')
          go(`${n}: ${what} at ${here}, appends START ${show(w.e + 1, 0)}`, (t) => appendsStart(t, n, q, w.e + 1));
        else go(`${n}: ${what} at ${here}: serves at once`, (t) => becomes(t, n, { ...q, at: 'serve', e: w.e + 1, k: 0, saw: w.saw })); // prettier-ignore
      }
      if (!v.complete) {
        const o = walk(s, other(i)); // the proof came by the other platform's processes
        if (o.end?.t === 'MOVE' && o.end.s === i && !slot(st, o.e + 1, 0))
          go(`${n}: is shown the MOVE at ${show(o.e, o.k)}, appends START ${show(o.e + 1, 0)}`, (t) =>
            appendsStart(t, n, q, o.e + 1),
          );
      }
    }
    const x = slot(st, q.e, q.k);
    if (q.at === 'end' && x) {
      const won = x.by === n && x.t === 'END' && (!v.check || last(st, q.e) === q.k);
      go(
        `${n}: END at ${show(q.e, q.k)} ${won ? `won, appends START ${show(q.e + 1, 0)}` : `void or lost (${x.t})`}`,
        (t) => {
          if (won) appendsStart(t, n, q, q.e + 1);
          else becomes(t, n, idle(q));
        },
      );
    }
    if (q.at === 'start' && x)
      go(`${n}: START ${show(q.e, 0)} ${x.by === n ? 'won: serves' : 'lost'}`, (t) => {
        becomes(t, n, x.by === n ? { ...q, at: 'serve', k: 1, saw: walk(t, i).saw } : idle(q));
      });
  };

  /** The next entry of a segment that a store owns goes into the other one. */
  const replication = (s: State, go: Go<State>): void => {
    for (const i of BOTH) {
      const [from, to] = [s.st[i], s.st[other(i)]];
      for (const { e, k, x } of held(from)) {
        const first = slot(from, e, 0);
        const follows = k > 0 ? slot(to, e, k - 1) !== null : isTerminal(slot(to, e - 1, last(to, e - 1)));
        if (first?.t !== 'START' || first.s !== i || slot(to, e, k) || !follows) continue;
        go(`replica: ${x.t} ${show(e, k)} reaches N${other(i) + 1}`, (t) => store(t, other(i), e, k, x));
      }
    }
  };

  const stores = (s: State, go: Go<State>): void => {
    const [n1, n2] = s.st;
    const z = last(n1, 1);
    if (s.cut < v.cut && z > 1 && slot(n1, 1, z)?.t === 'MOVE' && slot(n2, 1, z))
      go('N1 truncates segment 1, which is whole on N2, but START and MOVE', (t) => {
        t.cut++;
        t.rows = [walk(t, 0).saw.sort(), t.rows[1]];
        for (let k = 1; k < z; k++) forget(t, 0, 1, k);
      });
    // N2's store answers "durable" and is wrong, as with a periodic commit log and a kill -9.
    const newest = last(n2, 1);
    if (s.lost < v.lose && newest > 0 && !slot(n2, 2, 0) && slot(n1, 1, newest))
      go(`N2's store loses the replica of 1.${newest}`, (t) => {
        t.lost++;
        forget(t, 1, 1, newest);
      });
    s.wires.forEach((w, j) => {
      const what = `${w.x.t}${w.x.t === 'C' ? w.x.id : ''} of ${w.x.by}`;
      go(`store ${w.i}: ${what} ${slot(s.st[w.i], w.e, w.k) ? 'refused' : 'lands'} at ${show(w.e, w.k)}`, (t) => {
        t.wires = t.wires.toSpliced(j, 1);
        store(t, w.i, w.e, w.k, w.x);
      });
    });
  };

  const waiting: Peer = { at: 'idle', lease: false, used: false, e: 0, k: 0, saw: [], pend: null };
  const start: Entry = { t: 'START', by: 'a', s: 0 };
  return {
    init: {
      st: [
        [[], [start]],
        [[], [start]],
      ],
      lock: ['a', 'x'],
      wires: [],
      n: 0,
      acked: [],
      rows: [[], []],
      p: {
        a: { ...waiting, at: 'serve', e: 1, k: 1, lease: true },
        b: waiting,
        x: { ...waiting, lease: true },
        y: waiting,
      },
      exp: 0,
      moves: 0,
      dead: 0,
      cut: 0,
      lost: 0,
    },

    next(s, go) {
      for (const n of PROCESSES) {
        const q = s.p[n];
        sessions(s, n, q, go);
        owner(s, n, q, go);
        taker(s, n, q, go);
      }
      replication(s, go);
      stores(s, go);
    },

    bad(s) {
      for (const d of s.acked)
        for (const c of s.acked)
          if (c !== d && !c.saw.includes(d.id) && !d.saw.includes(c.id))
            return `split or lost: acknowledged c${c.id} and c${d.id} did not see each other`;
      for (const n of PROCESSES) {
        const q = s.p[n];
        const missed = q.at === 'serve' && q.lease ? s.acked.find((c) => !q.saw.includes(c.id)) : undefined;
        if (missed) return `${n} serves reads under a valid lease without acknowledged c${missed.id}`;
      }
      for (const { e, k, x } of held(s.st[0])) {
        const y = slot(s.st[1], e, k);
        if (y && JSON.stringify(x) !== JSON.stringify(y))
          return `the two logs differ at ${show(e, k)}: ${x.t} of ${x.by} | ${y.t} of ${y.by}`;
      }
      return null;
    },

    witness(s) {
      const second = slot(s.st[0], 2, 0);
      const back = second?.t === 'START' && second.s === 1;
      const home = PROCESSES.some((n) => SIDE[n] === 0 && s.p[n].at === 'serve' && s.p[n].e >= 3);
      return s.acked.length === v.commits && (v.moves < 2 || (back && home));
    },
  };
}
