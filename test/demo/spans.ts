import type { Span } from '../load/traffic.js';

/** The stretches of the story that the report sums up by themselves; a switch counts until five seconds after it. */
const AFTER_US = 5e6;
/** Errors and retries are looked for in this time round each switch. */
const ROUND_US = 15e6;

export const SWITCHES = ['switched', 'moved', 'back', 'again'] as const;
export type SwitchName = (typeof SWITCHES)[number];

export function spansOf(marks: Readonly<Record<string, number>>): Span[] {
  const spans: Span[] = [];
  const add = (name: string, fromUs: number | undefined, toUs: number | undefined): void => {
    if (fromUs !== undefined && toUs !== undefined) spans.push({ name, fromUs, toUs });
  };
  add('before', marks['traffic'], marks['synced.begin']);
  add('synced', marks['synced.begin'], marks['synced.end']);
  for (const name of SWITCHES) {
    const begin = marks[`${name}.begin`];
    const end = marks[`${name}.end`];
    if (begin === undefined || end === undefined) continue;
    add(name, begin, end + AFTER_US);
    add(`round ${name}`, begin - ROUND_US, end + ROUND_US);
  }
  return spans;
}
