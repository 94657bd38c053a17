import { variants, type Expected } from './explore.js';
import { handover, type Handover } from './log-handover.js';

const right = {
  complete: true,
  check: true,
  foreign: true,
  deadline: 'before',
  open: 'START',
  commits: 2,
  expire: 1,
  moves: 1,
  cut: 1,
  lose: 0,
} as const satisfies Handover;
const STALE = /serves reads under a valid lease without acknowledged/;
const DIFFER = /^the two logs differ/;

const all: (Handover & Expected)[] = [
  { ...right, name: 'right: one hand-over, deadline, two session expiries, truncation', expire: 2, finds: null },
  { ...right, name: 'right: there and back', moves: 2, finds: null },
  { ...right, name: "right, and N2's store loses a confirmed entry", lose: 1, finds: null },
  {
    ...right,
    name: 'START on the proof alone, which is enough while a confirmation holds',
    complete: false,
    finds: null,
  },
  {
    ...right,
    name: "START on the proof alone, and N2's store has lost a confirmed entry",
    complete: false,
    lose: 1,
    finds: STALE,
  },
  { ...right, name: 'N2 ends the replica of a segment of N1 as if it were its own', foreign: false, finds: DIFFER },
  {
    ...right,
    name: 'the END of a slow taker lies in a truncated hole and is not checked',
    check: false,
    finds: DIFFER,
  },
  { ...right, name: 'the deadline releases held requests while MOVE is unknown', deadline: 'after', finds: STALE },
  { ...right, name: 'no START: the holder of the lock opens the segment', open: 'mark', expire: 2, finds: STALE },
];

variants('log-handover', handover, all);
