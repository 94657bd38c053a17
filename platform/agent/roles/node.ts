import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { askHealth } from '../../wire/health.js';
import type { TlsMaterial } from '../../wire/rpc.js';
import { readIfThere } from '../files.js';
import { homeDir } from '../home.js';
import type { MachineContext, PlannedFile, ProcessPlan } from '../plan.js';
import type { Endpoint } from '../spec.js';

const HEALTH_CALL_MS = 2000;
/** Of a process, where nothing else is said: for compilers and the collection of garbage. */
const V8_THREADS = 4;
/**
 * A platform that stands by keeps its compiled code, where V8 would clean up a process that idles: the first requests
 * after a switch are many.
 */
export const KEEP_CODE = ['--no-flush-bytecode', '--no-memory-reducer'];
/**
 * V8 optimises a function after eight times as much of its code has run as by default (67584 bytes), and leaves a core to
 * what serves. Else, right after a switch, compilers fill a small machine (decision 025).
 */
export const CALM_COMPILERS = [
  '--interrupt-budget=540672',
  `--v8-pool-size=${Math.min(V8_THREADS, Math.max(1, availableParallelism() - 1))}`,
];
/** MiB of V8's young space: a request's garbage dies in it, where the default of 16 lets a busy process copy much of it. */
const YOUNG_SPACE = '--max-semi-space-size=32';

export interface TlsPaths {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/**
 * Paths of a role's TLS material, and the files to write: the machine's own when the role brings none (named too, so
 * that the processes are started again with a new certificate).
 */
export function placeTls(
  tls: TlsMaterial | undefined,
  dir: string,
  prefix: string,
  machine: MachineContext,
): { paths: TlsPaths; files: PlannedFile[] } {
  const paths = tls
    ? {
        ca: join(dir, `${prefix}-ca.pem`),
        cert: join(dir, `${prefix}-cert.pem`),
        key: join(dir, `${prefix}-key.pem`),
      }
    : machine.tlsPaths;
  const material = tls ?? machine.tls;
  const files = (['ca', 'cert', 'key'] as const).map((k) => ({
    path: paths[k],
    content: material[k],
    onChange: 'restart' as const,
  }));
  return { paths, files };
}

/**
 * One of our own processes: `node SCRIPT --config FILE`. It is healthy when its RPC `health.check` says ready, or when
 * its health file says `ready PID`.
 */
export function nodeProcess(o: {
  readonly name: string;
  /** Relative to the release's directory. */
  readonly script: string;
  readonly dir: string;
  readonly configFile: string;
  readonly healthFile: string;
  readonly rpc: Endpoint;
  readonly listens: readonly Endpoint[];
  readonly machine: MachineContext;
}): ProcessPlan {
  return {
    name: o.name,
    command: process.execPath,
    args: [
      '--enable-source-maps',
      YOUNG_SPACE,
      ...KEEP_CODE,
      ...CALM_COMPILERS,
      join(homeDir(), o.script),
      '--config',
      o.configFile,
    ],
    env: { NODE_ENV: 'production', NXNW_HOME: homeDir() },
    cwd: o.dir,
    listens: o.listens.map((l) => ({ ...l, protocol: 'tcp' })),
    probe: async () => {
      const health = await askHealth(`${o.rpc.host}:${o.rpc.port}`, o.machine.tls, Date.now() + HEALTH_CALL_MS);
      if (health.ready) return { ok: true, detail: health.detail };
      const file = /^ready (\d+)/.exec(readIfThere(o.healthFile) ?? '');
      return file
        ? { ok: true, detail: `says ready in its health file (${file[1]})` }
        : { ok: false, detail: health.detail };
    },
    stopSignal: 'SIGTERM',
    stopGraceMs: 15_000,
  };
}
