/** Two of a kind: two platforms, two shards. */
export type Pair<T> = readonly [T, T];
export type Which = 0 | 1;
export const BOTH = [0, 1] as const;

export const other = (i: Which): Which => (i === 0 ? 1 : 0);

/** The pair with one of the two replaced. */
export const replaced = <T>(pair: Pair<T>, i: Which, x: T): Pair<T> => (i === 0 ? [x, pair[1]] : [pair[0], x]);
