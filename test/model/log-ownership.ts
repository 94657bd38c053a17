import type { Go, Model } from './explore.js';
import { held, last, put, remove, show, slot, type Place, type Segments, type Wire } from './segments.js';

/**
 * The log of ONE shard as the only authority, in one platform. Segment e is write-once slots e.0, e.1, …; e.0 is
 * START{by}, then commits, and END{by} closes it. P1 owns segment 1; P2 and P3 are told (by ZooKeeper, which nobody
 * trusts) to take over at any moment. Every append is a message that may land at any later time, or never; landing is
 * put-if-absent. A process can stop between any two steps for any time. An owner may apply, checkpoint and truncate.
 */
export interface Ownership {
  /**
   * What an owner does that finds its slot empty without an answer: `resend` the same bytes, only a held slot decides;
   * `abort`: it answers ABORTED and uses the slot for its next commit; `skip`: it goes on at the next slot.
   */
  readonly unknown: 'resend' | 'abort' | 'skip';
  /** A taker must win START before it serves; false: having written END is enough. */
  readonly start: boolean;
  /** What truncation leaves for ever: slot 0 and END, only END, or neither. */
  readonly keep: 'both' | 'end' | 'none';
  /** An END counts only if no later slot of its segment is held; otherwise the checkpoint is read again. */
  readonly check: boolean;
  /** After START is won, the checkpoint is read again and replay starts there; false: the one read before END. */
  readonly reread: boolean;
  /** The checkpoint is part of the log, or a plain cell where the last arrival wins. */
  readonly ckpt: 'log' | 'cell';
  readonly commits: number;
  readonly takers: number;
  readonly resends: number;
}

type Process = 1 | 2 | 3;
type Entry =
  | { readonly t: 'START' | 'END'; readonly by: Process }
  | { readonly t: 'C'; readonly by: Process; readonly id: number };

interface Serving extends Place {
  readonly at: 'serve';
  /** Commits that it has replayed or made. */
  readonly saw: readonly number[];
  /** Its append without an answer, and what had been acknowledged before that began. */
  readonly pend: number | null;
  readonly must?: readonly number[];
}
type Phase =
  | { readonly at: 'idle' | 'gone' }
  | { readonly at: 'read'; readonly ck: Place }
  | { readonly at: 'end'; readonly e: number; readonly k: number; readonly ck: Place }
  | { readonly at: 'start'; readonly e: number; readonly ck: Place }
  | Serving;

interface State {
  log: Segments<Entry>;
  /** Appends on their way. */
  wires: readonly Wire<Entry>[];
  rows: readonly number[];
  ck: Place;
  ckWires: readonly Place[];
  acked: readonly { readonly id: number; readonly saw: readonly number[]; readonly must: readonly number[] }[];
  aborted: readonly number[];
  commits: number;
  cut: number;
  resends: number;
  p: Readonly<Record<Process, Phase>>;
}

const becomes = (t: State, n: Process, phase: Phase): void => void (t.p = { ...t.p, [n]: phase });
const send = (t: State, e: number, k: number, x: Entry): void => void (t.wires = [...t.wires, { e, k, x }]);
const apply = (t: State, commits: readonly number[]): void =>
  void (t.rows = [...new Set([...t.rows, ...commits])].sort());

interface Walk extends Place {
  readonly saw: number[];
  readonly stop: 'hole' | 'open' | 'ended';
  readonly end?: Entry;
}

export function ownership(v: Ownership): Model<State> {
  /** What a reader gets: materialised rows plus the log from the checkpoint on. */
  const walk = (s: State, ck: Place): Walk => {
    const saw = [...s.rows];
    let { e, k } = ck;
    for (;;) {
      const x = slot(s.log, e, k);
      if (v.check && (!x || x.t === 'END') && last(s.log, e) > k) return { saw, e, k, stop: 'hole' }; // behind the truncation
      if (!x) return { saw, e, k, stop: 'open' };
      if (x.t === 'C' && !saw.includes(x.id)) saw.push(x.id);
      if (x.t !== 'END') k++;
      else if (!slot(s.log, e + 1, 0)) return { saw, e, k, stop: 'ended', end: x };
      else [e, k] = [e + 1, 0];
    }
  };

  const owns = (s: State, n: Process, q: Serving, go: Go<State>): void => {
    const here = show(q.e, q.k);
    const x = slot(s.log, q.e, q.k);
    if (q.pend === null && s.commits < v.commits)
      go(`P${n}: appends commit c${s.commits + 1} at ${here}`, (t) => {
        t.commits++;
        becomes(t, n, { ...q, pend: t.commits, must: t.acked.map((a) => a.id) });
        send(t, q.e, q.k, { t: 'C', by: n, id: t.commits });
      });
    if (q.pend !== null && x) finds(n, q, x, go);
    if (q.pend !== null && !x) {
      const id = q.pend;
      if (v.unknown === 'resend' && s.resends < v.resends)
        go(`P${n}: no answer, slot empty, sends the same again`, (t) => {
          t.resends++;
          send(t, q.e, q.k, { t: 'C', by: n, id });
        });
      if (v.unknown === 'abort')
        go(`P${n}: no answer, slot empty: answers ABORTED for c${id}`, (t) => {
          t.aborted = [...t.aborted, id];
          becomes(t, n, { ...q, pend: null });
        });
      if (v.unknown === 'skip')
        go(`P${n}: no answer, slot empty: goes on at the next slot`, (t) => {
          becomes(t, n, { ...q, pend: null, k: q.k + 1 });
        });
    }
    if (q.pend === null && q.saw.some((c) => !s.rows.includes(c)))
      go(
        `P${n}: applies {${q.saw.join()}}${v.ckpt === 'cell' ? `, sends checkpoint ${show(q.e, q.k - 1)}` : ''}`,
        (t) => {
          apply(t, q.saw);
          if (v.ckpt === 'cell') t.ckWires = [...t.ckWires, { e: q.e, k: q.k - 1 }];
        },
      );
    // Truncates what it has applied, never its newest entry.
    if (s.cut < 1 && q.k > 0 && q.saw.every((c) => s.rows.includes(c)))
      go(`P${n}: truncates below ${show(q.e, q.k - 1)}`, (t) => {
        t.cut++;
        for (const { e, k, x: entry } of held(t.log)) {
          const old = e < q.e || (e === q.e && k < q.k - 1);
          const kept = v.keep !== 'none' && (entry.t === 'END' || (v.keep === 'both' && k === 0));
          if (old && !kept) t.log = remove(t.log, e, k);
        }
        if (v.ckpt === 'log') t.ck = t.ck.e > q.e ? t.ck : { e: q.e, k: q.k - 1 };
      });
  };

  /** An owner looks at the slot of its append, and something is there. */
  const finds = (n: Process, q: Serving, x: Entry, go: Go<State>): void => {
    const here = show(q.e, q.k);
    if (x.t === 'C' && x.id === q.pend)
      go(`P${n}: slot ${here} holds its c${x.id}: acknowledged`, (t) => {
        t.acked = [...t.acked, { id: x.id, saw: q.saw, must: q.must ?? [] }];
        becomes(t, n, { ...q, saw: [...q.saw, x.id], k: q.k + 1, pend: null });
      });
    else if (x.t === 'C' && x.by === n)
      go(`P${n}: slot ${here} holds its old c${x.id}: goes on`, (t) => {
        becomes(t, n, { ...q, saw: [...q.saw, x.id], k: q.k + 1 });
      });
    else
      go(`P${n}: slot ${here} is another's ${x.t}: stops`, (t) => {
        becomes(t, n, { at: 'gone' });
      });
  };

  const appendsEnd = (t: State, n: Process, e: number, k: number, ck: Place): void => {
    becomes(t, n, { at: 'end', e, k, ck });
    send(t, e, k, { t: 'END', by: n });
  };
  const appendsStart = (t: State, n: Process, e: number, ck: Place): void => {
    becomes(t, n, { at: 'start', e, ck });
    send(t, e, 0, { t: 'START', by: n });
  };
  const readsAgain = (t: State, n: Process): void => {
    becomes(t, n, { at: 'read', ck: t.ck });
  };

  const takesOver = (s: State, n: Process, q: Phase, go: Go<State>): void => {
    if (q.at === 'idle' && n <= v.takers + 1) go(`P${n}: told to take over; reads the log`, (t) => readsAgain(t, n));
    if (q.at === 'read') {
      const w = walk(s, q.ck);
      const here = show(w.e, w.k);
      if (w.stop === 'hole')
        go(`P${n}: stands in a truncated hole at ${here}, reads the checkpoint again`, (t) => readsAgain(t, n));
      else if (w.stop === 'open')
        go(`P${n}: sees the end at ${here}, appends END there`, (t) => appendsEnd(t, n, w.e, w.k, q.ck));
      else if (v.start)
        go(`P${n}: sees END at ${here} and no segment ${w.e + 1}: appends START`, (t) =>
          appendsStart(t, n, w.e + 1, q.ck),
        );
      else
        go(`P${n}: sees END at ${here} by P${w.end?.by}: appends END at ${show(w.e + 1, 0)}`, (t) =>
          appendsEnd(t, n, w.e + 1, 0, q.ck),
        );
    }
    if (q.at === 'end') {
      const x = slot(s.log, q.e, q.k);
      if (!x) return;
      const here = show(q.e, q.k);
      const won = x.t === 'END' && x.by === n;
      const hole = v.check && last(s.log, q.e) > q.k;
      if (won && !hole && v.start)
        go(`P${n}: its END holds ${here}; appends START ${show(q.e + 1, 0)}`, (t) => appendsStart(t, n, q.e + 1, q.ck));
      else if (won && !hole)
        go(`P${n}: its END holds ${here}; serves segment ${q.e + 1}`, (t) => {
          becomes(t, n, { at: 'serve', e: q.e + 1, k: 0, saw: walk(t, v.reread ? t.ck : q.ck).saw, pend: null });
        });
      else go(`P${n}: END ${won ? 'is in a hole' : `lost at ${here} to ${x.t}`}; reads again`, (t) => readsAgain(t, n));
    }
    if (q.at === 'start') {
      const x = slot(s.log, q.e, 0);
      if (x?.by === n && x.t === 'START')
        go(`P${n}: its START holds ${show(q.e, 0)}: replays and serves`, (t) => {
          const { saw } = walk(t, v.reread ? t.ck : q.ck);
          becomes(t, n, { at: 'serve', e: q.e, k: 1, saw, pend: null });
          if (v.ckpt === 'log' && t.ck.e < q.e) {
            apply(t, saw);
            t.ck = { e: q.e, k: 0 };
          }
        });
      else if (x) go(`P${n}: START ${show(q.e, 0)} lost; reads again`, (t) => readsAgain(t, n));
    }
  };

  const landings = (s: State, go: Go<State>): void => {
    s.wires.forEach((w, i) => {
      const what = w.x.t === 'C' ? `C c${w.x.id}` : `${w.x.t} of P${w.x.by}`;
      go(`store: ${what} ${slot(s.log, w.e, w.k) ? 'refused' : 'lands'} at ${show(w.e, w.k)}`, (t) => {
        t.wires = t.wires.toSpliced(i, 1);
        t.log = put(t.log, w.e, w.k, w.x);
      });
    });
    s.ckWires.forEach((w, i) =>
      go(`store: checkpoint ${show(w.e, w.k)} lands`, (t) => {
        t.ckWires = t.ckWires.toSpliced(i, 1);
        t.ck = w;
      }),
    );
  };

  return {
    init: {
      log: [[], [{ t: 'START', by: 1 }]],
      wires: [],
      rows: [],
      ck: { e: 1, k: 0 },
      ckWires: [],
      acked: [],
      aborted: [],
      commits: 0,
      cut: 0,
      resends: 0,
      p: { 1: { at: 'serve', e: 1, k: 1, saw: [], pend: null }, 2: { at: 'idle' }, 3: { at: 'idle' } },
    },

    next(s, go) {
      for (const n of [1, 2, 3] as const) {
        const q = s.p[n];
        if (q.at === 'serve') owns(s, n, q, go);
        else takesOver(s, n, q, go);
      }
      landings(s, go);
    },

    bad(s) {
      for (const d of s.acked) {
        for (const c of s.acked) {
          if (d.must.includes(c.id) && !d.saw.includes(c.id))
            return `c${d.id} was acknowledged without having seen c${c.id}, acknowledged before it began`;
          if (c !== d && !d.saw.includes(c.id) && !c.saw.includes(d.id))
            return `two chains: c${c.id} and c${d.id} were acknowledged by owners that did not see each other's`;
        }
      }
      const there = walk(s, s.ck).saw;
      for (const c of s.acked) if (!there.includes(c.id)) return `lost acknowledged commit c${c.id}: not in rows + log`;
      for (const c of s.aborted) if (there.includes(c)) return `c${c} was answered ABORTED and is committed`;
      return null;
    },

    witness: (s) => s.acked.length === v.commits && s.cut > 0 && (s.p[2].at === 'serve' || s.p[3].at === 'serve'),
  };
}
