/**
 * Named points at which a fault test may stop, delay or kill a process. In production nothing is installed and a point
 * costs one comparison. The names are those of the shard log's rules; `identity.*` are an agent's, while it takes a key and
 * certificate.
 */
export const FAULT_POINTS = [
  'append.beforeSend', 'append.sent', 'append.unknown', 'append.held', 'commit.beforeAck', 'apply.row', 'apply.index',
  'checkpoint.before', 'checkpoint.after', 'truncate.eachRow', 'take.readTail', 'take.readCheckpoint', 'end.sent',
  'end.won', 'end.beforeCheck', 'start.sent', 'start.won', 'replay.each', 'serve.first', 'probe.read', 'ship.sent',
  'recv.stored', 'recv.beforeAck', 'load.p0', 'scan.read', 'scan.stored', 'redo.each', 'load.restart', 'prune', 'hold',
  'confirm.sent', 'deadline.beforeMove', 'deadline.withMove', 'deadline.afterMove', 'move.sent', 'move.unknown',
  'move.known', 'move.beforeTell', 'forward.sent', 'n2.fetchRest', 'n2.start.sent', 'n2.twoOpeners',
  'n2.losesLastEntry', 'back.hold', 'back.move.sent', 'back.move.known', 'back.start.sent', 'xg.prepared',
  'xg.decide.sent', 'xg.note', 'xg.recovery', 'chunk.written', 'digest.compare', 'identity.begin', 'identity.key',
  'identity.cert', 'identity.ca', 'identity.config', 'identity.done',
] as const; // prettier-ignore

export type FaultPoint = (typeof FAULT_POINTS)[number];

/** Called at each point; may delay (promise), throw, or never come back. */
export type FaultHook = (point: FaultPoint, about: string) => Promise<void> | undefined;

let hook: FaultHook | undefined;

/** Installs the hook of a fault test; `undefined` removes it. */
export function installFaults(h: FaultHook | undefined): void {
  hook = h;
}

/** A named fault point. `about` says where, for instance `shop/3@2.17`. */
export function fault(point: FaultPoint, about = ''): Promise<void> | undefined {
  return hook?.(point, about);
}
