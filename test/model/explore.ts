import assert from 'node:assert/strict';

/**
 * Offers a step: its label, and what it does to a copy of the state. The copy shares its parts with the state that it
 * came from, so a model declares everything inside its state readonly and replaces what changes.
 */
export type Go<S> = (label: string, change: (t: S) => void) => void;

/** A protocol as a graph of states. States are plain JSON values. */
export interface Model<S extends object> {
  readonly init: S;
  /** Offers every step that can be taken from `s`. */
  next(s: S, go: Go<S>): void;
  /** Why `s` must never be reached, or null. */
  bad(s: S): string | null;
  /** Must hold in some state; otherwise a model that finds nothing has looked at nothing. */
  witness?(s: S): boolean;
  /** A state of this kind must stay reachable from everywhere… */
  live?(s: S): boolean;
  /** …by steps of this kind alone (no new fault, no helper that may be dead). @default all steps */
  liveStep?(label: string): boolean;
}

export interface Result {
  /** What is wrong, or null: then every reachable state was looked at. */
  readonly found: string | null;
  /** The shortest way there. */
  readonly steps: readonly string[];
  readonly states: number;
}

const MAX_STATES = 3_000_000;

/**
 * Looks at every reachable state, breadth first: the first counterexample is a shortest one. A state is kept as the text
 * that tells it from others, and made from that when its turn comes.
 */
export function explore<S extends object>(model: Model<S>): Result {
  const ids = new Map<string, number>();
  const texts: string[] = [];
  const parents: number[] = [];
  const labels: string[] = [];
  const edges = new Edges();

  const reach = (text: string, from: number, label: string): void => {
    let id = ids.get(text);
    if (id === undefined) {
      id = texts.length;
      ids.set(text, id);
      texts.push(text);
      parents.push(from);
      labels.push(label);
    }
    if (model.live !== undefined && from >= 0 && (model.liveStep?.(label) ?? true)) edges.add(from, id);
  };
  const wayTo = (id: number): string[] => {
    const steps: string[] = [];
    for (let i = id; i > 0; i = parents[i] ?? 0) steps.unshift(labels[i] ?? '');
    return steps;
  };

  reach(JSON.stringify(model.init), -1, '');
  let witnessed = model.witness === undefined;
  const living: number[] = [];
  for (let i = 0; i < texts.length; i++) {
    assert.ok(i < MAX_STATES, `more than ${MAX_STATES} states`);
    const text = texts[i] ?? '';
    const state: S = JSON.parse(text);
    const why = model.bad(state);
    if (why !== null) return { found: why, steps: wayTo(i), states: texts.length };
    witnessed ||= model.witness?.(state) ?? true;
    if (model.live?.(state)) living.push(i);
    model.next(state, (label, change) => {
      const t = { ...state };
      change(t);
      reach(JSON.stringify(t), i, label);
    });
  }
  if (!witnessed) return { found: VACUOUS, steps: [], states: texts.length };
  const stuck = model.live === undefined ? -1 : edges.unableToReach(living, texts.length);
  if (stuck >= 0) return { found: 'stuck: nobody can ever serve again', steps: wayTo(stuck), states: texts.length };
  return { found: null, steps: [], states: texts.length };
}

const VACUOUS = 'vacuous: the state of interest is never reached';

/** Steps between states, for asking which states lead to some. */
class Edges {
  private n = 0;
  private from = new Int32Array(1 << 12);
  private to = new Int32Array(1 << 12);

  add(from: number, to: number): void {
    if (this.n === this.from.length) {
      this.from = grown(this.from);
      this.to = grown(this.to);
    }
    this.from[this.n] = from;
    this.to[this.n++] = to;
  }

  /** The first state from which none of `goals` can be reached, or -1. */
  unableToReach(goals: readonly number[], states: number): number {
    // Predecessors of state i: sources[starts[i]] … sources[starts[i + 1] - 1], filled in through `fill`.
    const starts = new Int32Array(states + 1);
    for (const to of this.to.subarray(0, this.n)) starts[to + 1] = (starts[to + 1] ?? 0) + 1;
    for (let i = 1; i < starts.length; i++) starts[i] = (starts[i] ?? 0) + (starts[i - 1] ?? 0);
    const fill = starts.slice();
    const sources = new Int32Array(this.n);
    for (let i = 0; i < this.n; i++) {
      const to = this.to[i] ?? 0;
      const place = fill[to] ?? 0;
      sources[place] = this.from[i] ?? 0;
      fill[to] = place + 1;
    }
    const able = new Uint8Array(states);
    const todo = [...goals];
    for (const goal of goals) able[goal] = 1;
    for (let i = todo.pop(); i !== undefined; i = todo.pop()) {
      for (const source of sources.subarray(starts[i], starts[i + 1])) {
        if (able[source] === 1) continue;
        able[source] = 1;
        todo.push(source);
      }
    }
    return able.indexOf(0);
  }
}

function grown(a: Int32Array): Int32Array<ArrayBuffer> {
  const b = new Int32Array(a.length * 2);
  b.set(a);
  return b;
}

/** What exploring a variant must find: null = nothing, in any state; otherwise the violation that it must run into. */
export interface Expected {
  readonly name: string;
  readonly finds: RegExp | null;
}

/**
 * One test for each variant of a protocol: the right ones must hold in every state, and each known mistake must be
 * found, which shows that the model can see it.
 */
export function variants<S extends object, V extends Expected>(
  title: string,
  model: (v: V) => Model<S>,
  all: readonly V[],
): void {
  describe(`model ${title}`, function () {
    this.timeout(120_000);
    for (const variant of all) {
      it(variant.finds === null ? `${variant.name}: holds in every state` : `${variant.name}: is found`, function () {
        const { found, steps, states } = explore(model(variant));
        const story = [found, ...steps.map((step, i) => `${String(i + 1).padStart(4)}. ${step}`)].join('\n');
        if (variant.finds === null) assert.equal(found, null, story);
        else assert.match(found ?? `nothing, in ${states} states`, variant.finds, story);
        if (process.env['NXNW_MODEL_STATES']) console.log(`      ${states} states`);
      });
    }
  });
}
