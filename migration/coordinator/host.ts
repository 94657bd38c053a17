import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NxnwError, asError } from '@nxnw/platform/errors';
import type { HandoverSlots, KeyDifference } from '@nxnw/platform/shards/control';
import type {
  Finding,
  Forecast,
  JournalEvent,
  MigrationFacts,
  MigrationStatus,
  PhaseName,
  PhaseStatus,
  StartMigration as StartMigrationInput,
  VerifyAnswer,
} from './api.js';
import { MigrationOptions, StartMigration } from './api.js';
import type { CoordinatorSettings } from './config.js';
import { Coordinator } from './coordinator.js';
import { PROTOCOLS, commonProtocol, parseJoin } from './join.js';
import type { JoinBundle } from './join.js';
import type { Journal } from './journal.js';
import type { Engines } from './ports.js';
import { forecastOf, reportOf } from './report.js';
import type { SlotsByApp } from './report.js';
import { initialState } from './state.js';
import type { Facts, MigrationState } from './state.js';
import { factsOf, phaseStatus, statusOf } from './status.js';
import type { StatusParts } from './status.js';

export interface HostParts {
  readonly settings: CoordinatorSettings;
  readonly journal: Journal;
  readonly openEngines: (join: JoinBundle) => Promise<Engines>;
  readonly now: () => number;
  readonly log: (event: string, fields: Readonly<Record<string, unknown>>) => void;
  readonly fatal: (e: Error) => void;
}

const SLOTS_MS = 5000;

/** The process's one migration: none yet, or a running Coordinator with its engines. */
export class Host {
  private active: Coordinator | null = null;
  private notResumed = 'the coordinator has lost its join bundle';
  private opening: Promise<unknown> = Promise.resolve();
  private readonly listeners = new Set<(e: JournalEvent) => void>();
  private readonly startedMs: number;
  readonly now: () => number;

  constructor(private readonly p: HostParts) {
    this.now = p.now;
    this.startedMs = p.now();
  }

  /** Takes up what the journal says, if the join bundle is still there; without it, the next `up` brings it. */
  async resume(): Promise<void> {
    const state = this.p.journal.restored;
    if (state === null || !existsSync(this.joinFile)) return;
    try {
      // A bundle that has run out serves for what was begun: the connections say what is refused.
      await this.open(state, parseJoin(readFileSync(this.joinFile, 'utf8'), 0));
    } catch (e) {
      // Ending would only begin the same again; served as it is, the next `up` can bring what is missing.
      this.notResumed = asError(e).message;
      this.p.log('coordinator.notResumed', { message: this.notResumed });
    }
  }

  private get joinFile(): string {
    return join(this.p.settings.dataDir, 'join.json');
  }

  private get reportFile(): string {
    return join(this.p.settings.dataDir, 'report.json');
  }

  isActive(): boolean {
    return this.active !== null;
  }

  coordinator(): Coordinator {
    if (this.active !== null) return this.active;
    throw this.p.journal.restored === null
      ? new NxnwError('NO_MIGRATION', 'no migration was started here; run `nxnw up` on the stack with nxnw:migrateFrom')
      : new NxnwError(
          'NO_JOIN',
          `the migration cannot go on: ${this.notResumed}; run \`nxnw up\`, which brings the join bundle again`,
        );
  }

  /** One at a time: two resources of one `up` may ask together. */
  startMigration(request: StartMigrationInput): Promise<void> {
    const done = this.opening.then(() => this.startNow(request));
    this.opening = done.catch(() => undefined);
    return done;
  }

  private async startNow(input: StartMigrationInput): Promise<void> {
    const request = StartMigration.parse(input);
    const { settings, now } = this.p;
    const bundle = this.bundleOf(request.join);
    commonProtocol(bundle, { platformId: settings.platformId, protocols: PROTOCOLS });
    const apps = request.apps.includes('all') ? bundle.apps.map((a) => a.id) : request.apps;
    checkApps(bundle, settings, apps);
    if (this.active !== null && this.active.state.source !== bundle.platformId)
      throw new NxnwError(
        'BAD_CONFIG',
        `${settings.platformId} migrates from ${this.active.state.source}, not from ${bundle.platformId}; end that migration first`,
      );
    this.saveJoin(bundle);
    if (this.active === null) {
      const options = MigrationOptions.parse(request.options);
      const fresh = initialState(bundle.platformId, settings.platformId, options);
      await this.open(this.p.journal.restored ?? fresh, bundle);
    }
    const isNew = this.coordinator().state.apps.length === 0;
    await this.coordinator().tell({
      type: 'start',
      actor: request.actor,
      attempt: request.attempt,
      apps,
      wanted: request.wantedStage,
      options: request.options,
      nowMs: now(),
    });
    if (isNew) await this.adopt();
  }

  private bundleOf(given: unknown): JoinBundle {
    if (given !== null && given !== undefined) return parseJoin(given, this.now());
    if (existsSync(this.joinFile)) return parseJoin(readFileSync(this.joinFile, 'utf8'), 0);
    throw new NxnwError(
      'NO_JOIN',
      'no join bundle was given and none is known; give nxnw:migrateFrom a stack or a bundle',
    );
  }

  private saveJoin(bundle: JoinBundle): void {
    mkdirSync(this.p.settings.dataDir, { recursive: true, mode: 0o700 });
    writeFileSync(`${this.joinFile}.new`, JSON.stringify(bundle), { mode: 0o600 });
    renameSync(`${this.joinFile}.new`, this.joinFile);
  }

  private async open(state: MigrationState, bundle: JoinBundle): Promise<void> {
    const engines = await this.p.openEngines(bundle);
    const c = new Coordinator({
      journal: this.p.journal,
      engines,
      state,
      now: this.now,
      log: this.p.log,
      fatal: this.p.fatal,
      writeReport: () => this.writeReport(),
      verifyEveryMs: this.p.settings.verifyEveryMs,
    });
    c.onEvent((e) => {
      for (const f of [...this.listeners]) f(e);
    });
    this.active = c;
    c.start();
  }

  /** A journal that begins anew is brought in line with what the shards' logs say. */
  private async adopt(): Promise<void> {
    const c = this.coordinator();
    for (const app of c.state.apps) {
      const shards = await c.engines.data.status(app);
      const atTarget = shards.filter((s) => s.authority === c.state.target && s.handover !== null).length;
      await c.tell({ type: 'authority', app, atTarget, shards: shards.length, nowMs: this.now() });
    }
  }

  private parts(): StatusParts {
    const c = this.coordinator();
    return {
      state: c.state,
      seen: c.seen,
      samplesOf: (app) => c.observer.samplesOf(app),
      events: this.p.journal.events,
      coordinator: { epoch: this.p.journal.epoch, startedMs: this.startedMs },
      nowMs: this.now(),
    };
  }

  status(): MigrationStatus {
    return statusOf(this.parts());
  }

  phase(name: PhaseName): PhaseStatus {
    return phaseStatus(this.parts(), name);
  }

  facts(): MigrationFacts {
    const written = existsSync(this.reportFile) ? readFileSync(this.reportFile) : null;
    return factsOf(this.parts(), written === null ? null : { path: this.reportFile, sha256: sha256(written) });
  }

  forecast(): Forecast {
    return forecastOf(this.parts());
  }

  events(): readonly JournalEvent[] {
    return [...this.p.journal.events];
  }

  onEvent(f: (e: JournalEvent) => void): () => void {
    this.listeners.add(f);
    return () => void this.listeners.delete(f);
  }

  async verify(deep: boolean, limit: number, deadlineMs: number): Promise<VerifyAnswer> {
    const c = this.coordinator();
    if (!deep) {
      const checks = [];
      for (const app of c.state.apps) checks.push(...(await c.observer.verifyApp(app)));
      return { deep: false, equal: checks.every((k) => k.equal), checks };
    }
    const differences: KeyDifference[] = [];
    for (const app of c.state.apps)
      for await (const d of c.engines.data.deepVerify(app, limit - differences.length, deadlineMs)) {
        differences.push(d);
        if (differences.length >= limit) return { deep: true, equal: false, differences };
      }
    return { deep: true, equal: differences.length === 0, differences };
  }

  doctor(): Promise<readonly Finding[]> {
    return this.coordinator().engines.source.examine();
  }

  /** With a fresh look at the shards where one is to be had. */
  async report(): Promise<{ text: string; sha256: string; path: string | null }> {
    const c = this.coordinator();
    try {
      await c.observer.look();
    } catch (e) {
      this.p.log('report.oldFigures', { message: asError(e).message });
    }
    const text = reportOf(this.parts(), this.p.journal.events, await this.slots());
    const path = existsSync(this.reportFile) ? this.reportFile : null;
    return { text, sha256: sha256(Buffer.from(text)), path };
  }

  /** A report is made also where they cannot be read; it says so. */
  private async slots(): Promise<SlotsByApp> {
    const { engines } = this.coordinator();
    const found: Record<string, readonly HandoverSlots[]> = {};
    for (const app of this.parts().state.apps)
      try {
        found[app] = await engines.data.handoverSlots(app, this.p.now() + SLOTS_MS);
      } catch (e) {
        this.p.log('report.noSlots', { app, message: asError(e).message });
      }
    return found;
  }

  private async writeReport(): Promise<Facts> {
    await this.coordinator().observer.look();
    const text = reportOf(this.parts(), this.p.journal.events, await this.slots());
    writeFileSync(this.reportFile, text);
    return { report: this.reportFile, sha256: sha256(Buffer.from(text)) };
  }

  async stop(): Promise<void> {
    await this.active?.stop();
  }
}

function sha256(b: Buffer): string {
  return createHash('sha256').update(b).digest('hex');
}

/** Every fault at once: applications unknown on either side, and shards that differ. */
function checkApps(bundle: JoinBundle, settings: CoordinatorSettings, apps: readonly string[]): void {
  const unknown = apps.filter((a) => !bundle.apps.some((b) => b.id === a));
  if (unknown.length > 0)
    throw new NxnwError(
      'BAD_CONFIG',
      `nxnw:migration.apps names ${unknown.join(', ')}, which ${bundle.platformId} does not have; it has ${bundle.apps.map((a) => a.id).join(', ') || 'none'}`,
      { unknown },
    );
  const absent = apps.filter((a) => !settings.apps.some((b) => b.id === a));
  if (absent.length > 0)
    throw new NxnwError('BAD_CONFIG', `${settings.platformId} does not run ${absent.join(', ')}; add it to nxnw:apps`, {
      absent,
    });
  const differ = apps.flatMap((id) => {
    const there = bundle.apps.find((a) => a.id === id)?.shards;
    const here = settings.apps.find((a) => a.id === id)?.shards;
    return there === here
      ? []
      : [`${id}: ${bundle.platformId} has ${there}, ${settings.platformId} is configured with ${here}`];
  });
  if (differ.length > 0)
    throw new NxnwError(
      'SHARDS_DIFFER',
      `the number of shards is inherited in a migration: ${differ.join('; ')}; take nxnw:datastore.shards out`,
    );
}
