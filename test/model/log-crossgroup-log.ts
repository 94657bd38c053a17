/** What the two logs hold in the cross-group model, and what their readers make of it. */

/** The one row of a shard that matters: its version, whether T is in it, and whether the later write is. */
export interface Row {
  readonly v: number;
  readonly t: boolean;
  readonly w: boolean;
}
/** An undecided PREPARE, and a DECIDE that the other participant has not noted: version and log index. */
export interface Undecided {
  readonly v: number;
  readonly i: number;
}
export interface Decided {
  readonly commit: boolean;
  readonly v: number;
  readonly i: number;
}

/** What a reader of a log knows: the row, the clock, and the transaction's state. */
export interface View {
  readonly row: Row;
  readonly clk: number;
  readonly und: Undecided | null;
  readonly dec: Decided | null;
}

export type Entry =
  | {
      readonly t: 'START';
      readonly side: 0 | 1;
      readonly lists: Pick<View, 'und' | 'dec'> | null;
      readonly clk: number;
    }
  | { readonly t: 'END' | 'MOVE' }
  | { readonly t: 'PREPARE'; readonly v: number }
  /** A later write of the same key by another transaction; `seen`: it saw T's write. */
  | { readonly t: 'W'; readonly v: number; readonly seen: boolean }
  | { readonly t: 'DECIDE' | 'NOTE'; readonly commit: boolean; readonly v: number };
export type Log = readonly Entry[];
export type Decision = Extract<Entry, { readonly commit: boolean }>;

export const EMPTY: View = { row: { v: 0, t: false, w: false }, clk: 0, und: null, dec: null };

/** START, END and MOVE are never truncated. */
export const isFixed = (x: Entry): boolean => x.t === 'START' || x.t === 'END' || x.t === 'MOVE';
export const isDecision = (x: Entry): x is Decision => x.t === 'DECIDE' || x.t === 'NOTE';
export const sameRow = (a: Row, b: Row): boolean => a.v === b.v && a.t === b.t && a.w === b.w;

/** The view after entry `i` of the log; the row is guarded by its version (C8). */
export function after(w: View, x: Entry, i: number): View {
  const guarded = (row: Row): Row => (row.v > w.row.v ? row : w.row);
  switch (x.t) {
    case 'START':
      return { ...w, ...x.lists, clk: Math.max(w.clk, x.clk) };
    case 'END':
    case 'MOVE':
      return w;
    case 'PREPARE':
      return { ...w, und: { v: x.v, i }, clk: Math.max(w.clk, x.v) };
    case 'W':
      return { ...w, row: guarded({ v: x.v, t: x.seen, w: true }), clk: Math.max(w.clk, x.v) };
    case 'DECIDE':
    case 'NOTE': {
      // Without the PREPARE there are no after-images.
      const row = x.commit && w.und ? guarded({ v: x.v, t: true, w: w.row.w }) : w.row;
      const clk = x.commit ? Math.max(w.clk, x.v) : w.clk;
      const dec = x.t === 'DECIDE' ? { commit: x.commit, v: x.v, i } : w.dec;
      return { row, clk, und: null, dec };
    }
  }
}

/** The whole log's replay, as the oracle does it, from the entries alone; and whether versions follow the log. */
export function truth(log: Log): { row: Row; fault: string | null } {
  let view = EMPTY;
  let fault: string | null = null;
  log.forEach((x, i) => {
    const writes = x.t === 'W' || (isDecision(x) && x.commit) ? x.v : null;
    if (writes !== null && writes <= view.row.v) fault = `${x.t}@${writes} lies behind @${view.row.v}`;
    if (x.t !== 'START') view = after(view, x, i);
  });
  return { row: view.row, fault };
}
