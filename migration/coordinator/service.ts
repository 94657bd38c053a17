import { setTimeout as sleep } from 'node:timers/promises';
import { CONTROLLERS } from '@nxnw/platform/agent/api';
import { NxnwError } from '@nxnw/platform/errors';
import type { Caller, RpcService, UnaryHandler } from '@nxnw/platform/wire/rpc';
import { z } from 'zod';
import {
  Back,
  EndMigration,
  EventsSince,
  Hold,
  PHASES,
  Pause,
  Release,
  Resume,
  SetWantedStage,
  StartMigration,
  StartPhase,
  Switch,
  Throttle,
  UndoPhase,
  Verify,
} from './api.js';
import type { Gate, JournalEvent, UndoAnswer } from './api.js';
import { switchGates } from './gates.js';
import type { Host } from './host.js';
import { isReached, routeOf } from './state.js';

/** Events that a slow reader may be behind before it is cut off; it asks again from the last number that it has. */
const MAX_BEHIND = 1000;
const GATE_POLL_MS = 200;
/** Gates that open by themselves while a coordinator works; the others are answered at once. */
const OPENING_GATES: ReadonlySet<string> = new Set([
  'lag',
  'verified',
  'locks',
  'cache',
  'applications',
  'certificate',
]);

/** Methods for which any certificate of the platform will do. */
const READS = new Set(['status', 'phase', 'facts', 'events', 'forecast', 'report', 'doctor']);

/** The RPC service `coordinator`; see CoordinatorClient for what each method promises. */
export function coordinatorService(host: Host): RpcService {
  const calls: Record<string, UnaryHandler> = {
    startMigration: async (r) => {
      await host.startMigration(parse(StartMigration, r));
      return host.status();
    },
    setWantedStage: async (r) => {
      const q = parse(SetWantedStage, r);
      await host.coordinator().tell({ type: 'setStage', ...q, nowMs: host.now() });
      return host.status();
    },
    startPhase: async (r, caller) => {
      const q = parse(StartPhase, r);
      const gates = q.phase === 'Cutover' ? await openGates(host, null, caller) : [];
      await host.coordinator().tell({ type: 'startPhase', ...q, gates, nowMs: host.now() });
      return host.phase(q.phase);
    },
    phase: (r) => Promise.resolve(host.phase(parse(z.strictObject({ phase: z.enum(PHASES) }), r).phase)),
    undoPhase: async (r): Promise<UndoAnswer> => {
      const q = parse(UndoPhase, r);
      if (!host.isActive()) return { outcome: 'forgotten', why: 'there is no migration' };
      const s = await host.coordinator().tell({ type: 'undoPhase', ...q, nowMs: host.now() });
      const at = s.phases[q.phase].at;
      if (at === 'undoing') return { outcome: 'undoing', why: `${q.phase} goes back` };
      if (at === 'idle') return { outcome: 'undone', why: `${q.phase} is not running` };
      const why = isReached(s.phases.Finalize)
        ? 'the migration is finalised'
        : `stage ${s.wanted} still needs ${q.phase}`;
      return { outcome: 'forgotten', why };
    },
    endMigration: async (r): Promise<UndoAnswer> => {
      const q = parse(EndMigration, r);
      if (!host.isActive()) return { outcome: 'forgotten', why: 'there is no migration' };
      const s = await host.coordinator().tell({ type: 'end', ...q, nowMs: host.now() });
      if (!s.ended) return { outcome: 'forgotten', why: 'the migration is finalised' };
      const busy = Object.values(s.phases).some((p) => p.at === 'undoing');
      return { outcome: busy ? 'undoing' : 'undone', why: `${s.source} serves; what followed it is stopped` };
    },
    status: () => Promise.resolve(host.status()),
    facts: () => Promise.resolve(host.facts()),
    pause: async (r) => {
      await host.coordinator().tell({ type: 'pause', ...parse(Pause, r), nowMs: host.now() });
      return host.status();
    },
    resume: async (r) => {
      await host.coordinator().tell({ type: 'resume', ...parse(Resume, r), nowMs: host.now() });
      return host.status();
    },
    throttle: async (r) => {
      await host.coordinator().tell({ type: 'throttle', ...parse(Throttle, r), nowMs: host.now() });
      return host.status();
    },
    switch: async (r, caller) => {
      const q = parse(Switch, r);
      const gates = await openGates(host, q.apps, caller);
      await host.coordinator().tell({ type: 'switch', ...q, gates, nowMs: host.now() });
      return host.status();
    },
    back: async (r) => {
      await host.coordinator().tell({ type: 'back', ...parse(Back, r), nowMs: host.now() });
      return host.status();
    },
    hold: async (r) => {
      await host.coordinator().tell({ type: 'hold', ...parse(Hold, r), nowMs: host.now() });
      return host.status();
    },
    release: async (r) => {
      await host.coordinator().tell({ type: 'release', ...parse(Release, r), nowMs: host.now() });
      return host.status();
    },
    verify: (r, caller) => {
      const q = parse(Verify, r);
      return host.verify(q.deep, q.limit, caller.deadlineMs);
    },
    forecast: () => Promise.resolve(host.forecast()),
    doctor: () => host.doctor(),
    report: () => host.report(),
  };
  return {
    unary: Object.fromEntries(Object.entries(calls).map(([name, f]) => [name, guarded(name, f)])),
    streams: { events: (incoming, caller) => events(host, incoming, caller) },
  };
}

/** Only a certificate that names an operator (or a coordinator) may change anything. */
function guarded(name: string, f: UnaryHandler): UnaryHandler {
  return async (request, caller) => {
    if (!READS.has(name) && caller.peer !== '' && !isController(caller.peer))
      throw new NxnwError(
        'FORBIDDEN',
        `certificate "${caller.peer}" may not call ${name}; use one of ${CONTROLLERS.join(', ')}`,
        { peer: caller.peer },
      );
    return f(request, caller);
  };
}

function isController(peer: string): boolean {
  return CONTROLLERS.some((c) => peer === c || peer.startsWith(`${c}.`) || peer.startsWith(`${c}-`));
}

function parse<T>(schema: z.ZodType<T>, request: unknown): T {
  const r = schema.safeParse(request);
  if (r.success) return r.data;
  const faults = r.error.issues.map((i) => `${i.path.join('.') || '(request)'}: ${i.message}`).join('; ');
  throw new NxnwError('INVALID_ARGUMENT', faults);
}

/** Gates of a switch, after waiting a while for those that open by themselves. */
async function openGates(host: Host, apps: readonly string[] | null, caller: Caller): Promise<readonly Gate[]> {
  const c = host.coordinator();
  const untilMs = Math.min(host.now() + c.state.options.switch.gateWaitMs, caller.deadlineMs - 2000);
  for (;;) {
    const s = c.state;
    const begin = (apps ?? s.apps).filter((a) => routeOf(s, a).at === 'source');
    const gates = switchGates(s, begin, c.seen, host.now());
    const closed = gates.filter((g) => !g.open);
    const settled = closed.length === 0 || closed.some((g) => !OPENING_GATES.has(g.name));
    if (settled || s.latch !== null || s.holds.length > 0 || host.now() >= untilMs) return gates;
    await sleep(GATE_POLL_MS, undefined, { signal: caller.signal });
  }
}

async function* events(host: Host, incoming: AsyncIterable<unknown>, caller: Caller): AsyncGenerator<JournalEvent> {
  let q: z.infer<typeof EventsSince> | undefined;
  for await (const r of incoming) {
    q = parse(EventsSince, r);
    break;
  }
  if (q === undefined) return;
  const waiting: JournalEvent[] = [];
  let wake: () => void = () => undefined;
  let last = q.since;
  const stop = host.onEvent((e) => {
    waiting.push(e);
    wake();
  });
  caller.signal.addEventListener('abort', () => wake());
  try {
    for (const e of host.events())
      if (e.number > last) {
        last = e.number;
        yield e;
      }
    while (q.follow && !caller.signal.aborted) {
      if (waiting.length > MAX_BEHIND)
        throw new NxnwError('RESOURCE_EXHAUSTED', `${waiting.length} events behind; ask again from number ${last}`);
      const e = waiting.shift();
      if (e === undefined) await new Promise<void>((ok) => (wake = ok));
      else if (e.number > last) {
        last = e.number;
        yield e;
      }
    }
  } finally {
    stop();
  }
}
