import { setTimeout as sleep } from 'node:timers/promises';
import { MAX_HOLD_MS } from '@nxnw/platform/agent/api';
import { NxnwError, asError, hasCode } from '@nxnw/platform/errors';
import type { HandoverFacts, ShardStatus } from '@nxnw/platform/shards/control';
import { shardName } from '@nxnw/platform/shards/types';
import type { ShardId } from '@nxnw/platform/shards/types';
import type { Gate, Side } from './api.js';
import { refuseClosedGates } from './refusals.js';
import type { Act } from './plan.js';
import { cacheMode, intentOf } from './plan.js';
import type { Engines } from './ports.js';
import { routeOf } from './state.js';
import type { Facts, MigrationState } from './state.js';

/** What an act may use. `state` is the state that asked for the act. */
export interface ActContext {
  readonly state: MigrationState;
  readonly engines: Engines;
  readonly signal: AbortSignal;
  readonly now: () => number;
  readonly gates: (apps: readonly string[]) => readonly Gate[];
}

const MARKER_MS = 30_000;
const TURN_MS = 30_000;
const HAND_OVER_MS = 30_000;
const DRAIN_MS = 60_000;
const EDGE_READY_MS = 10_000;
const POLL_MS = 100;
const DNS_POLL_MS = 500;
const RELEASED_PAUSE_MS = 200;
const HOLD_TRIES = 3;
/** A hold that is over at once: what was held goes where it went before, wherever that was. */
const LET_GO_MS = 1;

type ForwardAct = Extract<Act, { kind: 'forward' }>;
type BackAct = Extract<Act, { kind: 'back' }>;

/** One step of a switch. Every step can be repeated: after a crash it is done again from its beginning. */
export async function performForward(c: ActContext, a: ForwardAct): Promise<Facts> {
  const { app } = a;
  const { engines: e, now } = c;
  switch (a.step) {
    case 'ready': {
      refuseClosedGates(c.gates([app]));
      // N2's doors have to take writes before the first shard is N2's.
      await setIntent(c, app);
      await e.edge.introduce();
      // N2's edge must answer by itself before N1's passes anything on to it.
      await e.edge.setRoute('target', app, 'local');
      await edgesReady(c, app);
      return { startedAtMs: now() };
    }
    case 'locksMarker':
      await e.locks.prepareTurn(app, now() + MARKER_MS);
      return {};
    case 'shards':
      return moveShards(c, app, c.state.target);
    case 'cacheInvalidate':
      await e.cache.set(app, { direction: 'forward', mode: 'invalidate' });
      return {};
    case 'edge': {
      await e.edge.setRoute('target', app, 'local');
      const held = await whileHeld(c, app, 'source', () => e.edge.setRoute('source', app, 'peer'));
      // Never two sides that run an application's background work: the old one is told before the locks turn.
      await e.apps.setServing('source', app, false);
      return { switchedAtMs: now(), edge: held };
    }
    case 'serving':
      await e.apps.setServing('target', app, true);
      return {};
    case 'locksTurn':
      await e.locks.turn(app, 'reverse', now() + TURN_MS);
      return {};
    case 'drain': {
      const drained = await drain(c, 'source', app);
      return { ...drained, ...(await stallOf(c, app, c.state.target)) };
    }
  }
}

/** One step of the way back; as repeatable as those forward. */
export async function performBack(c: ActContext, a: BackAct): Promise<Facts> {
  const { app } = a;
  const { engines: e, now, state } = c;
  const route = routeOf(state, app);
  const turned = route.at === 'back' ? route.turned : 'no';
  switch (a.step) {
    case 'dns':
      return {};
    case 'locksMarker':
      if (turned === 'yes') await e.locks.prepareTurn(app, now() + MARKER_MS);
      return {};
    case 'cacheInvalidate':
      await e.cache.set(app, cacheMode(route));
      return {};
    case 'edge': {
      const turnBack = async (): Promise<void> => {
        await e.edge.setRoute('source', app, 'local');
        await e.edge.setRoute('target', app, 'peer');
      };
      // where the locks had not turned, what N2's instances wrote there is undone anyway
      const held = turned === 'yes' ? await whileHeld(c, app, 'target', turnBack) : await turnBack();
      await e.apps.setServing('target', app, false);
      return held === undefined ? {} : { edge: held };
    }
    case 'serving':
      await e.apps.setServing('source', app, true);
      return {};
    case 'locksTurn':
      await e.locks.turn(app, 'forward', now() + TURN_MS);
      return {};
    case 'drain':
      return drain(c, 'target', app);
    case 'shards':
      return moveShards(c, app, state.source);
  }
}

/** Until N2's edge sees an instance and N1's edge sees N2's: before any shard moves, so that the edge can follow at once. */
async function edgesReady(c: ActContext, app: string): Promise<void> {
  const { edge } = c.engines;
  const untilMs = c.now() + EDGE_READY_MS;
  for (;;) {
    const [there, here] = [await edge.traffic('source', app), await edge.traffic('target', app)];
    if (there.peersUp > 0 && here.serversUp > 0) return;
    if (c.now() > untilMs)
      throw new NxnwError(
        'EDGE_NOT_READY',
        `after ${EDGE_READY_MS / 1000} s N2's edge sees ${here.serversUp} healthy instances of ${app}, and N1's edge sees ${there.peersUp} of N2's edges; both must be above 0: see \`nxnw doctor\` and \`nxnw logs\``,
        { app },
      );
    await sleep(POLL_MS, undefined, { signal: c.signal });
  }
}

/** How long requests were held at the edge, in all tries; `whole` = false when they were let go before all was ready. */
interface EdgeHold {
  readonly heldMs: number;
  readonly tries: number;
  readonly whole: boolean;
}

/**
 * Turns the edge with no request of the application under way at the side that is left, and with its locks and sequence
 * numbers on the other side: new requests are held, those under way end, the lock sync catches up, then `turn`. So
 * nobody meets on the other side a lock that was taken, or draws a number that was drawn, in an answered request. Where
 * requests do not end within the stall budget it is tried again, and in the end turned without waiting for them.
 */
async function whileHeld(c: ActContext, app: string, left: Side, turn: () => Promise<void>): Promise<EdgeHold> {
  const { edge } = c.engines;
  const budgetMs = Math.min(c.state.options.switch.stallBudgetMs, MAX_HOLD_MS);
  // on the way back N1's edge first: what it has passed on, N2's edge does not hold
  const sides: readonly Side[] = left === 'source' ? ['source'] : ['source', 'target'];
  const hold = async (): Promise<boolean> => {
    for (const side of sides) if (!(await edge.hold(side, app, budgetMs))) return false;
    return true;
  };
  let heldMs = 0;
  for (let tries = 1; tries <= HOLD_TRIES; tries++) {
    const beganMs = c.now();
    const endMs = beganMs + budgetMs;
    const ready = (await hold()) && (await caughtUpBy(c, app, endMs));
    if (ready) await turn();
    else await Promise.all(sides.map((side) => edge.hold(side, app, LET_GO_MS)));
    heldMs += c.now() - beganMs;
    if (ready) return { heldMs, tries, whole: c.now() < endMs };
    await sleep(RELEASED_PAUSE_MS * 2 ** tries, undefined, { signal: c.signal });
  }
  await turn();
  return { heldMs, tries: HOLD_TRIES, whole: false };
}

async function caughtUpBy(c: ActContext, app: string, endMs: number): Promise<boolean> {
  if (c.now() >= endMs) return false;
  try {
    await c.engines.locks.caughtUp(app, endMs);
    return true;
  } catch (e) {
    if (hasCode(e, 'DEADLINE_EXCEEDED')) return false;
    throw e;
  }
}

async function setIntent(c: ActContext, app: string): Promise<void> {
  const intent = intentOf(c.state, app);
  if (intent !== null) await c.engines.data.setIntent(app, intent);
}

/**
 * Hands all shards of the application that are elsewhere over to platform `to`, several at a time. A released shard
 * (nothing has happened) is tried again; after `triesPerShard` tries no further shard is begun, and SHARD_NOT_MOVED.
 */
async function moveShards(c: ActContext, app: string, to: string): Promise<Facts> {
  const { parallelShards } = c.state.options.switch;
  const todo = (await c.engines.data.status(app)).filter((s) => s.authority !== to).map((s) => s.shard);
  const waiting = [...todo];
  let failure: unknown;
  let released = 0;
  const worker = async (): Promise<void> => {
    for (let shard = waiting.shift(); shard !== undefined && failure === undefined; shard = waiting.shift()) {
      try {
        released += await moveShard(c, shard, to);
      } catch (e) {
        failure ??= e;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(parallelShards, todo.length) }, worker));
  if (failure !== undefined) throw asError(failure);
  return { ...(await stallOf(c, app, to)), released };
}

/** Answers how often the hand-over was released before it went through. */
async function moveShard(c: ActContext, shard: ShardId, to: string): Promise<number> {
  const { stallBudgetMs, triesPerShard } = c.state.options.switch;
  let last = '';
  for (let tries = 0; tries < triesPerShard; tries++) {
    c.signal.throwIfAborted();
    try {
      const r = await c.engines.data.handOver(shard, to, stallBudgetMs, c.now() + HAND_OVER_MS);
      if (r.outcome !== 'released') return tries;
      last = `${r.reason} (held ${r.holdMs} ms)`;
    } catch (e) {
      last = asError(e).message;
    }
    await sleep(RELEASED_PAUSE_MS * 2 ** tries, undefined, { signal: c.signal });
  }
  throw new NxnwError(
    'SHARD_NOT_MOVED',
    `shard ${shardName(shard)} did not move to ${to} in ${triesPerShard} tries; the last: ${last}`,
    { shard: shardName(shard), to },
  );
}

/** What the shards' last hand-overs to `to` cost: the longest time from hold to first answer, and each shard's facts. */
async function stallOf(c: ActContext, app: string, to: string): Promise<Facts> {
  const all = await c.engines.data.status(app);
  const handovers = all.flatMap((s) => (s.handover?.to === to ? [s.handover] : []));
  return { stallMs: Math.max(0, ...handovers.map(stallMs)), shards: handovers.length };
}

export function stallMs(h: HandoverFacts): number {
  return h.firstAnswerMs ?? h.holdMs;
}

/** Until the side's own instances have no request of the application under way; gives up after a minute and says so. */
async function drain(c: ActContext, side: Side, app: string): Promise<Facts> {
  const beganMs = c.now();
  let idle = 0;
  while (c.now() - beganMs < DRAIN_MS) {
    const t = await c.engines.edge.traffic(side, app);
    idle = t.localSessions === 0 ? idle + 1 : 0;
    if (idle >= 2) return { drainMs: c.now() - beganMs, drained: true };
    await sleep(POLL_MS, undefined, { signal: c.signal });
  }
  return { drainMs: c.now() - beganMs, drained: false };
}

export async function performDns(c: ActContext, a: Extract<Act, { kind: 'dns' }>): Promise<Facts> {
  const { dns, edge } = c.engines;
  if (dns === null) return {};
  switch (a.step) {
    case 'lowerTtl': {
      const { oldTtlS } = await dns.lowerTtl();
      return { oldTtlS, oldTtlGoneAtMs: c.now() + oldTtlS * 1000 };
    }
    case 'waitTtl':
      await dns.waitOldTtl(c.signal);
      return {};
    case 'change': {
      const { propagationMs } = await dns.pointAt('target');
      return { propagationMs, movedAtMs: c.now() };
    }
    case 'drain': {
      const beganMs = c.now();
      const requestsAtN1 = async (): Promise<number> => {
        let total = 0;
        for (const app of c.state.apps) total += (await edge.traffic('source', app)).requests;
        return total;
      };
      const atMostMs = Math.max(DRAIN_MS, 10_000 * (await dns.ttlS()));
      const { drained } = await dns.awaitDrain(requestsAtN1, { atMostMs, everyMs: DNS_POLL_MS, signal: c.signal });
      return { dnsDrainMs: c.now() - beganMs, dnsDrained: drained };
    }
  }
}

export async function performFinalize(
  c: ActContext,
  a: Extract<Act, { kind: 'finalize' }>,
  writeReport: () => Promise<Facts>,
): Promise<Facts> {
  const { engines: e, state, now } = c;
  switch (a.step) {
    case 'verify':
      for (const app of state.apps) {
        const checks = await e.data.compareDigests(app, now() + 60_000);
        const bad = checks.filter((k) => !k.equal);
        if (bad.length > 0)
          throw new NxnwError(
            'UNEQUAL',
            `finalising is refused: ${bad.map((k) => shardName(k.shard)).join(', ')} differ between both sides; run \`nxnw verify --deep\``,
            { app },
          );
      }
      return {};
    case 'close':
      for (const app of state.apps) await e.data.finalize(app, now() + 60_000);
      return { finalizedAtMs: now() };
    case 'stopEngines':
      for (const app of state.apps) {
        await e.locks.releaseCopies(app);
        await e.locks.set(app, 'off');
        await e.cache.set(app, 'off');
      }
      return {};
    case 'restoreTtl':
      await e.dns?.restoreTtl();
      return {};
    case 'releaseSource':
      await e.source.release();
      return {};
    case 'report':
      return writeReport();
  }
}

/** Undoing a phase below the wanted stage, or ending the migration. */
export async function performUndo(c: ActContext, a: Extract<Act, { kind: 'undo' }>): Promise<void> {
  const { engines: e, state } = c;
  if (a.phase === 'DnsHandoff') {
    await e.dns?.pointAt('source');
    return;
  }
  for (const app of state.apps) {
    if (a.phase === 'LockSync') await e.locks.set(app, 'off');
    if (a.phase === 'CacheWarmup') await e.cache.set(app, 'off');
    if (a.phase === 'DataFollow') await e.data.stopFollowing(app);
  }
  // What remains of the migration is nothing that N1 has to be kept for.
  if (a.phase === 'DataFollow') await e.source.release();
}

/** Rows that the target holds without a migration: it was not empty. */
export function notEmpty(shards: readonly ShardStatus[], target: string): readonly ShardStatus[] {
  return shards.filter((s) => s.authority === target && s.handover === null);
}
