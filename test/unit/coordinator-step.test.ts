import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { MigrationOptions } from '@nxnw/migration/coordinator/api';
import type { Gate, PhaseName, Stage } from '@nxnw/migration/coordinator/api';
import { acts, actKey, cacheMode, desired, locksMode } from '@nxnw/migration/coordinator/plan';
import type { Act } from '@nxnw/migration/coordinator/plan';
import { BACK_STEPS, FORWARD_STEPS, initialState, reachedStage, routeOf } from '@nxnw/migration/coordinator/state';
import type { MigrationState } from '@nxnw/migration/coordinator/state';
import { step } from '@nxnw/migration/coordinator/step';
import type { CoordinatorEvent } from '@nxnw/migration/coordinator/step';

const OPTIONS = MigrationOptions.parse({});
const OPEN: readonly Gate[] = [{ name: 'loaded', open: true, found: '', next: '' }];
const CLOSED: readonly Gate[] = [{ name: 'lag', open: false, found: 'lag 9000 ms', next: '' }];
const SYNC: readonly PhaseName[] = ['AppSync', 'LockSync', 'CacheWarmup', 'DataFollow', 'SnapshotLoad', 'Verification'];

type Unstamped<T> = T extends unknown ? Omit<T, 'nowMs'> : never;
const tell = (s: MigrationState, e: Unstamped<CoordinatorEvent>, nowMs = 1000): MigrationState =>
  step(s, { ...e, nowMs }).state;
const finish = (s: MigrationState, act: Act): MigrationState => tell(s, { type: 'finished', act, facts: {} });
const fail = (s: MigrationState, act: Act, code = 'UNAVAILABLE'): MigrationState =>
  tell(s, { type: 'failed', act, error: { code, message: 'no answer' } });

function started(wanted: Stage = 'synced', apps: readonly string[] = ['shop'], attempt = 1): MigrationState {
  return start(initialState('blue', 'green', OPTIONS), wanted, apps, attempt);
}

function start(s: MigrationState, wanted: Stage, apps: readonly string[] = ['shop'], attempt = 1): MigrationState {
  return tell(s, { type: 'start', actor: 'eva', attempt, apps, wanted, options: OPTIONS });
}

function synced(wanted: Stage = 'synced', apps: readonly string[] = ['shop']): MigrationState {
  return SYNC.reduce((s, phase) => finish(s, { kind: 'reach', phase }), started(wanted, apps));
}

/** Runs the acts that the state asks for until there are none, or `until` holds. */
function run(s: MigrationState, until: (s: MigrationState) => boolean = () => false): MigrationState {
  for (let rounds = 0; rounds < 100 && !until(s); rounds++) {
    const a = acts(s)[0];
    if (a === undefined) return s;
    s = finish(s, a);
  }
  return s;
}

const cutover = (s: MigrationState, gates = OPEN): MigrationState =>
  tell(s, { type: 'startPhase', actor: 'eva', phase: 'Cutover', gates });
const switched = (): MigrationState => run(cutover(synced('switched')));
const back = (s: MigrationState): MigrationState =>
  tell(s, { type: 'back', actor: 'eva', apps: null, reason: 'errors' });

describe('the coordinator, starting', () => {
  it('runs every phase up to synced by itself and none of those that switch', () => {
    const s = started('finalized');
    deepEqual(acts(s).map(actKey), SYNC.map((p) => `reach ${p}`)); // prettier-ignore
    const done = run(s);
    equal(reachedStage(done), 'synced');
    deepEqual(acts(done), []);
  });

  it('starts applications only when built is wanted', () => {
    deepEqual(acts(started('built')).map(actKey), ['reach AppSync']);
    equal(reachedStage(run(started('built'))), 'built');
  });

  it('changes nothing when the same intent is told again', () => {
    const s = synced();
    equal(start(s, 'synced'), s);
  });

  it('refuses an attempt that falls', () => {
    throws(() => start(started('synced', ['shop'], 3), 'synced', ['shop'], 2), { code: 'BAD_CONFIG' });
  });

  it('starts a failed phase again with the next intent', () => {
    const failed = fail(started(), { kind: 'reach', phase: 'DataFollow' }, 'TARGET_NOT_EMPTY');
    equal(failed.phases.DataFollow.at, 'failed');
    equal(start(failed, 'synced').phases.DataFollow.at, 'running');
  });

  it('keeps trying when a failure may pass', () => {
    const s = fail(fail(started(), { kind: 'reach', phase: 'DataFollow' }), { kind: 'reach', phase: 'DataFollow' });
    const p = s.phases.DataFollow;
    equal(p.at === 'running' ? p.tries : 0, 2);
    equal(s.counts.errors, 2);
  });
});

describe('the coordinator, switching', () => {
  it('takes the steps in their order and ends at the target', () => {
    const seen: string[] = [];
    let s = cutover(synced('switched'));
    for (let a = acts(s)[0]; a !== undefined; a = acts(s)[0]) {
      if (a.kind === 'forward') seen.push(a.step);
      s = finish(s, a);
    }
    deepEqual(seen, [...FORWARD_STEPS]);
    equal(reachedStage(s), 'switched');
    equal(s.phases.Cutover.at, 'done');
  });

  it('is refused by a closed gate, with nothing begun', () => {
    throws(() => cutover(synced('switched'), CLOSED), { code: 'GATE_CLOSED' });
  });

  it('is refused by a hold until it is released', () => {
    const held = tell(synced('switched'), { type: 'hold', actor: 'max', reason: 'sale' });
    throws(() => cutover(held), { code: 'HELD' });
    equal(cutover(tell(held, { type: 'release', actor: 'max', what: 'hold' })).phases.Cutover.at, 'running');
  });

  it('attaches to a switch that is under way or done', () => {
    const s = cutover(synced('switched'));
    equal(cutover(s, CLOSED), s);
    const done = switched();
    equal(cutover(done, CLOSED), done);
  });

  it('moves one application alone when asked to', () => {
    const s = run(
      tell(synced('synced', ['shop', 'blog']), { type: 'switch', actor: 'eva', apps: ['blog'], gates: OPEN }),
    );
    equal(routeOf(s, 'blog').at, 'target');
    equal(routeOf(s, 'shop').at, 'source');
    equal(reachedStage(s), 'synced');
  });

  it('ends where it began when a step before the first move fails three times', () => {
    const act: Act = { kind: 'forward', app: 'shop', step: 'locksMarker' };
    let s = run(cutover(synced('switched')), (x) => acts(x).some((a) => actKey(a) === actKey(act)));
    s = fail(fail(fail(s, act), act), act);
    equal(routeOf(s, 'shop').at, 'source');
    equal(s.phases.Cutover.at, 'failed');
    equal(s.latch, null);
  });

  it('goes back by itself and latches when shards do not move', () => {
    const act: Act = { kind: 'forward', app: 'shop', step: 'shards' };
    let s = run(cutover(synced('switched')), (x) => acts(x).some((a) => actKey(a) === actKey(act)));
    s = fail(s, act, 'SHARD_NOT_MOVED');
    deepEqual(acts(s).map(actKey), ['back shop shards']);
    s = run(s);
    equal(routeOf(s, 'shop').at, 'source');
    ok(s.latch);
    throws(() => cutover(s), { code: 'LATCHED' });
  });

  it('goes back by itself when a guardrail is broken', () => {
    const s = tell(switched(), { type: 'guardrail', app: 'shop', reason: '3 % 5xx' });
    equal(routeOf(s, 'shop').at, 'back');
    equal(s.latch?.reason, '3 % 5xx');
  });

  it('ignores the result of an act that it no longer asks for', () => {
    const s = switched();
    equal(finish(s, { kind: 'forward', app: 'shop', step: 'shards' }), s);
  });
});

describe('the coordinator, going back', () => {
  it('takes the steps of the way back in their order and latches', () => {
    const seen: string[] = [];
    let s = back(switched());
    for (let a = acts(s)[0]; a !== undefined; a = acts(s)[0]) {
      if (a.kind === 'back') seen.push(a.step);
      s = finish(s, a);
    }
    deepEqual(seen, [...BACK_STEPS]);
    equal(reachedStage(s), 'synced');
    throws(() => cutover(s), { code: 'LATCHED' });
  });

  it('switches again after the latch was released or the attempt raised', () => {
    const s = run(back(switched()));
    equal(cutover(tell(s, { type: 'release', actor: 'eva', what: 'latch' })).phases.Cutover.at, 'running');
    throws(() => cutover(start(s, 'switched')), { code: 'LATCHED' });
    equal(cutover(start(s, 'switched', ['shop'], 2)).phases.Cutover.at, 'running');
  });

  it('takes DNS back before anything else', () => {
    let s = tell(switched(), { type: 'startPhase', actor: 'eva', phase: 'DnsHandoff', gates: [] });
    s = run(s);
    equal(reachedStage(s), 'moved');
    s = back(s);
    deepEqual(acts(s).map(actKey), ['undo DnsHandoff']);
    s = finish(s, { kind: 'undo', phase: 'DnsHandoff' });
    deepEqual(acts(s).map(actKey), ['back shop dns']);
  });

  it('is refused when N1 serves already', () => {
    throws(() => back(synced()), { code: 'NOT_SWITCHED' });
  });

  it('does nothing but end the switch when no shard has moved', () => {
    const s = back(cutover(synced('switched')));
    equal(routeOf(s, 'shop').at, 'source');
    deepEqual(acts(s), []);
  });

  it('turns a half-way switch round at any step and ends with N1 serving and every level as before', () => {
    const before = desired(synced('switched'));
    for (const at of FORWARD_STEPS) {
      const half = run(cutover(synced('switched')), (x) => {
        const r = routeOf(x, 'shop');
        return r.at === 'forward' && r.step === at;
      });
      const s = run(back(half));
      equal(routeOf(s, 'shop').at, 'source', at);
      deepEqual(desired(s), before, at);
    }
  });
});

describe('the coordinator, undoing and ending', () => {
  const undo = (s: MigrationState, phase: PhaseName): MigrationState =>
    tell(s, { type: 'undoPhase', actor: 'eva', phase, reason: 'its resource left the stack' });

  it('forgets a phase that the wanted stage still needs: a rename is no wish to go back', () => {
    const s = switched();
    for (const phase of ['Cutover', ...SYNC] as const) equal(undo(s, phase), s, phase);
  });

  it('goes back without a latch when the wanted stage was lowered', () => {
    const s = run(undo(tell(switched(), { type: 'setStage', actor: 'eva', stage: 'synced' }), 'Cutover'));
    equal(reachedStage(s), 'synced');
    equal(s.latch, null);
    equal(s.phases.Cutover.at, 'idle');
  });

  it('never switches because the stage was raised', () => {
    const s = tell(synced('synced'), { type: 'setStage', actor: 'eva', stage: 'moved' });
    deepEqual(acts(s), []);
  });

  it('stops following when the wanted stage is built, and refuses it while N2 serves', () => {
    const lowered = tell(synced(), { type: 'setStage', actor: 'eva', stage: 'built' });
    let s = SYNC.filter((p) => p !== 'AppSync').reduce(undo, lowered);
    deepEqual(desired(s)[0], { app: 'shop', data: null, locks: 'off', cache: 'off', verify: false });
    s = run(s);
    equal(reachedStage(s), 'built');
    const serving = tell(switched(), { type: 'setStage', actor: 'eva', stage: 'built' });
    throws(() => undo(serving, 'DataFollow'), { code: 'SWITCHED' });
  });

  it('ends before the switch, refuses to end after it', () => {
    const end = (s: MigrationState): MigrationState => tell(s, { type: 'end', actor: 'eva', reason: 'destroy' });
    const s = run(end(synced()));
    equal(s.ended, true);
    deepEqual(acts(s), []);
    throws(() => end(switched()), { code: 'SWITCHED' });
  });

  it('closes the way back when finalising has begun to write, and keeps everything afterwards', () => {
    let s = tell(switched(), { type: 'startPhase', actor: 'eva', phase: 'DnsHandoff', gates: [] });
    s = tell(run(s), { type: 'startPhase', actor: 'eva', phase: 'Finalize', gates: [] });
    s = finish(s, { kind: 'finalize', step: 'verify' });
    throws(() => back(s), { code: 'FINALIZED' });
    s = run(s);
    equal(reachedStage(s), 'finalized');
    throws(() => start(s, 'synced'), { code: 'FINALIZED' });
    equal(undo(s, 'Cutover'), s);
    deepEqual(desired(s)[0]?.locks, 'off');
  });

  it('refuses DNS before every application is switched, and finalising before DNS', () => {
    throws(() => tell(synced('moved'), { type: 'startPhase', actor: 'eva', phase: 'DnsHandoff', gates: [] }), {
      code: 'GATE_CLOSED',
    });
    throws(() => tell(switched(), { type: 'startPhase', actor: 'eva', phase: 'Finalize', gates: [] }), {
      code: 'GATE_CLOSED',
    });
  });
});

describe('the coordinator, levels', () => {
  it('pauses the load, and with it following only when told so', () => {
    const load = tell(synced(), { type: 'pause', actor: 'eva', what: 'load', reason: 'night' });
    deepEqual([desired(load)[0]?.data?.load, desired(load)[0]?.data?.follow], ['paused', true]);
    const follow = tell(load, { type: 'pause', actor: 'eva', what: 'follow', reason: 'night' });
    equal(desired(follow)[0]?.data?.follow, false);
    equal(desired(tell(follow, { type: 'resume', actor: 'eva' }))[0]?.data?.load, 'on');
  });

  it('keeps what throttle set until the configuration changes', () => {
    const s = tell(synced(), { type: 'throttle', actor: 'eva', entitiesPerS: 500, sourceLatencyRatio: null });
    equal(desired(start(s, 'switched'))[0]?.data?.entitiesPerS, 500);
    const options = MigrationOptions.parse({ load: { entitiesPerS: 900 } });
    const again = tell(s, { type: 'start', actor: 'eva', attempt: 1, apps: ['shop'], wanted: 'synced', options });
    equal(desired(again)[0]?.data?.entitiesPerS, 900);
  });

  it('deletes cache entries from before the first request reaches N2 until N1 has drained', () => {
    let s = cutover(synced('switched'));
    const modes: string[] = [];
    for (let a = acts(s)[0]; a !== undefined; a = acts(s)[0]) {
      const c = cacheMode(routeOf(s, 'shop'));
      if (a.kind === 'forward') modes.push(`${a.step} ${c === 'off' ? c : `${c.direction} ${c.mode}`}`);
      s = finish(s, a);
    }
    deepEqual(modes, [
      'ready forward copy',
      'locksMarker forward copy',
      'shards forward copy',
      'cacheInvalidate forward invalidate',
      'edge forward invalidate',
      'locksTurn forward invalidate',
      'serving forward invalidate',
      'drain forward invalidate',
    ]);
    deepEqual(cacheMode(routeOf(s, 'shop')), { direction: 'reverse', mode: 'copy' });
  });

  it('never compares the lock trees anew in the old direction once requests may have moved', () => {
    let s = cutover(synced('switched'));
    const modes: string[] = [];
    for (let a = acts(s)[0]; a !== undefined; a = acts(s)[0]) {
      modes.push(locksMode(routeOf(s, 'shop')));
      s = finish(s, a);
    }
    deepEqual(modes, ['forward', ...Array<string>(5).fill('turning'), 'reverse', 'reverse']);
    equal(locksMode(routeOf(s, 'shop')), 'reverse');
  });
});

describe('the coordinator, after its journal was lost', () => {
  const found = (s: MigrationState, atTarget: number): MigrationState =>
    tell(s, { type: 'authority', app: 'shop', atTarget, shards: 8 });

  it('goes on behind the shards when the logs say that N2 has all of them', () => {
    const s = found(started('synced'), 8);
    ok(acts(s).some((a) => actKey(a) === 'forward shop edge'));
  });

  it('goes on or back by the wanted stage when the logs say that N2 has some', () => {
    ok(acts(found(started('switched'), 3)).some((a) => actKey(a) === 'forward shop shards'));
    ok(acts(found(started('synced'), 3)).some((a) => actKey(a) === 'back shop shards'));
  });

  it('does nothing when N1 has every shard', () => {
    const s = started();
    equal(found(s, 0), s);
  });
});
