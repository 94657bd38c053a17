import { variants, type Expected } from './explore.js';
import { crossgroup, type CrossGroup } from './log-crossgroup.js';

const right = {
  lists: 'below',
  start: 'full',
  trunc: 'both',
  p0: 'both',
  abort: 'trace',
  late: 'refuse',
  tomb: true,
  alone: false,
  pass: true,
  forbid: false,
  voids: true,
  whole: true,
  locks: true,
  raise: true,
  twice: 'any',
  live: 'settle',
  w: [0, 0],
  take: [0, 0],
  move: [0, 0],
  load: [0, 0],
  ck: [0, 0],
  dead: 0,
  gone: 0,
} as const satisfies CrossGroup;
const A = [1, 0] as const;
const B = [0, 1] as const;
const EACH = [1, 1] as const;
const SERVES_WITHOUT = /committed and acknowledged, .* serves without it/;
const NOT_REPLAY = /not the log's replay$/;
const OTHER_ROW = /serves another row than the log's replay$/;
const ORDER = /do not follow the log/;
const CONTRADICTION = /^two DECIDEs: (commit, abort|abort, commit)/;
const STUCK = /^stuck/;

const holds: (CrossGroup & Expected)[] = [
  { ...right, name: 'a take-over of each, checkpoint and later write of A', take: EACH, ck: A, w: A, finds: null },
  { ...right, name: 'a take-over of each, checkpoint and later write of B', take: EACH, ck: B, w: B, finds: null },
  { ...right, name: 'two take-overs and checkpoints of A', take: [2, 0], ck: [2, 0], w: A, finds: null },
  { ...right, name: 'two take-overs and checkpoints of B', take: [0, 2], ck: [0, 2], w: B, finds: null },
  { ...right, name: 'both move, deadline', move: EACH, dead: 1, finds: null },
  { ...right, name: 'A is loaded and moves, take-over, checkpoint', move: A, load: A, take: A, ck: A, finds: null },
  { ...right, name: 'A is loaded and moves, checkpoint, later write', move: A, load: A, ck: A, w: A, finds: null },
  { ...right, name: 'B is loaded and moves, take-over, checkpoint', move: B, load: B, take: B, ck: B, finds: null },
  { ...right, name: 'B is loaded and moves, checkpoint, later write', move: B, load: B, ck: B, w: B, finds: null },
  { ...right, name: 'both move, one take-over of A', move: EACH, take: A, finds: null },
  { ...right, name: 'both move, one take-over of B', move: EACH, take: B, finds: null },
  { ...right, name: 'both move, one take-over of each', move: EACH, take: EACH, finds: null },
  { ...right, name: 'A is loaded and moves, take-over, checkpoint, later write', move: A, load: A, take: A, ck: A, w: A, finds: null }, // prettier-ignore
  { ...right, name: 'B is loaded and moves, take-over, checkpoint, later write', move: B, load: B, take: B, ck: B, w: B, finds: null }, // prettier-ignore
  { ...right, name: 'N1 is gone after N2 was shown MOVE', move: B, gone: 1, finds: null },
  { ...right, name: 'a hand-over waits for no recovery time-out', live: 'serve', move: EACH, finds: null },
];

/** Weaker rules that hold within these bounds; they show what each rule is for. */
const enough: (CrossGroup & Expected)[] = [
  {
    ...right,
    name: 'the checkpoint carries both lists (one take-over)',
    lists: 'ckpt',
    take: A,
    ck: EACH,
    w: A,
    finds: null,
  },
  { ...right, name: 'START without the undecided prepares, one platform, checkpoint below them', start: 'bare', take: EACH, ck: EACH, finds: null }, // prettier-ignore
  { ...right, name: 'the decision waits for MOVE, MOVE waits for nothing', pass: false, move: EACH, finds: null },
  { ...right, name: 'confirmation not voided, but START needs the whole replica and N1 stays', voids: false, move: EACH, finds: null }, // prettier-ignore
  { ...right, name: 'confirmation voided, START on the proof alone, while a confirmation holds', whole: false, move: EACH, finds: null }, // prettier-ignore
];

// prettier-ignore
const mistakes: (CrossGroup & Expected)[] = [
  { ...right, name: 'the checkpoint passes an undecided PREPARE, only START has lists: A', lists: 'start', take: A, ck: A, finds: SERVES_WITHOUT },
  { ...right, name: 'the checkpoint passes an undecided PREPARE, only START has lists: B', lists: 'start', take: B, ck: B, finds: SERVES_WITHOUT },
  { ...right, name: 'p0 past a DECIDE that B has not noted', p0: 'prepare', twice: 'conflict', move: A, load: A, finds: CONTRADICTION },
  { ...right, name: 'p0 past an undecided PREPARE: A', p0: 'end', move: A, load: A, finds: NOT_REPLAY },
  { ...right, name: 'p0 past an undecided PREPARE: B', p0: 'end', move: B, load: B, finds: NOT_REPLAY },
  { ...right, name: "recovery aborts only if the log since T's begin is unpruned", abort: 'unpruned', ck: A, w: A, finds: STUCK },
  { ...right, name: 'a PREPARE of a transaction that began below the floor is taken', late: 'take', ck: A, finds: CONTRADICTION },
  { ...right, name: 'B does not note an abort for which it has no PREPARE', tomb: false, ck: A, finds: /^two DECIDEs: abort, abort/ },
  { ...right, name: "DECIDE truncated before B's note", trunc: 'noDecide', twice: 'conflict', take: A, ck: A, finds: CONTRADICTION },
  { ...right, name: 'PREPARE truncated while undecided', trunc: 'none', take: B, ck: B, finds: SERVES_WITHOUT },
  { ...right, name: 'START without the undecided prepares, hand-over, take-over on N2: A', start: 'bare', move: A, take: A, finds: SERVES_WITHOUT },
  { ...right, name: 'START without the undecided prepares, hand-over, take-over on N2: B', start: 'bare', move: B, take: B, finds: SERVES_WITHOUT },
  { ...right, name: 'START without the undecided prepares, checkpoint past them', start: 'bare', lists: 'start', trunc: 'none', take: [0, 2], ck: B, finds: SERVES_WITHOUT },
  { ...right, name: "B's owner decides abort by itself", alone: true, finds: /^B noted abort, A decided nothing/ },
  { ...right, name: 'a later write on a key with an undecided PREPARE', locks: false, w: A, finds: ORDER },
  { ...right, name: 'a participant does not raise its clock to the commit version', raise: false, w: [1, 2], finds: ORDER },
  { ...right, name: 'MOVE waits for the decision, the decision waits for MOVE: A', forbid: true, pass: false, move: A, finds: STUCK },
  { ...right, name: 'MOVE waits for the decision, the decision waits for MOVE: B', forbid: true, pass: false, move: B, finds: STUCK },
  { ...right, name: "MOVE waits for the decision, and only recovery's time-out ends the hold", forbid: true, live: 'serve', move: A, finds: STUCK },
  { ...right, name: 'confirmation not voided by DECIDE, START on the proof alone', voids: false, whole: false, move: A, finds: OTHER_ROW },
  { ...right, name: 'confirmation not voided by a note, START on the proof alone', voids: false, whole: false, move: B, finds: OTHER_ROW },
  { ...right, name: 'confirmation not voided by a note, N1 is gone after MOVE', voids: false, gone: 1, move: B, finds: STUCK },
];

variants('log-crossgroup', crossgroup, holds);
variants('log-crossgroup, weaker rules', crossgroup, enough);
variants('log-crossgroup, mistakes', crossgroup, mistakes);
