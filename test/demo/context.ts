import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { NxnwError } from '@nxnw/platform/errors';
import { nowUs } from '../load/clock.js';
import { Fleet } from '../load/fleet.js';
import type { NxnwOptions, Ran } from '../support/nxnw.js';
import { DIR, DNS, EDGE_PORT, NAME } from './places.js';
import type { Stack } from './places.js';
import type { Screen } from './screen.js';
import { PROJECT, writeStackFile } from './stacks.js';

/** What the steps leave for each other, kept in `state.json` so that a step can run alone. */
const stateSchema = z.strictObject({
  full: z.boolean(),
  zone: z.strictObject({ pid: z.int(), startTicks: z.string(), keyName: z.string(), keySecret: z.string() }).nullable(),
  attempt: z.int(),
  stage: z.string(),
  /** Microseconds of the monotonic clock less those since 1970. */
  clockOffsetUs: z.number(),
  /** Moments by name, microseconds of the monotonic clock. */
  marks: z.record(z.string(), z.number()),
  /** Results of steps by name, for the report. */
  facts: z.record(z.string(), z.unknown()),
});
export type DemoState = z.infer<typeof stateSchema>;

export interface DemoOptions {
  readonly full: boolean;
  readonly keep: boolean;
  readonly ratePerS: number;
  readonly clients: number;
}

const UP_MS = 10 * 60_000;
const FULL_ENTITIES_PER_S = 1050;

/** The demo's context: what a step needs. */
export class Demo {
  readonly state: DemoState;
  fleet: Fleet | null = null;

  constructor(
    readonly options: DemoOptions,
    readonly screen: Screen,
    readonly signal: AbortSignal,
    mode: 'fresh' | 'continue',
  ) {
    const file = join(DIR, 'state.json');
    if (mode === 'continue' && !existsSync(file))
      throw new NxnwError('NO_DEMO', `there is no demo in ${DIR}; run it from its first step`);
    this.state =
      mode === 'continue'
        ? stateSchema.parse(JSON.parse(readFileSync(file, 'utf8')))
        : {
            full: options.full,
            zone: null,
            attempt: 1,
            stage: 'synced',
            clockOffsetUs: nowUs() - Date.now() * 1000,
            marks: {},
            facts: {},
          };
  }

  save(): void {
    mkdirSync(DIR, { recursive: true });
    writeFileSync(join(DIR, 'state.json'), `${JSON.stringify(this.state, null, 2)}\n`, { mode: 0o600 });
  }

  mark(name: string): void {
    this.state.marks[name] = nowUs();
    this.save();
  }

  fact(name: string, value: unknown): void {
    this.state.facts[name] = value;
    this.save();
  }

  get target() {
    return { host: NAME, port: EDGE_PORT, dns: DNS };
  }

  /** Sets stage and attempt in the green stack's file. */
  setStage(stage: string): void {
    this.state.stage = stage;
    this.save();
    this.writeStack('green');
  }

  writeStack(stack: Stack): void {
    const { zone, stage, attempt } = this.state;
    if (zone === null) throw new NxnwError('NO_DEMO', 'the zone has not been started; run the step `zone` first');
    writeStackFile(stack, {
      stage,
      attempt,
      dnsKey: { name: zone.keyName, secret: zone.keySecret },
      // The whole data is loaded slowly enough for many writes to meet the load.
      ...(this.state.full ? { entitiesPerS: FULL_ENTITIES_PER_S } : {}),
    });
  }

  /** Runs `nxnw`; its lines pass by on the screen. */
  nxnw(args: readonly string[], o: Partial<Pick<NxnwOptions, 'allowed' | 'onLine' | 'timeoutMs'>> = {}): Promise<Ran> {
    return PROJECT.nxnw(args, {
      timeoutMs: UP_MS,
      onLine: (line) => this.screen.passing(line.trim()),
      ...o,
      // what it starts inherits this: not before both platforms stand
      priority: this.state.stage === 'synced' ? 'normal' : 'low',
      log: join(DIR, 'nxnw.log'),
      signal: this.signal,
    });
  }

  /** Nobody reads a preview here, and beside the load it would take as long as the update. */
  async up(stack: Stack, o: Partial<Pick<NxnwOptions, 'allowed' | 'onLine'>> = {}): Promise<Ran> {
    this.writeStack(stack);
    return this.nxnw(['up', '--yes', '--skip-preview', '--stack', stack], o);
  }

  /** Runs `work` under the load, which is started for it unless it runs already. */
  async underLoad<T>(work: () => Promise<T>): Promise<T> {
    if (this.fleet !== null) return work();
    this.startLoad();
    try {
      return await work();
    } finally {
      await this.stopLoad();
    }
  }

  startLoad(): void {
    this.fleet = new Fleet({
      clients: this.options.clients,
      ratePerS: this.options.ratePerS,
      target: this.target,
      placesFile: join(DIR, 'places.txt'),
      dir: join(DIR, 'load'),
      seed: 1,
    });
  }

  async stopLoad(): Promise<void> {
    const { fleet } = this;
    this.fleet = null;
    await fleet?.stop();
  }

  /** Logs of all clients of this demo, also of steps that ran alone. */
  logs(kind: 'client' | 'lag'): string[] {
    const dir = join(DIR, 'load');
    if (!existsSync(dir)) return [];
    return readdirSync(dir)
      .filter((f) => f.startsWith(kind))
      .map((f) => join(dir, f));
  }
}
