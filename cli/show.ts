import type {
  Finding,
  Forecast,
  JournalEvent,
  MigrationStatus,
  PhaseStatus,
  Progress,
} from '@nxnw/migration/coordinator/api';

export function showDuration(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** `62 % 84,210 / 135,233 entities (counted by …), 4,100/s (mean 3,950/s), 12 s to 15 s left, slowest shop/3, 0 retries` */
export function showProgress(p: Progress): string {
  const n = (x: number): string => Math.round(x).toLocaleString('en-US');
  const share = p.total === null || p.total === 0 ? '' : `${Math.floor((100 * p.done) / p.total)} % `;
  const parts = [`${share}${n(p.done)} / ${p.total === null ? '?' : n(p.total)} ${p.unit} (${p.basis})`];
  const mean = p.ratePerSMean === null ? null : `mean ${n(p.ratePerSMean)}/s`;
  if (p.ratePerS1m !== null) parts.push(`${n(p.ratePerS1m)}/s${mean === null ? '' : ` (${mean})`}`);
  else if (mean !== null) parts.push(mean);
  if (p.remainingS !== null && p.remainingS.high > 0)
    parts.push(`${showDuration(p.remainingS.low)} to ${showDuration(p.remainingS.high)} left`);
  if (p.slowest !== null) parts.push(`slowest ${p.slowest}`);
  parts.push(`${p.retries} retries`);
  return parts.join(', ');
}

export function showEvent(e: JournalEvent): string {
  return `${String(e.number).padStart(5)}  ${new Date(e.atMs).toISOString()}  ${e.what.padEnd(16)} ${e.actor}: ${e.text}`;
}

const MARK: Readonly<Record<PhaseStatus['at'], string>> = {
  idle: '·',
  running: '>',
  paused: '=',
  standing: '+',
  done: '+',
  undoing: '<',
  failed: '!',
};

function phaseLine(p: PhaseStatus): string {
  const detail =
    p.progress === null ? p.detail : `${showProgress(p.progress)}${p.detail === '' ? '' : `; ${p.detail}`}`;
  const retry = p.error !== null && p.at !== 'failed' ? `  (last error: ${p.error.code}: ${p.error.message})` : '';
  return `  ${MARK[p.at]} ${p.phase.padEnd(13)} ${p.at.padEnd(9)} ${detail}${retry}`.trimEnd();
}

/** One screen. The last lines are the way back with its cost, and the counts, even when they are 0. */
export function showStatus(s: MigrationStatus, stack: string): string {
  const lines = [
    `${s.source} → ${s.target}   stage ${s.stage.reached ?? 'none'}, wanted ${s.stage.wanted}   attempt ${s.attempt}`,
    '',
  ];
  for (const a of s.apps) {
    const serving = a.serving === 'source' ? s.source : a.serving === 'target' ? s.target : 'moving';
    const lag = a.lagMs === null ? 'not known' : `${a.lagMs} ms`;
    lines.push(
      `  ${a.app.padEnd(14)} served by ${serving}, ${a.shardsAtTarget} of ${a.shardsTotal} shards at ${s.target}, lag ${lag}, ${a.entities.toLocaleString('en-US')} entities`,
    );
  }
  lines.push('', ...s.phases.map(phaseLine));
  const closed = s.gates.filter((g) => !g.open);
  if (s.gates.length > 0) lines.push('', closed.length === 0 ? 'gates: all open' : 'gates closed:');
  for (const g of closed) lines.push(`  ${g.name}: ${g.found}${g.next === '' ? '' : ` → ${g.next}`}`);
  const when = (ms: number): string => new Date(ms).toISOString();
  for (const h of s.holds) lines.push(`held by ${h.actor} since ${when(h.atMs)}: ${h.reason}`);
  if (s.latch) lines.push(`latched by ${s.latch.actor} since ${when(s.latch.atMs)}: ${s.latch.reason}`);
  if (s.pause)
    lines.push(`paused (${s.pause.what}) by ${s.pause.actor} since ${when(s.pause.atMs)}: ${s.pause.reason}`);
  lines.push('', ...s.events.map(showEvent));
  lines.push('', `next: ${s.next}`);
  lines.push(
    s.back.command === null
      ? `back: none; ${s.back.cost}`
      : `back: ${s.back.command.replace('nxnw back', `nxnw back --stack ${stack}`)}   (${s.back.cost})`,
  );
  lines.push(
    `errors ${s.counts.errors}, passes that found a difference ${s.counts.unequal}, repairs ${s.counts.repairs}`,
  );
  return lines.join('\n');
}

export function showFindings(findings: readonly Finding[]): string {
  return findings
    .map(
      (f) =>
        `${!f.ok ? 'BAD ' : f.warning === true ? 'WARN' : 'ok  '} ${f.name.padEnd(16)} ${f.found}${f.next === '' ? '' : `\n       → ${f.next}`}`,
    )
    .join('\n');
}

export function showForecast(f: Forecast): string {
  const load =
    f.loadS === null
      ? 'time of the load not known before it has run'
      : `${showDuration(f.loadS.low)} to ${showDuration(f.loadS.high)} of loading left`;
  const closed = f.gates.filter((g) => !g.open).map((g) => g.name);
  return [
    `${f.source} → ${f.target}: reached ${f.stage.reached ?? 'none'}, wanted ${f.stage.wanted}`,
    `${f.entities.toLocaleString('en-US')} entities, ${(f.bytes / 2 ** 20).toFixed(1)} MiB; ${load}`,
    ...f.steps.map((s, i) => `${i + 1}. ${s}`),
    closed.length === 0 ? 'all gates of a switch are open' : `a switch would be refused by: ${closed.join(', ')}`,
  ].join('\n');
}
