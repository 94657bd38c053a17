import { createHash } from 'node:crypto';
import { seeded } from '../support/random.js';
import type { DumpRecord, EndRecord, Observation, OpName, StartRecord } from '../oracle/record.js';

/**
 * Makes legal histories as the gazetteer's clients would record them: operations overlap at random, each takes effect
 * at one moment between its start and its end; some get no answer and happen later or never; cached reads lag behind,
 * but not behind an acknowledged write.
 */
export interface History {
  readonly records: (StartRecord | EndRecord)[];
  readonly dump: DumpRecord[];
}

interface State {
  serial: number;
  nonce: string | null;
  prev: string | null;
  recent: string[];
  place: { serial: number; nonce: string; signatures: number; tokens: number } | null;
  entries: [string, string, number][];
}

interface Planned {
  readonly op: OpName;
  readonly nonce: string;
  readonly from: number;
  readonly effect: number;
  readonly to: number;
  readonly answered: boolean;
  readonly happens: boolean;
  readonly groups: number[];
}

const GROUPS = 5;

export function sumOf(place: State['place']): string | null {
  return place && createHash('sha1').update(JSON.stringify(place)).digest('hex').slice(0, 8);
}

export function legalHistory(seed: number, operations: number): History {
  const rnd = seeded(seed);
  const states = new Map<number, State>();
  const past = new Map<number, { at: number; state: State }[]>();
  const records: { at: number; r: StartRecord | EndRecord }[] = [];
  let entryId = 1000;

  for (let id = 1; id <= GROUPS; id++) {
    const place = { serial: 0, nonce: 'load', signatures: 0, tokens: 100 };
    states.set(id, { serial: 0, nonce: 'load', prev: null, recent: [], place, entries: [] });
  }
  records.push({ at: 0, r: { k: 'start', nonce: 'load', at: 0, op: 'load', groups: [] } });
  const loaded = [...states].map(([id, s]): [number, string] => [id, sumOf(s.place) ?? '']);
  records.push({ at: 1, r: end('load', 1, { loaded }) });
  for (const [id, s] of states) past.set(id, [{ at: 1, state: s }]);

  const planned: Planned[] = [];
  const names: OpName[] = [
    'get',
    'get',
    'get',
    'book',
    'sign',
    'sign',
    'sign',
    'edit',
    'edit',
    'create',
    'remove',
    'move',
    'move',
  ];
  for (let i = 0; i < operations; i++) {
    const from = 10 + rnd() * operations * 3;
    const effect = from + rnd() * 10;
    const answered = rnd() > 0.05;
    const op = names[Math.floor(rnd() * names.length)] ?? 'get';
    const a = 1 + Math.floor(rnd() * GROUPS);
    const b = 1 + ((a + Math.floor(rnd() * (GROUPS - 1))) % GROUPS);
    planned.push({
      op,
      nonce: `c-${i}`,
      from,
      effect: answered ? effect : effect + rnd() * 200,
      to: effect + rnd() * 10,
      answered,
      happens: answered || rnd() > 0.5,
      groups: op === 'move' && a !== b ? [a, b] : [a],
    });
  }
  const ackedAt = new Map<number, { end: number; effect: number }[]>();
  for (const p of planned.sort((x, y) => x.effect - y.effect)) {
    const op = p.op === 'move' && p.groups.length === 1 ? 'edit' : p.op;
    const start: StartRecord = { k: 'start', nonce: p.nonce, at: p.from, op, groups: p.groups };
    records.push({ at: p.from, r: op === 'move' ? { ...start, amount: 3 } : start });
    const answer = p.happens ? act(op, p) : null;
    if (p.answered && answer !== null) records.push({ at: p.to, r: end(p.nonce, p.to, answer) });
  }
  return { records: records.sort((x, y) => x.at - y.at).map((x) => x.r), dump: dumpOf(states) };

  function act(op: OpName, p: Planned): Partial<EndRecord> {
    const id = p.groups[0] ?? 1;
    const s = states.get(id);
    if (s === undefined) throw new Error('no such group');
    if (op === 'get') {
      const cached = rnd() < 0.5;
      return { saw: [observe(id, cached ? lagging(id, p) : s, cached ? 'cache' : 'store')] };
    }
    if (op === 'book')
      return { saw: [observe(id, s)], book: { id, serial: s.serial, complete: true, entries: [...s.entries] } };
    if ((op === 'create') !== (s.place === null)) return { outcome: 'none', status: 409, saw: [observe(id, s)] };
    const made: Observation[] = [];
    const amounts = op === 'move' ? [-3, 3] : [0];
    const sides = p.groups.map((g) => states.get(g));
    if (sides.some((x) => x === undefined || (op === 'move' && x.place === null)))
      return { outcome: 'none', status: 404, saw: [observe(id, s)] };
    p.groups.forEach((g, i) => {
      const before = states.get(g);
      if (before === undefined) return;
      const serial = before.serial + 1;
      const next: State = {
        serial,
        nonce: p.nonce,
        prev: before.nonce,
        recent: [`${serial}:${p.nonce}`, ...before.recent].slice(0, 4),
        place: {
          serial,
          nonce: p.nonce,
          signatures: op === 'create' ? 0 : (before.place?.signatures ?? 0) + (op === 'sign' ? 1 : 0),
          tokens: op === 'create' ? 100 : (before.place?.tokens ?? 0) + (amounts[i] ?? 0),
        },
        entries: [...before.entries],
      };
      if (op === 'sign') next.entries.push([String(entryId++), p.nonce, serial]);
      if (op === 'remove') Object.assign(next, { place: null, entries: [] });
      states.set(g, next);
      past.get(g)?.push({ at: p.effect, state: next });
      made.push({ ...observe(g, next), version: p.effect });
      if (p.answered) ackedAt.set(g, [...(ackedAt.get(g) ?? []), { end: p.to, effect: p.effect }]);
    });
    return { made };
  }

  /** Some state since the last write that was acknowledged before the read began. */
  function lagging(id: number, p: Planned): State {
    const floor = Math.max(1, ...(ackedAt.get(id) ?? []).filter((a) => a.end < p.from).map((a) => a.effect));
    const legal = (past.get(id) ?? []).filter((x) => x.at >= floor && x.at <= p.effect);
    return legal[Math.floor(rnd() * legal.length)]?.state ?? dead();
  }
}

function dead(): never {
  throw new Error('a group always has a state');
}

function observe(id: number, s: State, from: 'cache' | 'store' = 'store'): Observation {
  return {
    id,
    serial: s.serial,
    nonce: s.nonce,
    prev: s.prev,
    deleted: s.place === null,
    placeSerial: s.place?.serial ?? null,
    placeNonce: s.place?.nonce ?? null,
    sum: sumOf(s.place),
    signatures: s.place?.signatures ?? null,
    tokens: s.place?.tokens ?? null,
    from,
  };
}

export function end(nonce: string, at: number, more: Partial<EndRecord>): EndRecord {
  const empty = { made: [], saw: [], ids: [], loaded: [], authority: [] };
  return { k: 'end', nonce, at, outcome: 'ok', status: 200, ...empty, ...more };
}

function dumpOf(states: ReadonlyMap<number, State>): DumpRecord[] {
  const dump: DumpRecord[] = [];
  for (const [id, s] of states) {
    if (s.place) dump.push({ k: 'place', id, ...s.place, sum: sumOf(s.place) ?? '' });
    if (s.serial > 0)
      dump.push({
        k: 'ledger',
        id,
        serial: s.serial,
        nonce: s.nonce ?? '',
        prev: s.prev,
        deleted: s.place === null,
        recent: s.recent,
      });
    for (const entry of s.entries) dump.push({ k: 'entry', id, entry });
  }
  return dump;
}
