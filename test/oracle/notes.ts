import type { Findings } from './findings.js';
import { endOf, outcomeOf } from './record.js';
import type { Op } from './record.js';

const ABSENT = 'absent';

/**
 * Notes: registers written blindly, each by one client, one operation after another. A write without an answer may
 * land at any later time. `ops` are those of one note; `dumped` is the nonce in the final dump (null = not there,
 * undefined = there was no dump).
 */
export function checkNote(name: string, ops: readonly Op[], dumped: string | null | undefined, out: Findings): void {
  const key = `Note/${name}`;
  const writes = ops.filter((o) => o.start.op !== 'note.get').sort((a, b) => a.start.at - b.start.at);
  const indexOf = new Map(writes.map((w, i) => [w.start.nonce, i]));
  const value = (i: number): string => {
    const w = writes[i];
    return w === undefined || w.start.op === 'note.remove' ? ABSENT : w.start.nonce;
  };
  const reads = ops
    .filter((o) => o.start.op === 'note.get' && o.end?.outcome === 'ok' && o.end.note !== undefined)
    .map((o) => ({ by: o.start.nonce, from: o.start.at, to: endOf(o), saw: o.end?.note ?? ABSENT }));
  if (dumped !== undefined) reads.push({ by: 'dump', from: Infinity, to: Infinity, saw: dumped ?? ABSENT });
  reads.sort((a, b) => a.from - b.from);

  /** Newest write that a finished read has seen, when that read ended. */
  const seen: { at: number; index: number }[] = [];
  for (const r of reads) {
    let base = -1;
    writes.forEach((w, i) => {
      if (outcomeOf(w) === 'ok' && endOf(w) < r.from) base = i;
    });
    for (const s of seen) if (s.at < r.from && s.index > base) base = s.index;
    const possible = new Set([value(base)]);
    writes.forEach((w, i) => {
      const outcome = outcomeOf(w);
      if (outcome === 'unknown' && w.start.at < r.to) possible.add(value(i));
      if (outcome === 'ok' && i > base && w.start.at < r.to) possible.add(value(i));
    });
    if (possible.has(r.saw)) {
      const i = indexOf.get(r.saw);
      if (i !== undefined && writes[i] !== undefined && outcomeOf(writes[i]) === 'ok')
        seen.push({ at: r.to, index: i });
      continue;
    }
    const victim = writes[base]?.start.nonce ?? '';
    const i = r.saw === ABSENT ? -1 : indexOf.get(r.saw);
    if (
      i === undefined ||
      (i >= 0 && writes[i] !== undefined && outcomeOf(writes[i]) === 'none') ||
      (i > base && i >= 0)
    )
      out.add('phantom', key, [r.saw, r.by], `${r.by} saw ${r.saw}, which nobody had written then`);
    else if (r.saw !== ABSENT && value(base) === ABSENT)
      out.add('resurrected', key, [victim, r.saw, r.by], `${r.by} saw ${r.saw}, which ${victim} had deleted`);
    else
      out.add('lost', key, [victim, r.by], `${r.by} saw ${r.saw}, not the acknowledged write ${victim} or a newer one`);
  }
}
