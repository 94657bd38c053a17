import { variants, type Expected } from './explore.js';
import { load, type Load } from './log-load.js';

const right = {
  p0: 'applied',
  guard: true,
  idxGuard: true,
  prune: false,
  restart: 'whole',
  ops: 4,
} as const satisfies Load;

const all: (Load & Expected)[] = [
  { ...right, name: 'right', finds: null },
  { ...right, name: 'p0 is the end of the log while the rows lag', p0: 'end', finds: /^old A/ },
  { ...right, name: 'rows without a version guard', guard: false, finds: /^old A/ },
  { ...right, name: 'index rows without a version', idxGuard: false, finds: /^missing index row/ },
  { ...right, name: 'delete records are pruned while a late write exists', prune: true, finds: /^resurrected/ },
  {
    ...right,
    name: 'a restart with a new p0 goes on with the scan where it was',
    restart: 'keepScan',
    finds: /^old A/,
  },
  {
    ...right,
    name: 'a restart with a new p0 loads into the same tables',
    restart: 'sameTables',
    finds: /^resurrected/,
  },
];

variants('log-load', load, all);
