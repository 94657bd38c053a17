import { NxnwError } from '@nxnw/platform/errors';
import { Findings } from './findings.js';
import { checkGroup } from './groups.js';
import type { DumpedGroup, Loaded, Side } from './groups.js';
import { checkNote } from './notes.js';
import { dumpRecord, endOf, endRecord, outcomeOf, startRecord } from './record.js';
import type { EndRecord, Op, StartRecord } from './record.js';
import type { Source } from './source.js';
import { Authorities, Ids, Sequence } from './unique.js';

export interface OracleInput {
  /** The clients' and the loader's logs. */
  readonly logs: readonly Source[];
  /** @default no dump: only what was seen while it ran is checked */
  readonly dump?: Source;
  /** How often the files are read; each pass holds that part of the groups in memory. @default one per 64 MiB of logs */
  readonly passes?: number;
}

export interface OracleReport {
  readonly findings: Findings;
  readonly operations: number;
  readonly writes: number;
  readonly acknowledgedWrites: number;
  readonly unknown: number;
  readonly refused: number;
  readonly groupsTouched: number;
  /** Loaded places in the dump or (when touched) explained by the history. */
  readonly loaded: number;
}

const PASS_BYTES = 64 << 20;
const READS: ReadonlySet<string> = new Set(['get', 'book', 'search', 'note.get']);

/** Operations of one log, each when its end is read; those without an end come last. */
async function* operations(log: Source): AsyncIterable<Op> {
  const open = new Map<string, StartRecord>();
  for await (const value of log.read()) {
    const kind = typeof value === 'object' && value !== null && 'k' in value ? value.k : undefined;
    if (kind === 'start') {
      const start = startRecord.parse(value);
      open.set(start.nonce, start);
    } else if (kind === 'end') {
      const end: EndRecord = endRecord.parse(value);
      const start = open.get(end.nonce);
      if (start === undefined)
        throw new NxnwError('ORACLE_LOG_BROKEN', `${log.name}: ${end.nonce} ends without a start`, {
          log: log.name,
          nonce: end.nonce,
        });
      open.delete(end.nonce);
      yield { start, end };
    }
  }
  for (const start of open.values()) yield { start, end: null };
}

/** Part of a pass: everything about one key. */
interface Group {
  readonly ops: Op[];
  loaded: Loaded | null;
  readonly dumped: DumpedGroup;
}

/**
 * Reads the logs and the final dump and names what is wrong with them. It never reports a legal history: an operation
 * without an answer may have happened or not, at any time after its start.
 */
export async function check(input: OracleInput): Promise<OracleReport> {
  const bytes = input.logs.reduce((sum, s) => sum + s.bytes, 0);
  const passes = input.passes ?? Math.max(1, Math.ceil(bytes / PASS_BYTES));
  const findings = new Findings();
  const counts = {
    operations: 0,
    writes: 0,
    acknowledgedWrites: 0,
    unknown: 0,
    refused: 0,
    groupsTouched: 0,
    loaded: 0,
  };
  const sides = new Map<string, Side[]>();
  const moves = new Map<string, Op>();
  for (let pass = 0; pass < passes; pass++)
    await checkPart(input, { pass, passes }, { findings, counts, sides, moves });
  for (const [nonce, list] of sides) {
    const op = moves.get(nonce);
    if (op === undefined || !list.includes('gone')) continue;
    const acknowledged = outcomeOf(op) === 'ok';
    const key = op.start.groups.map((g) => `Place/${g}`).join(' ');
    if (list.every((s) => s === 'gone')) {
      if (acknowledged) findings.add('lost', key, [nonce], `${nonce} was acknowledged and is in none of its groups`);
    } else if (acknowledged || list.includes('there'))
      findings.add('torn', key, [nonce], `${nonce} is in one of its groups and not in the other`);
  }
  return { findings, ...counts };
}

interface Sums {
  readonly findings: Findings;
  readonly counts: { -readonly [K in Exclude<keyof OracleReport, 'findings'>]: number };
  readonly sides: Map<string, Side[]>;
  readonly moves: Map<string, Op>;
}

async function checkPart(input: OracleInput, part: { pass: number; passes: number }, sums: Sums): Promise<void> {
  const { findings, counts } = sums;
  const first = part.pass === 0;
  const groups = new Map<number, Group>();
  const notes = new Map<string, { ops: Op[]; dumped: string | null }>();
  const opByNonce = new Map<string, Op>();
  const ids = new Ids(findings);
  const sequence = new Sequence();
  const authorities = new Authorities();
  const groupOf = (id: number): Group | null => {
    if (id % part.passes !== part.pass) return null;
    let g = groups.get(id);
    if (g === undefined)
      groups.set(id, (g = { ops: [], loaded: null, dumped: { places: [], ledgers: [], entries: [] } }));
    return g;
  };
  const noteOf = (name: string): { ops: Op[]; dumped: string | null } | null => {
    if (hash(name) % part.passes !== part.pass) return null;
    let n = notes.get(name);
    if (n === undefined) notes.set(name, (n = { ops: [], dumped: null }));
    return n;
  };

  for (const log of input.logs)
    for await (const op of operations(log)) {
      if (first) count(op, counts);
      if (op.start.groups.some((id) => id % part.passes === part.pass)) opByNonce.set(op.start.nonce, op);
      const touched = new Set(op.start.groups);
      for (const s of [...(op.end?.made ?? []), ...(op.end?.saw ?? [])]) touched.add(s.id);
      for (const id of touched) groupOf(id)?.ops.push(op);
      if (op.start.note !== undefined) noteOf(op.start.note)?.ops.push(op);
      for (const [id, sum] of op.end?.loaded ?? []) {
        const g = groupOf(id);
        if (g !== null) g.loaded = { sum, nonce: op.start.nonce, at: endOf(op) };
      }
      if (!first) continue;
      for (const id of op.end?.ids ?? []) ids.add(id, op.start.nonce);
      if (op.end?.sequence !== undefined) sequence.add(op, op.end.sequence);
      for (const a of op.end?.authority ?? []) authorities.add(op, a);
      if (op.start.groups.length > 1) sums.moves.set(op.start.nonce, op);
    }
  if (input.dump !== undefined)
    for await (const value of input.dump.read()) {
      const r = dumpRecord.parse(value);
      if (r.k === 'note') {
        const n = noteOf(r.name);
        if (n !== null) n.dumped = r.nonce;
        continue;
      }
      const g = groupOf(r.id);
      if (g === null) continue;
      if (r.k === 'place') g.dumped.places.push(r);
      else if (r.k === 'ledger') g.dumped.ledgers.push(r);
      else g.dumped.entries.push(r.entry);
    }
  if (first) {
    sequence.finish(findings);
    authorities.finish(findings);
  }
  for (const [id, g] of groups) {
    if (g.ops.length > 0) counts.groupsTouched++;
    if (g.loaded !== null) counts.loaded++;
    const dumped = input.dump === undefined ? null : g.dumped;
    const found = checkGroup({ id, ops: g.ops, opByNonce, loaded: g.loaded, dumped }, findings);
    for (const [nonce, side] of found) sums.sides.set(nonce, [...(sums.sides.get(nonce) ?? []), side]);
  }
  for (const [name, n] of notes) checkNote(name, n.ops, input.dump === undefined ? undefined : n.dumped, findings);
}

function count(op: Op, counts: Sums['counts']): void {
  counts.operations++;
  const outcome = outcomeOf(op);
  if (outcome === 'unknown') counts.unknown++;
  if (outcome === 'none') counts.refused++;
  if (READS.has(op.start.op)) return;
  counts.writes++;
  if (outcome === 'ok') counts.acknowledgedWrites++;
}

function hash(text: string): number {
  let h = 0;
  for (let i = 0; i < text.length; i++) h = (h * 31 + text.charCodeAt(i)) >>> 0;
  return h;
}
