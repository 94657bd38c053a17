import { delimiter, join, resolve } from 'node:path';
import { accessSync, constants } from 'node:fs';

/** The repository's root (this file runs from tools/dist). */
export const repoRoot = resolve(__dirname, '..', '..');

/** Where set-up puts what the project needs and the machine lacks. `NXNW_TOOLS` names another folder. */
export const toolsDir = resolve(process.env['NXNW_TOOLS'] ?? join(repoRoot, '.tools'));

/** Folder of a server's jars: the classpath is `${jarsDir(name)}/*`. */
export function jarsDir(name: 'zookeeper' | 'cassandra'): string {
  return join(toolsDir, 'lib', name);
}

/** Our own build of `pulumi`, with its language host and the dynamic provider's starter beside it. */
export const pulumiBinDir = join(toolsDir, 'bin');

/** Pulumi's home, where its plugins lie: PULUMI_HOME, else the project's own. */
export function pulumiHome(): string {
  return process.env['PULUMI_HOME'] ?? join(repoRoot, '.nxnw', 'pulumi-home');
}

/** Python of the virtual environment with the clients that tests use. */
export const pythonPath = join(toolsDir, 'py', 'bin', 'python');

/** Folders searched for programs: PATH, and the sbin folders that Debian leaves out of a user's PATH. */
function searchPath(): string[] {
  const own = (process.env['PATH'] ?? '').split(delimiter).filter((p) => p !== '');
  return [...own, '/usr/local/sbin', '/usr/sbin', '/sbin'].filter((p, i, all) => all.indexOf(p) === i);
}

/** Full path of an executable, or undefined. */
export function findProgram(name: string): string | undefined {
  for (const dir of searchPath()) {
    const path = join(dir, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      continue;
    }
  }
  return undefined;
}
