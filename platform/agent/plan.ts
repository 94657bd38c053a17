import type { Listen } from './ports.js';
import { canonicalJson, digestOf } from './files.js';
import type { TlsMaterial } from '../wire/rpc.js';

/** The machine on which roles are planned. */
export interface MachineContext {
  readonly platformId: string;
  readonly machine: string;
  /** The machine's directory, absolute. */
  readonly dir: string;
  /** The machine's own certificate, as files and as PEM. */
  readonly tlsPaths: { readonly ca: string; readonly cert: string; readonly key: string };
  readonly tls: TlsMaterial;
}

/** What a readiness check found. `detail` is one line for a person. */
export interface Probe {
  readonly ok: boolean;
  readonly detail: string;
}

/** What the change of a file asks for: `restart` of the role's processes, a `reload` in place, or nothing. */
export type OnChange = 'restart' | 'reload' | 'nothing';

export interface PlannedFile {
  /** Absolute. */
  readonly path: string;
  readonly content: string;
  readonly onChange: OnChange;
  /** What to write when the file exists, from what it says: for files that others change too. @default `content` */
  readonly merge?: (existing: string) => string;
}

/** For a file that its process owns once it exists. */
export const keepExisting = (existing: string): string => existing;

export interface ProcessPlan {
  /** Unique on the machine; also the name of its log. */
  readonly name: string;
  readonly command: string;
  /** No secrets: arguments are seen by everybody on the machine. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly listens: readonly Listen[];
  /** Asks the process itself, never only its port; must answer by the signal's abort. */
  readonly probe: (signal: AbortSignal) => Promise<Probe>;
  readonly stopSignal: NodeJS.Signals;
  /** Then it is killed. */
  readonly stopGraceMs: number;
}

export interface RolePlan {
  readonly dirs: readonly string[];
  readonly files: readonly PlannedFile[];
  readonly processes: readonly ProcessPlan[];
  /** Version of the program; '' if it cannot be told without running it. */
  readonly version: string;
  /** Done before the processes are started; throws a NxnwError. */
  readonly prepare?: () => Promise<void>;
  /** Brings changed `reload` files and `reloadKey` into force without a restart. */
  readonly reload?: (pid: number) => Promise<void>;
  /** What else asks for a reload when it changes. @default nothing */
  readonly reloadKey?: string;
  /** Brings a running process in line with the files by its own interface; answers what it changed. */
  readonly sync?: () => Promise<readonly string[]>;
}

/** A plan and the digests that decide whether a running process still fits it. */
export interface HashedProcess {
  readonly plan: ProcessPlan;
  /** Another value = restart. */
  readonly restartHash: string;
  /** Another value with the same `restartHash` = reload. */
  readonly reloadHash: string;
}

export function hashProcesses(role: RolePlan): HashedProcess[] {
  const contents = (kind: OnChange): string[] =>
    role.files.filter((f) => f.onChange === kind).flatMap((f) => [f.path, f.content]);
  const restartFiles = contents('restart');
  const reloadHash = digestOf(role.reloadKey ?? '', ...contents('reload'));
  return role.processes.map((plan) => ({
    plan,
    restartHash: digestOf(canonicalJson([plan.command, plan.args, plan.env, plan.cwd]), ...restartFiles),
    reloadHash,
  }));
}
