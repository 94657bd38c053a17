import { variants, type Expected } from './explore.js';
import { ownership, type Ownership } from './log-ownership.js';

const right = {
  unknown: 'resend',
  start: true,
  keep: 'both',
  check: true,
  reread: true,
  ckpt: 'log',
  commits: 3,
  takers: 1,
  resends: 1,
} as const satisfies Ownership;
const LOST = /^lost acknowledged commit/;

const all: (Ownership & Expected)[] = [
  { ...right, name: 'right: 3 commits, one taker', finds: null },
  { ...right, name: 'right: 1 commit, two takers', commits: 1, takers: 2, resends: 0, finds: null },
  {
    ...right,
    name: 'an empty slot is taken as "failed"',
    unknown: 'abort',
    commits: 2,
    finds: /ABORTED and is committed/,
  },
  { ...right, name: 'an empty slot is skipped', unknown: 'skip', commits: 2, finds: LOST },
  { ...right, name: 'END alone opens a segment', start: false, keep: 'end', check: false, commits: 2, finds: LOST },
  { ...right, name: 'a won END is not checked: it may lie in a truncated hole', check: false, finds: LOST },
  { ...right, name: 'replay from the checkpoint that was read before END', reread: false, finds: LOST },
  { ...right, name: 'START and END are truncated too', keep: 'none', commits: 2, finds: LOST },
  { ...right, name: 'the checkpoint is a plain cell, last arrival wins', ckpt: 'cell', commits: 2, finds: LOST },
];

variants('log-ownership', ownership, all);
