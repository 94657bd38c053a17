import { deepStrictEqual, ok, strictEqual } from 'node:assert';
import { check, listSource } from '../oracle/index.js';
import type { Finding } from '../oracle/index.js';
import type { DumpRecord, EndRecord, StartRecord } from '../oracle/record.js';
import { end, legalHistory } from './oracle-history.js';
import type { History } from './oracle-history.js';

async function find(h: History, passes = 1): Promise<readonly Finding[]> {
  const logs = [listSource('log', h.records)];
  const report = await check({ logs, dump: listSource('dump', h.dump), passes });
  return report.findings.kept;
}

function names(found: readonly Finding[], kind: Finding['kind'], nonce: string): boolean {
  return found.some((f) => f.kind === kind && f.nonces[0] === nonce);
}

const show = (found: readonly Finding[]): string => found.map((f) => `${f.kind} ${f.nonces[0]}: ${f.text}`).join('\n');

function ends(h: History): { start: StartRecord; end: EndRecord }[] {
  const starts = new Map(h.records.filter((r) => r.k === 'start').map((r) => [r.nonce, r]));
  return h.records.flatMap((r) => {
    const start = starts.get(r.nonce);
    return r.k === 'end' && start !== undefined ? [{ start, end: r }] : [];
  });
}

function edit(h: History, change: (d: DumpRecord) => DumpRecord | null): History {
  return { records: h.records, dump: h.dump.flatMap((d) => change(d) ?? []) };
}

describe('the oracle', () => {
  it('reports nothing of 150 legal histories with overlaps, lost answers and cached reads', async () => {
    for (let seed = 1; seed <= 150; seed++) {
      const found = await find(legalHistory(seed, 300));
      deepStrictEqual(found, [], `seed ${seed}: ${show(found)}`);
    }
  });

  it('finds the same in several passes, each holding a part of the groups', async () => {
    const h = legalHistory(5, 300);
    const entry = h.dump.find((d) => d.k === 'entry');
    const nonce = entry?.k === 'entry' ? entry.entry[1] : '';
    deepStrictEqual(await find(h, 3), []);
    const broken = edit(h, (d) => (d === entry ? null : d));
    deepStrictEqual(await find(broken, 3), await find(broken, 1));
    ok(names(await find(broken, 3), 'lost', nonce));
  });

  it('names a lost guest book entry', async () => {
    const h = legalHistory(5, 300);
    const entry = h.dump.find((d) => d.k === 'entry');
    const nonce = entry?.k === 'entry' ? entry.entry[1] : '';
    const found = await find(edit(h, (d) => (d === entry ? null : d)));
    ok(names(found, 'lost', nonce), show(found));
  });

  it('names a lost commit whose group is back at the state before it', async () => {
    const h = legalHistory(6, 300);
    const ledger = h.dump.find((d) => d.k === 'ledger' && !d.deleted);
    if (ledger?.k !== 'ledger') throw new Error('no ledger');
    const last = ends(h).find((o) => o.start.nonce === ledger.nonce);
    ok(last !== undefined);
    const back = (d: DumpRecord): DumpRecord | null => {
      if (d.k === 'ledger' && d.id === ledger.id)
        return { ...d, serial: d.serial - 1, nonce: d.prev ?? '', prev: null, recent: d.recent.slice(1) };
      if (d.k === 'place' && d.id === ledger.id)
        return { ...d, serial: d.serial - 1, nonce: ledger.prev ?? '', sum: 'before' };
      return d;
    };
    const found = await find(edit(h, back));
    const kind = last.start.op === 'move' ? 'torn' : 'lost';
    ok(names(found, kind, ledger.nonce), show(found));
  });

  it('names a commit that is torn between a place and its ledger', async () => {
    const h = legalHistory(7, 300);
    const place = h.dump.find((d) => d.k === 'place' && d.serial > 0);
    if (place?.k !== 'place') throw new Error('no place');
    const found = await find(
      edit(h, (d) => (d === place ? { ...place, serial: place.serial - 1, nonce: 'older' } : d)),
    );
    ok(names(found, 'torn', place.nonce), show(found));
  });

  it('names a move that is in one group and not in the other', async () => {
    const records: (StartRecord | EndRecord)[] = [
      ...write('m1', 10, 'move', [1, 2]),
      end('m1', 20, { made: [state(1, 1, 'm1'), state(2, 1, 'm1')] }),
    ];
    const found = await find({ records, dump: [...dumped(1, 1, 'm1')] });
    ok(names(found, 'torn', 'm1'), show(found));
  });

  it('names a move without an answer that is in one group only', async () => {
    const records = write('m1', 10, 'move', [1, 2]);
    const sign = [...write('s1', 30, 'sign', [2]), end('s1', 40, { made: [state(2, 1, 's1')] })];
    const entry: DumpRecord = { k: 'entry', id: 2, entry: ['5', 's1', 1] };
    const dump = [...dumped(1, 1, 'm1'), ...dumped(2, 1, 's1', 1), entry];
    const found = await find({ records: [...records, ...sign], dump });
    ok(names(found, 'torn', 'm1'), show(found));
    deepStrictEqual(await find({ records: [...records, ...sign], dump: dump.slice(2) }), []);
  });

  it('names a resurrected place and its resurrected entry', async () => {
    const records = [
      ...write('s1', 10, 'sign', [1]),
      end('s1', 20, { made: [state(1, 1, 's1')] }),
      ...write('d1', 30, 'remove', [1]),
      end('d1', 40, { made: [gone(1, 2, 'd1', 's1')] }),
    ];
    const ledger: DumpRecord = { k: 'ledger', id: 1, serial: 2, nonce: 'd1', prev: 's1', deleted: true, recent: [] };
    deepStrictEqual(await find({ records, dump: [ledger] }), []);
    const place = dumped(1, 1, 's1')[0];
    ok(place !== undefined);
    ok(names(await find({ records, dump: [ledger, place] }), 'resurrected', 'd1'));
    const entry: DumpRecord = { k: 'entry', id: 1, entry: ['9', 's1', 1] };
    ok(names(await find({ records, dump: [ledger, entry] }), 'resurrected', 's1'));
    const read = [...records, ...write('r1', 50, 'get', [1]), end('r1', 60, { saw: [state(1, 1, 's1')] })];
    ok(names(await find({ records: read, dump: [ledger] }), 'resurrected', 'd1'));
  });

  it('names a commit that was applied twice', async () => {
    const h = legalHistory(8, 300);
    const entry = h.dump.find((d) => d.k === 'entry');
    if (entry?.k !== 'entry') throw new Error('no entry');
    const copy: DumpRecord = { ...entry, entry: ['77777', entry.entry[1], entry.entry[2]] };
    const found = await find({ records: h.records, dump: [...h.dump, copy] });
    ok(names(found, 'duplicated', entry.entry[1]), show(found));
    const again = [
      ...write('e1', 10, 'edit', [1]),
      end('e1', 20, { made: [state(1, 1, 'e1')] }),
      ...write('r1', 30, 'get', [1]),
      end('r1', 40, { saw: [state(1, 2, 'e1', 'e1')] }),
    ];
    ok(names(await find({ records: again, dump: dumped(1, 2, 'e1') }), 'duplicated', 'e1'));
  });

  it('names the acknowledged write that a cached read was too old for', async () => {
    const records = [
      ...write('e1', 10, 'edit', [1]),
      end('e1', 20, { made: [state(1, 1, 'e1')] }),
      ...write('e2', 30, 'edit', [1]),
      end('e2', 40, { made: [state(1, 2, 'e2', 'e1')] }),
      ...write('r1', 39, 'get', [1]),
      end('r1', 50, { saw: [{ ...state(1, 1, 'e1'), from: 'cache' }] }),
    ];
    const dump = dumped(1, 2, 'e2');
    deepStrictEqual(await find({ records, dump }), [], 'a read that began before the answer may be old');
    const late = [...records, ...write('r2', 41, 'get', [1])];
    late.push(end('r2', 50, { saw: [{ ...state(1, 1, 'e1'), from: 'cache' }] }));
    ok(names(await find({ records: late, dump }), 'stale', 'e2'));
  });

  it('names two acknowledged commits on top of one state', async () => {
    const records = [
      ...write('e1', 10, 'edit', [1]),
      end('e1', 20, { made: [state(1, 1, 'e1')] }),
      ...write('e2', 11, 'edit', [1]),
      end('e2', 21, { made: [state(1, 1, 'e2')] }),
    ];
    ok(names(await find({ records, dump: dumped(1, 1, 'e2') }), 'lost', 'e1'));
  });

  it('names a refused commit that shows', async () => {
    const records = [...write('e1', 10, 'edit', [1]), end('e1', 20, { outcome: 'none', status: 409 })];
    ok(names(await find({ records, dump: dumped(1, 1, 'e1') }), 'phantom', 'e1'));
  });

  it('names a loaded place that vanished, and one that changed by itself', async () => {
    const records = [...write('l1', 1, 'load', []), end('l1', 2, { loaded: [[1, 'a'], [2, 'b']] })]; // prettier-ignore
    const place: DumpRecord = { k: 'place', id: 1, serial: 0, nonce: 'l1', sum: 'a', signatures: 0, tokens: 100 };
    const found = await find({ records, dump: [place] });
    deepStrictEqual(found.map((f) => [f.kind, f.key]), [['lost', 'Place/2']]); // prettier-ignore
    const changed = await find({
      records,
      dump: [
        { ...place, sum: 'x' },
        { ...place, id: 2, sum: 'b' },
      ],
    });
    deepStrictEqual(changed.map((f) => [f.kind, f.key]), [['torn', 'Place/1']]); // prettier-ignore
  });

  it('names ids and sequence numbers that were given twice', async () => {
    const records = [
      ...write('s1', 10, 'ids', []),
      end('s1', 20, { ids: ['4', '5'] }),
      ...write('s2', 30, 'ids', []),
      end('s2', 40, { ids: ['5'] }),
      ...write('q1', 10, 'sequence', []),
      end('q1', 20, { sequence: 7 }),
      ...write('q2', 30, 'sequence', []),
      end('q2', 40, { sequence: 6 }),
    ];
    const found = await find({ records, dump: [] });
    deepStrictEqual(found.map((f) => f.kind + ' ' + f.nonces[0]).sort(), ['duplicateIds q2', 'duplicateIds s2']);
  });

  it('names two authorities: an epoch that falls, and one that two platforms answer for', async () => {
    const from = (platform: string, epoch: number) => ({ authority: [{ platform, shard: 'shop/3', epoch, slot: 4 }] });
    const records = [
      ...write('r1', 10, 'get', []),
      end('r1', 20, from('blue', 2)),
      ...write('r2', 30, 'get', []),
      end('r2', 40, from('green', 3)),
      ...write('r3', 50, 'get', []),
      end('r3', 60, from('blue', 2)),
      ...write('r4', 55, 'get', []),
      end('r4', 65, from('blue', 3)),
    ];
    const found = await find({ records, dump: [] });
    deepStrictEqual(found.map((f) => f.kind + ' ' + f.nonces[0]).sort(), ['authority r3', 'authority r4']);
  });

  it('knows what a note may hold after lost answers, and names lost and resurrected notes', async () => {
    const note = (op: StartRecord['op'], nonce: string, at: number): StartRecord => ({
      k: 'start',
      nonce,
      at,
      op,
      groups: [],
      note: 'n',
    });
    const records = [
      note('note.put', 'p1', 10),
      end('p1', 20, {}),
      note('note.put', 'p2', 30),
      note('note.get', 'r1', 50),
      end('r1', 60, { note: 'p1' }),
      note('note.get', 'r2', 70),
      end('r2', 80, { note: 'p2' }),
    ];
    const dump = (nonce: string): DumpRecord[] => [{ k: 'note', name: 'n', nonce }];
    deepStrictEqual(await find({ records, dump: dump('p2') }), []);
    ok(names(await find({ records, dump: [] }), 'lost', 'p1'));
    const removed = [records[0], records[1], note('note.remove', 'd1', 30), end('d1', 40, {})].flatMap((r) => r ?? []);
    deepStrictEqual(await find({ records: removed, dump: [] }), []);
    ok(names(await find({ records: removed, dump: dump('p1') }), 'resurrected', 'd1'));
  });

  it('counts operations, writes and unknown outcomes', async () => {
    const h = legalHistory(9, 300);
    const report = await check({ logs: [listSource('log', h.records)] });
    strictEqual(report.operations, 301);
    ok(report.unknown > 5 && report.refused > 5 && report.writes > 150);
    strictEqual(report.loaded, 5);
  });
});

function write(nonce: string, at: number, op: StartRecord['op'], groups: number[]): StartRecord[] {
  return [{ k: 'start', nonce, at, op, groups }];
}

function state(id: number, serial: number, nonce: string, prev: string | null = null) {
  const value = { sum: nonce, signatures: null, tokens: null, from: 'store' as const };
  return { id, serial, nonce, prev, deleted: false, placeSerial: serial, placeNonce: nonce, ...value };
}

function gone(id: number, serial: number, nonce: string, prev: string) {
  return { ...state(id, serial, nonce, prev), deleted: true, placeSerial: null, placeNonce: null, sum: null };
}

function dumped(id: number, serial: number, nonce: string, signatures = 0): DumpRecord[] {
  return [
    { k: 'place', id, serial, nonce, sum: nonce, signatures, tokens: 100 },
    { k: 'ledger', id, serial, nonce, prev: null, deleted: false, recent: [`${serial}:${nonce}`] },
  ];
}
