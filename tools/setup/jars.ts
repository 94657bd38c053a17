import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { NxnwError } from '@nxnw/platform/errors';
import { findProgram, jarsDir, repoRoot } from '../paths.js';
import { ensurePrograms } from './debian.js';
import { hashOf, once } from './once.js';
import { run, say } from './run.js';

const DEADLINE_MS = 10 * 60_000;

/** Brings a server's jars by its pom in tools/poms; whole or not at all (made beside, then renamed). */
export async function ensureJars(name: 'zookeeper' | 'cassandra'): Promise<void> {
  const pom = join(repoRoot, 'tools', 'poms', `${name}.xml`);
  const dir = jarsDir(name);
  await ensurePrograms(['java']);
  const key = hashOf(readFileSync(pom, 'utf8'));
  const present = () => countJars(dir) > 0;
  await once({ name, key, present, deadlineMs: DEADLINE_MS }, async () => {
    await ensurePrograms(['mvn']);
    say(`${name}: fetching the jars`);
    const fresh = `${dir}.new`;
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(dirname(dir), { recursive: true });
    await run(
      findProgram('mvn') ?? 'mvn',
      ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${fresh}`],
      {
        what: `fetch the jars of ${name}`,
        deadlineMs: DEADLINE_MS,
        onFailure: 'Check that Maven Central or its mirror in ~/.m2/settings.xml can be reached, then run again.',
      },
    );
    if (countJars(fresh) === 0)
      throw new NxnwError(
        'SETUP_FAILED',
        `set-up fetched no jars of ${name} into ${fresh}; see tools/poms/${name}.xml`,
      );
    rmSync(dir, { recursive: true, force: true });
    renameSync(fresh, dir);
  });
}

function countJars(dir: string): number {
  try {
    return readdirSync(dir).filter((f) => f.endsWith('.jar')).length;
  } catch {
    return 0;
  }
}
