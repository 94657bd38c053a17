import { NxnwError } from './errors.js';
import { FAULT_POINTS, installFaults } from './fault.js';
import type { FaultPoint } from './fault.js';

interface Armed {
  readonly point: FaultPoint;
  readonly act: 'kill' | 'stop' | 'delay';
  readonly ms: number;
  /** Passages left before it acts. */
  left: number;
}

const FORM = /^([a-zA-Z0-9.]+)=(kill|stop|delay)(?::(\d+))?(?:@(\d+))?$/;

/**
 * Arms fault points from a test's environment: `NXNW_FAULT="move.sent=kill@2;apply.row=delay:500"`. Each acts once, at
 * its nth passage (first if not given): `kill` ends the process at once, `stop` halts it until it is continued from
 * outside, `delay` waits. An unknown point or form is an error. Nothing is armed without the variable.
 */
export function armFaults(given: string | undefined): void {
  if (!given) return;
  const armed: Armed[] = given.split(';').map((one) => {
    const m = FORM.exec(one.trim());
    const point = FAULT_POINTS.find((p) => p === m?.[1]);
    const act = m?.[2];
    if (!m || !point || (act !== 'kill' && act !== 'stop' && act !== 'delay'))
      throw new NxnwError(
        'INVALID_ARGUMENT',
        `fault "${one}" is not POINT=kill|stop|delay[:ms][@nth] with a known point`,
      );
    return { point, act, ms: Number(m[3] ?? 1000), left: Number(m[4] ?? 1) };
  });
  installFaults((point) => {
    const hit = armed.find((a) => a.point === point && a.left > 0 && --a.left === 0);
    if (!hit) return undefined;
    if (hit.act === 'kill') process.kill(process.pid, 'SIGKILL');
    if (hit.act === 'stop') process.kill(process.pid, 'SIGSTOP');
    return new Promise((ok) => setTimeout(ok, hit.act === 'delay' ? hit.ms : 0));
  });
}
