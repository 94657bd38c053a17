/** The states that an operator may ask for, in their order. */
export const STAGES = ['built', 'synced', 'switched', 'moved', 'finalized'] as const;
export type Stage = (typeof STAGES)[number];

/** Activities of the coordinator; each leads to a stage. */
export const PHASES = [
  'AppSync',
  'LockSync',
  'CacheWarmup',
  'DataFollow',
  'SnapshotLoad',
  'Verification',
  'Cutover',
  'DnsHandoff',
  'Finalize',
] as const;
export type PhaseName = (typeof PHASES)[number];

/** The stage that needs the phase: lowering the wanted stage below it undoes the phase. */
export const STAGE_OF: Readonly<Record<PhaseName, Stage>> = {
  AppSync: 'built',
  LockSync: 'synced',
  CacheWarmup: 'synced',
  DataFollow: 'synced',
  SnapshotLoad: 'synced',
  Verification: 'synced',
  Cutover: 'switched',
  DnsHandoff: 'moved',
  Finalize: 'finalized',
};

/** Order of stages: -1 for none. */
export function stageRank(stage: Stage | null): number {
  return stage === null ? -1 : STAGES.indexOf(stage);
}
