import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { NxnwError } from '../errors.js';

/** Where this release lies (the repository's root, or an unpacked copy of it). NXNW_HOME names another one. */
export function homeDir(): string {
  return resolve(process.env['NXNW_HOME'] ?? join(__dirname, '../../..'));
}

/** Where set-up puts what the machine lacks: `lib/zookeeper/*.jar`, `lib/cassandra/*.jar`. NXNW_TOOLS overrides it. */
function toolsDir(): string {
  return resolve(process.env['NXNW_TOOLS'] ?? join(homeDir(), '.tools'));
}

/** Folder of a server's jars; throws PROGRAM_MISSING. */
export function jarsDir(name: 'zookeeper' | 'cassandra'): string {
  const dir = join(toolsDir(), 'lib', name);
  if (existsSync(dir) && readdirSync(dir).some((f) => f.endsWith('.jar'))) return dir;
  throw new NxnwError(
    'PROGRAM_MISSING',
    `no ${name} jars in ${dir}; run the set-up (npm run setup) or let NXNW_TOOLS name the folder that has lib/${name}`,
    { program: name },
  );
}

/** Version in the name of the jar `artifact-VERSION.jar`; '' if there is none. */
export function jarVersion(dir: string, artifact: string): string {
  const pattern = new RegExp(`^${artifact}-(\\d.*)\\.jar$`);
  return readdirSync(dir).reduce((v, f) => pattern.exec(f)?.[1] ?? v, '');
}

/** PATH for everything the agent starts: its own, and the folders that Debian leaves out of a user's PATH. */
export function searchPath(): string {
  const own = (process.env['PATH'] ?? '').split(delimiter).filter((p) => p !== '');
  return [...new Set([...own, '/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'])].join(
    delimiter,
  );
}

function runs(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Full path of a program; throws PROGRAM_MISSING. */
export function findProgram(name: string): string {
  for (const dir of searchPath().split(delimiter)) if (runs(join(dir, name))) return join(dir, name);
  throw new NxnwError(
    'PROGRAM_MISSING',
    `there is no program "${name}" on this machine; install its package (the set-up does it where it may)`,
    { program: name },
  );
}

/** `java` of JAVA_HOME, or of the search path; throws PROGRAM_MISSING. */
export function javaProgram(): string {
  const home = process.env['JAVA_HOME'];
  if (home === undefined || home === '') return findProgram('java');
  const path = join(home, 'bin/java');
  if (runs(path)) return path;
  throw new NxnwError('PROGRAM_MISSING', `JAVA_HOME names ${home}, where bin/java is no program; correct or unset it`, {
    program: path,
  });
}
