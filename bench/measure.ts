import { readFileSync, readdirSync } from 'node:fs';
import type { Ran, TestStack } from '@nxnw/test/provider/stack';

const LOOK_MS = 100;

/** A run of the engine, with what it cost. */
export interface Measured extends Ran {
  readonly seconds: number;
  /** The most that the engine and all that it starts held at once. */
  readonly mib: number;
}

/** Kilobytes that each descendant of this process holds now, by its id. */
function held(): ReadonlyMap<number, number> {
  const found = new Map<number, { parent: number; kb: number }>();
  for (const dir of readdirSync('/proc').filter((d) => /^\d+$/.test(d)))
    try {
      const status = readFileSync(`/proc/${dir}/status`, 'utf8');
      const number = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
      found.set(Number(dir), { parent: number('PPid'), kb: number('VmRSS') });
    } catch {
      continue; // it has ended meanwhile
    }
  const ours = (pid: number): boolean => {
    const parent = found.get(pid)?.parent ?? 0;
    return parent === process.pid || (parent > 1 && ours(parent));
  };
  return new Map([...found].filter(([pid]) => ours(pid)).map(([pid, { kb }]) => [pid, kb]));
}

/** Runs `pulumi ARGS`. What this process had started before (doubles of clouds) does not count. */
export async function measured(
  stack: TestStack,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Measured> {
  const standing = new Set(held().keys());
  let mostKb = 0;
  const look = setInterval(() => {
    const now = [...held()].filter(([pid]) => !standing.has(pid)).reduce((sum, [, kb]) => sum + kb, 0);
    mostKb = Math.max(mostKb, now);
  }, LOOK_MS);
  const began = performance.now();
  try {
    const ran = await stack.run(args, env);
    return { ...ran, seconds: (performance.now() - began) / 1000, mib: mostKb / 1024 };
  } finally {
    clearInterval(look);
  }
}
