/** Edit distance of two short strings (insert, delete, replace). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** The allowed word that was probably meant, or undefined if none is near. */
export function nearest(given: string, allowed: readonly string[]): string | undefined {
  const g = given.toLowerCase();
  const ranked = allowed
    .map((word) => ({ word, d: distance(g, word.toLowerCase()), inside: word.toLowerCase().includes(g) }))
    .sort((a, b) => a.d - b.d);
  const best = ranked[0];
  if (best === undefined) return undefined;
  if (best.d <= Math.max(2, Math.floor(best.word.length / 3))) return best.word;
  return ranked.find((r) => r.inside && g.length >= 3)?.word;
}
